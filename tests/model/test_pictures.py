"""Meshes on disk, pictures of meshes, and the files of a prediction."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import trimesh
from PIL import Image

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import UsageError
from dp3d_data.run_lengths import encode_pixels
from dp3d_model.export.gallery import (
    beside_photograph,
    draw_parts,
    photographs_first,
    safe_name,
    square_in,
    write_predictions,
)
from dp3d_model.export.meshes import COLUMNS, NUMBERS, export_mesh, prediction_rows
from dp3d_model.lifting.model_file import load_model, save_model
from dp3d_model.lifting.prediction import lift_to_keep, predict, rejects
from dp3d_model.networks.lifter import Lifter
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
    lifts, writes = [], []
    lifted, rejected = lift_to_keep(lifter, world, done=lifts.append)
    formats = ("glb", "ply", "npz")
    write_predictions(lifter, world, lifted, rejected, tmp_path, formats=formats, done=writes.append)
    assert sum(lifts) == sum(writes) == 2 and rejected == {}
    names = sorted(path.name for path in tmp_path.iterdir())
    own = [f"00{i}-a_b-{i}.{kind}" for i in range(2) for kind in ("glb", "npz", "ply", "png")]
    assert names == sorted([*own, "figures.csv", "lifted.png"])
    with np.load(tmp_path / "000-a_b-0.npz", allow_pickle=False) as archive:
        assert archive["vertices"].shape == (162, 3)
        assert archive["part_rotations"].shape == (4, 3, 3)
    assert draw_parts(lifter, tmp_path / "parts.png").stat().st_size > 1000


def test_rows_hold_flat_arrays_and_nothing_where_a_number_is_unknown():
    (many,) = predict(Lifter(toy_surface(), tiny()).eval(), toy_instances(toy_surface(), 3))
    uncertainty = np.ones((3, 162), dtype=np.float32)
    uncertainty[1, 5] = uncertainty[2] = np.nan
    many = replace(many, uncertainty=uncertainty, confidence=np.array([0.25, np.nan, 1.0], dtype=np.float32))
    table = prediction_rows(("a", "b", "c"), ("p.jpg", "", "q.jpg"), many)
    assert table["instance_id"].to_pylist() == ["a", "b", "c"]
    assert table["image_path"].to_pylist() == ["p.jpg", None, "q.jpg"]
    assert table["confidence"].to_pylist() == [0.25, None, 1.0]
    assert table["uncertainty"].to_pylist() == [[1.0] * 162, None, None]
    np.testing.assert_array_equal(table["part_rotations"][2].as_py(), many.part_rotations[2].ravel())
    assert set(table.column_names) == {"instance_id", "image_path", *COLUMNS, *NUMBERS}


def masks_from(*firsts):
    """Masks of ten columns of an image of 40, from these on; none for None."""
    columns = np.arange(40)
    pixels = [np.tile((columns >= first) & (columns < first + 10), (8, 1)) for first in firsts if first is not None]
    runs = iter([encode_pixels(mask) for mask in pixels])
    return tuple(None if first is None else next(runs) for first in firsts)


def test_an_animal_of_a_photograph_is_kept_once_and_the_surest_lift_of_it():
    world = toy_instances(toy_surface(), 7)
    masks = masks_from(0, 4, 5, 30, 0, None, 0)
    paths = ("a.jpg", "a.jpg", "a.jpg", "a.jpg", "b.jpg", "a.jpg", "")
    seen = replace(world, image_paths=paths, masks=masks)
    sure = np.array([0.5, 0.9, 0.3, 0.05, 0.2, 0.4, 0.6], dtype=np.float32)
    assert rejects(seen, sure, 0.1) == {
        "toy-0": "the animal of toy-1 again",
        "toy-2": "the animal of toy-1 again",
        "toy-3": "confidence 0.05 below 0.1",
    }
    # Half of a mask is not more than half; nothing is said of a mask that a rejected one shares.
    assert set(rejects(replace(seen, masks=masks_from(0, 5, 9, 0, 0, None, 0)), sure, 0.1)) == {"toy-2", "toy-3"}
    assert rejects(replace(seen, masks=()), sure, 0.0) == rejects(replace(seen, image_paths=()), sure, 0.0) == {}
    unknown = np.full(7, np.nan, dtype=np.float32)
    assert rejects(seen, unknown, 0.1) == {"toy-1": "the animal of toy-0 again"}


def test_a_small_animal_inside_the_mask_of_a_large_one_is_the_same():
    large, small = np.zeros((8, 40), dtype=bool), np.zeros((8, 40), dtype=bool)
    large[:, :30], small[:, 24:34] = True, True
    runs = encode_pixels(large), encode_pixels(small)
    seen = replace(toy_instances(toy_surface(), 2), image_paths=("a.jpg", "a.jpg"), masks=runs)
    assert rejects(seen, np.array([0.6, 0.5]), 0.1) == {"toy-1": "the animal of toy-0 again"}
    assert rejects(seen, np.array([0.5, 0.6]), 0.1) == {"toy-0": "the animal of toy-1 again"}


def test_a_photograph_of_another_size_is_another_one():
    wide = encode_pixels(np.ones((8, 40), dtype=bool))
    tall = encode_pixels(np.ones((40, 8), dtype=bool))
    seen = replace(toy_instances(toy_surface(), 2), image_paths=("a.jpg", "a.jpg"), masks=(wide, tall))
    assert rejects(seen, np.array([0.5, 0.6]), 0.1) == {}


def test_an_animal_shown_again_is_not_written_and_the_figures_say_so(tmp_path):
    lifter = Lifter(toy_surface(), tiny()).eval()
    world = replace(toy_instances(toy_surface(), 3), image_paths=("a.jpg",) * 3, masks=masks_from(0, 20, 2))
    lifted, rejected = lift_to_keep(lifter, world)
    assert rejected == {"toy-2": "the animal of toy-0 again"} and [len(many.scale) for many in lifted] == [3]
    for form, writes in (("npz", []), ("table", [])):
        output = {"formats": (form,), "pictures": False, "done": writes.append}
        kept, predictions = write_predictions(lifter, world, lifted, rejected, tmp_path, **output)
        assert kept.ids == ("toy-0", "toy-1") and sum(writes) == 2
        assert [len(many.scale) for many in predictions] == [2]
    assert pq.read_table(tmp_path / "predictions.parquet")["instance_id"].to_pylist() == ["toy-0", "toy-1"]
    results = [row.rsplit(",", 1)[1] for row in (tmp_path / "figures.csv").read_text().splitlines()]
    assert results == ["result", "kept", "kept", "the animal of toy-0 again"]
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["000-toy-0.npz", "001-toy-1.npz"]


def test_photographs_come_first(tmp_path):
    world = toy_instances(toy_surface(), 4)
    (tmp_path / "dog.jpg").write_bytes(b"")
    paths = ("", "gone.jpg", str(tmp_path / "dog.jpg"), "")
    known = replace(world, true_vertices=None, true_scale=None, image_paths=paths)
    assert photographs_first(known, 2).ids == ("toy-2", "toy-0")
    assert len(photographs_first(known, 0)) == 4


def test_names_of_files():
    assert safe_name("n02099601/dog 1.jpg#0") == "n02099601_dog_1.jpg_0"
    assert safe_name("///") == "instance"
    assert safe_name("a" * 300 + "/dog.jpg#0").endswith("a_dog.jpg_0") and len(safe_name("a" * 300)) == 150


def test_a_square_of_a_photograph_lies_where_it_should_however_large(tmp_path):
    """White inside the photograph, grey outside; a square a million times as wide as the photograph is still a small
    picture."""
    white = np.full((20, 40, 3), 255, dtype=np.uint8)
    inside = np.asarray(square_in(white, (-20.0, -10.0, 80.0), 80)) == 255
    expected = np.zeros((80, 80), dtype=bool)
    expected[10:30, 20:60] = True
    assert np.array_equal(inside.all(2), expected)
    far = square_in(white, (-1e7, -1e7, 4e7), 64)
    assert far.size == (64, 64)
    beside = np.asarray(square_in(white, (100.0, 100.0, 10.0), 8))
    assert (beside != 255).all()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert local_pixels(str(tmp_path / "broken.png")) is None
