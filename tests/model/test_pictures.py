"""Meshes on disk, pictures of meshes, and the files of a prediction."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import UsageError
from dp3d_model.export.gallery import Output, draw_parts, photographs_first, safe_name, write_predictions
from dp3d_model.export.meshes import export_mesh
from dp3d_model.export.palette import part_colours, part_palette
from dp3d_model.export.pictures import beside_photograph, square_of, template_view, turntable
from dp3d_model.export.render import render_orthographic
from dp3d_model.lifting.model_file import load_model, save_model
from dp3d_model.lifting.prediction import predict
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.instances import Instances
from tests.model.toy import blob, tiny, toy_instances, toy_surface


@pytest.mark.parametrize("kind", ["glb", "obj", "ply"])
def test_meshes_come_back_with_their_colours(tmp_path, kind):
    vertices, faces = blob()
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3)).astype(np.uint8)
    path = export_mesh(tmp_path / f"body.{kind}", vertices, faces, colours)
    mesh = trimesh.load(path, process=False, force="mesh")
    expected = vertices[:, [1, 2, 0]] if kind == "glb" else vertices
    assert np.allclose(mesh.vertices, expected, atol=1e-5)
    assert np.array_equal(mesh.faces, faces)
    assert np.abs(mesh.visual.vertex_colors[:, :3].astype(int) - colours).max() <= 1


def test_another_mesh_format_is_refused(tmp_path):
    vertices, faces = blob(1)
    with pytest.raises(UsageError, match="unknown mesh format"):
        export_mesh(tmp_path / "body.stl", vertices, faces, np.zeros((len(vertices), 3), dtype=np.uint8))


def test_a_triangle_is_drawn_where_it_is_in_its_colour():
    vertices = np.array([[10.0, 10.0, 0.0], [50.0, 10.0, 0.0], [10.0, 50.0, 0.0]])
    faces = np.array([[0, 2, 1]])
    colours = np.array([[200, 0, 0]] * 3, dtype=np.uint8)
    picture, mask = render_orthographic(vertices, faces, colours, 64, 60)
    y, x = np.nonzero(mask)
    assert picture.shape == (60, 64, 3)
    assert (x.min(), y.min()) == (10, 10)
    assert abs(mask.sum() - 800) < 30
    assert np.all((x + 0.5) + (y + 0.5) <= 60.5)
    assert np.all(picture[mask][:, 1:] == 0)
    assert np.all(picture[~mask] == picture[0, 0])


def test_the_nearer_surface_hides_the_farther_one():
    square = np.array([[5.0, 5.0, 0.0], [35.0, 5.0, 0.0], [35.0, 35.0, 0.0], [5.0, 35.0, 0.0]])
    vertices = np.concatenate([square, square + [0.0, 0.0, -9.0]])
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    colours = np.repeat(np.array([[255, 0, 0], [0, 255, 0]], dtype=np.uint8), 4, axis=0)
    picture, mask = render_orthographic(vertices, faces, colours, 40, 40)
    assert picture[mask][:, 0].max() == 0
    assert picture[mask][:, 1].min() > 0


def test_views_are_rotations_with_z_up_in_the_picture():
    for azimuth in (0.0, 90.0, 210.0):
        view = template_view(azimuth)
        assert np.allclose(view @ view.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(view) == pytest.approx(1.0)
        assert (view @ [0.0, 0.0, 1.0])[1] < 0
    assert np.allclose(template_view(0.0, 0.0) @ [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], atol=1e-9)
    assert np.allclose(template_view(0.0, 0.0) @ [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], atol=1e-9)


def test_a_turntable_shows_the_body_in_every_tile():
    vertices, faces = blob()
    strip = turntable(vertices, faces, np.full((len(vertices), 3), 90, dtype=np.uint8), views=3, size=48)
    assert strip.shape == (48, 144, 3)
    for tile in np.split(strip, 3, axis=1):
        assert 0.05 < (tile[..., 0] < 200).mean() < 0.9


def test_the_body_lies_over_its_photograph(tmp_path):
    vertices, faces = blob()
    projected = vertices * 60 + [100.0, 80.0, 0.0]
    photo = np.zeros((160, 200, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "dark.png")
    colours = np.full((len(vertices), 3), 255, dtype=np.uint8)
    arguments = (projected[:20, :2], colours[:20], projected, faces, colours)
    row = beside_photograph(local_pixels(str(tmp_path / "dark.png")), *arguments, size=64)
    assert row.shape == (64, 192, 3)
    assert row[:, 64:128].mean() > row[:, :64].mean()
    assert beside_photograph(local_pixels("nowhere.jpg"), *arguments, size=64).shape == (64, 192, 3)


def test_colours_of_parts():
    palette = part_palette(16)
    assert len(np.unique(palette, axis=0)) == 16
    assert np.array_equal(part_colours(np.eye(16)), palette)


def test_a_prediction_projects_onto_its_keypoints():
    surface = toy_surface()
    world = toy_instances(surface, 4, bend=0.0)
    lifter = Lifter(surface, tiny()).eval()
    (many,) = predict(lifter, world)
    for i in range(4):
        one = many.at(i)
        visible = world.visible[i].numpy()
        distance = np.linalg.norm(one.projected()[visible, :2] - world.keypoints[i].numpy()[visible], axis=1)
        assert distance.max() < 0.01 * one.scale


def test_a_prediction_does_not_depend_on_its_batch():
    surface = toy_surface()
    world = toy_instances(surface, 7)
    lifter = Lifter(surface, tiny()).eval()
    (whole,) = predict(lifter, world)
    parts = list(predict(lifter, world, batch=3))
    assert [len(part.scale) for part in parts] == [3, 3, 1]
    for name, values in whole.arrays().items():
        joined = np.concatenate([part.arrays()[name] for part in parts])
        assert np.allclose(joined, values, atol=1e-5, equal_nan=True), name
    assert np.isnan(whole.uncertainty).all()


def test_a_noise_head_travels_with_the_model_and_tells_the_uncertainty(tmp_path):
    save_model(Lifter(toy_surface(), tiny({"model.noise": "clipped"})), tmp_path / "model.pt")
    (many,) = predict(load_model(tmp_path / "model.pt"), toy_instances(toy_surface(), 3))
    assert many.uncertainty.shape == (3, 162)
    assert (many.uncertainty > 0).all()


def test_predictions_leave_every_file(tmp_path):
    surface = toy_surface()
    lifter = Lifter(surface, tiny()).eval()
    world = toy_instances(surface, 2, name="a/b")
    write_predictions(lifter, world, tmp_path, Output(("glb", "ply", "npz")))
    names = sorted(path.name for path in tmp_path.iterdir())
    own = [f"00{i}-a_b-{i}.{kind}" for i in range(2) for kind in ("glb", "npz", "ply", "png")]
    assert names == sorted([*own, "figures.csv", "lifted.png"])
    with np.load(tmp_path / "000-a_b-0.npz", allow_pickle=False) as archive:
        assert archive["vertices"].shape == (162, 3)
        assert archive["part_rotations"].shape == (4, 3, 3)
    assert draw_parts(lifter, tmp_path / "parts.png").stat().st_size > 1000


def test_photographs_come_first(tmp_path):
    world = toy_instances(toy_surface(), 4)
    (tmp_path / "dog.jpg").write_bytes(b"")
    paths = ("", "gone.jpg", str(tmp_path / "dog.jpg"), "")
    known = Instances(world.ids, world.keypoints, world.visible, boxes=world.boxes, groups=world.groups, image_paths=paths)
    assert photographs_first(known, 2).ids == ("toy-2", "toy-0")
    assert len(photographs_first(known, 0)) == 4


def test_names_of_files():
    assert safe_name("n02099601/dog 1.jpg#0") == "n02099601_dog_1.jpg_0"
    assert safe_name("///") == "instance"


def test_a_square_of_a_photograph_lies_where_it_should_however_large(tmp_path):
    """White inside the photograph, grey outside; a square a million times as wide as the photograph is still a small picture."""
    Image.new("RGB", (40, 20), (255, 255, 255)).save(tmp_path / "white.png")
    inside = np.asarray(square_of(str(tmp_path / "white.png"), (-20.0, -10.0, 80.0), 80)) == 255
    expected = np.zeros((80, 80), dtype=bool)
    expected[10:30, 20:60] = True
    assert np.array_equal(inside.all(2), expected)
    far = square_of(str(tmp_path / "white.png"), (-1e7, -1e7, 4e7), 64)
    assert far.size == (64, 64)
    beside = np.asarray(square_of(str(tmp_path / "white.png"), (100.0, 100.0, 10.0), 8))
    assert (beside != 255).all()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert square_of(str(tmp_path / "broken.png"), (0.0, 0.0, 10.0), 8) is None
