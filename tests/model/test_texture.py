"""The photograph on the body: where the atlas takes its colours from."""

import numpy as np
import trimesh
from PIL import Image

from dp3d_data.geometry.visibility import vertex_normals, visible_vertices
from dp3d_model.export.gallery import save_turntable
from dp3d_model.export.meshes import (
    CELL,
    FACING,
    Texture,
    atlas_corners,
    atlas_layout,
    export_textured,
    filled,
    pixels_at,
    seen_vertices,
    texture_of,
)
from tests.model.toy import blob


def picture(width=200, height=160):
    """Red grows to the right, green downwards; blue is full."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x + 20, y + 40, np.full_like(x, 250)], axis=2).clip(0, 255).astype(np.uint8)


def body():
    vertices, faces = blob()
    return vertices, faces, vertices * 60 + [100.0, 80.0, 0.0]


def test_every_texel_belongs_to_one_triangle_and_corners_are_where_their_weights_say():
    for count in (1, 2, 7, 50):
        (owner, x, y), weights, side = atlas_layout(count)
        assert len(np.unique(y * side + x)) == len(x) and side % CELL == 0
        assert set(owner) == set(range(count)) and max(x.max(), y.max()) < side
        np.testing.assert_allclose(weights.sum(1), 1.0)
        placed = np.einsum("pc,pcd->pd", weights, atlas_corners(count)[owner])
        np.testing.assert_allclose(placed, np.stack([x, y], axis=1) + 0.5, atol=1e-9)


def test_seen_surface_has_the_colours_of_the_photograph():
    vertices, faces, projected = body()
    texture = texture_of(picture(), projected, vertices, faces)
    seen = seen_vertices(projected, faces, (160, 200), None)
    assert 0.2 < seen.mean() < 0.6
    expected = np.stack([projected[:, 0] + 19.5, projected[:, 1] + 39.5], axis=1)
    np.testing.assert_allclose(texture.colours[seen, :2], expected[seen], atol=1.5)
    shown = np.flatnonzero(seen[faces].all(1))
    middle = texture.sample(shown, np.full((len(shown), 3), 1 / 3))
    np.testing.assert_allclose(middle[:, :2], expected[faces[shown]].mean(1), atol=4.0)
    assert (
        texture.sample(np.arange(len(faces)), np.full((len(faces), 3), 1 / 3))[:, 2] > 200
    ).all()  # nothing is left black


def test_a_pixel_has_its_colour_at_its_centre():
    points = np.array([[10.5, 20.5], [11.0, 20.5], [0.0, 0.0]])
    assert pixels_at(picture(), points).tolist() == [[30, 60, 250], [30.5, 60, 250], [20, 40, 250]]


def test_nothing_is_taken_from_the_outline():
    _, faces, projected = body()
    steep = np.abs(vertex_normals(projected, faces)[:, 2]) <= FACING
    assert (visible_vertices(projected, faces) & steep).any()
    assert not (seen_vertices(projected, faces, (160, 200), None) & steep).any()


def test_the_other_side_is_filled_from_its_partners():
    vertices, faces, projected = body()
    flipped = vertices * [1.0, 1.0, -1.0]
    symmetry = np.linalg.norm(vertices[:, None] - flipped[None], axis=2).argmin(1)
    texture = texture_of(picture(), projected, vertices, faces, symmetry)
    seen = seen_vertices(projected, faces, (160, 200), None)
    hidden = ~seen & seen[symmetry]
    assert hidden.sum() > 10
    np.testing.assert_array_equal(texture.colours[hidden], texture.colours[symmetry[hidden]])


def test_nothing_is_taken_from_outside_the_mask():
    vertices, faces, projected = body()
    mask = np.zeros((160, 200), dtype=bool)
    mask[:, :100] = True
    seen = seen_vertices(projected, faces, (160, 200), mask)
    assert seen.any() and projected[seen, 0].max() <= 100
    assert not seen_vertices(projected + [1000.0, 0.0, 0.0], faces, (160, 200), None).any()


def test_where_nothing_is_known_the_body_is_grey():
    rest = np.random.default_rng(0).random((5, 3))
    assert (filled(np.zeros((5, 3)), np.zeros(5, dtype=bool), rest) == 160).all()
    one = filled(np.full((5, 3), 7.0), np.arange(5) == 2, rest)
    assert (one == 7).all()


def test_unknown_colours_are_those_around_by_the_square_of_the_distance():
    rest = np.array([[0.0, 0, 0], [1, 0, 0], [-2, 0, 0]])
    found = filled(np.array([[9.0, 9, 9], [10, 0, 50], [60, 100, 50]]), np.array([False, True, True]), rest)
    np.testing.assert_allclose(found, [[20, 20, 50], [10, 0, 50], [60, 100, 50]], atol=0.1)


def test_the_last_row_and_column_of_a_photograph_are_in_it():
    """A facing square whose corners lie in the outermost pixels; one pixel on, one side is outside."""
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    corners = np.array([[0.0, 0.0, 5], [29.9, 0.0, 5], [29.9, 19.9, 5], [0.0, 19.9, 5]])
    mask = np.ones((20, 30), dtype=bool)
    for shift, expected in (((0, 0), [1, 1, 1, 1]), ((0.2, 0), [1, 0, 0, 1]), ((0, -0.2), [0, 0, 1, 1])):
        for own in (None, mask):
            assert seen_vertices(corners + [*shift, 0], faces, (20, 30), own).tolist() == expected


def test_colours_beyond_the_atlas_are_those_of_its_border():
    atlas = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    corners = np.array([[[9.0, 9], [-3, 1.5], [2.5, 0.5]]])
    found = Texture(atlas, corners, np.zeros((3, 3), np.uint8)).sample(np.zeros(3, int), np.eye(3))
    assert found.tolist() == [atlas[3, 3].tolist(), atlas[1, 0].tolist(), atlas[0, 2].tolist()]


def test_the_file_holds_texture_normals_and_ground(tmp_path):
    vertices, faces, projected = body()
    texture = texture_of(picture(), projected, vertices, faces)
    scene = trimesh.load(export_textured(tmp_path / "body.glb", vertices, faces, texture))
    mesh = next(one for one in scene.geometry.values() if len(one.faces) == len(faces))
    assert len(scene.geometry) == 2
    np.testing.assert_allclose(mesh.vertices, vertices[:, [1, 2, 0]][faces.ravel()], atol=1e-5)
    image = np.asarray(mesh.visual.material.baseColorTexture)[..., :3]
    np.testing.assert_array_equal(image, texture.atlas)
    places = mesh.visual.uv * [1.0, -1.0] * len(texture.atlas) + [0.0, len(texture.atlas)]
    np.testing.assert_allclose(places.reshape(-1, 3, 2), texture.corners, atol=1e-2)
    ground = next(one for one in scene.geometry.values() if one is not mesh)
    assert np.ptp(ground.vertices[:, 1]) == 0 and abs(ground.vertices[0, 1] - vertices[:, 2].min()) < 0.05
    low, high = mesh.bounds
    wide = 0.75 * (high - low).max() * np.array([-1, 1])
    np.testing.assert_allclose(ground.bounds[:, [0, 2]].T, (low + high)[[0, 2], None] / 2 + wide, atol=1e-5)
    assert ground.face_normals[:, 1].min() > 0.99, "seen from above"


def test_a_turntable_moves(tmp_path):
    vertices, faces, projected = body()
    texture = texture_of(picture(), projected, vertices, faces)
    path = save_turntable(tmp_path / "body.webp", vertices, faces, texture.sample, 4, 64)
    with Image.open(path) as found:
        assert found.n_frames == 4 and found.size == (64, 64)
