"""A template: its frame, areas, identity, and the way to disk and back."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import InputCorrupt, InputMissing, TemplateError
from dp3d_data.geometry import Template, load_template, make_template
from tests.data.bodies.shapes import arm, sphere
from tests.references.bodies import vertex_areas_slow


def same(one: Template, other: Template) -> None:
    assert (one.name, one.unit, one.factor, one.content_hash) == (
        other.name,
        other.unit,
        other.factor,
        other.content_hash,
    )
    assert np.array_equal(one.center, other.center)
    assert (one.symmetry is None) == (other.symmetry is None)
    for name in ("parents", "rest", "weights", "hinge_joint", "hinge_axis", "hinge_range"):
        assert np.array_equal(getattr(one.skeleton, name), getattr(other.skeleton, name))
    assert one.skeleton.names == other.skeleton.names and one.skeleton.hinge_names == other.skeleton.hinge_names


@given(st.integers(0, 100), st.floats(0.01, 1000), st.tuples(*[st.floats(-50, 50)] * 3))
def test_a_template_is_centred_with_unit_extent_and_knows_the_way_back(seed, size, shift):
    points = np.random.default_rng(seed).standard_normal((20, 3)) * size + shift
    template = make_template("cloud", points, np.array([[0, 1, 2]]))
    low, high = template.vertices.min(axis=0), template.vertices.max(axis=0)
    assert (high - low).max() == pytest.approx(1, abs=1e-5)
    assert np.allclose(low + high, 0, atol=1e-5)
    assert np.allclose(template.vertices * template.factor + template.center, points, atol=1e-4 * (size + 50))


def test_areas_agree_with_the_slow_twin():
    vertices, faces = sphere(1)
    template = make_template("sphere", vertices * [1, 2, 3], faces)
    slow = vertex_areas_slow(template.vertices.astype(float), faces)
    assert np.allclose(template.vertex_areas, slow, rtol=1e-9)
    assert template.total_area == pytest.approx(slow.sum())


def test_saving_and_loading_keeps_everything_and_every_byte(tmp_path):
    first = arm().save(tmp_path / "a" / "one.npz")
    second = Template.load(first).save(tmp_path / "two.npz")
    same(arm(), Template.load(second))
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith(".")] == []


def test_the_hash_sees_every_vertex_and_face():
    template = load_template("dog")
    moved, swapped = template.vertices.copy(), template.faces[::-1].copy()
    moved[17, 1] = np.nextafter(moved[17, 1], 1)
    hashes = {template.content_hash}
    hashes |= {
        Template("dog", moved, template.faces).content_hash,
        Template("dog", template.vertices, swapped).content_hash,
    }
    assert len(hashes) == 3 and all(len(text) == 16 for text in hashes)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(InputMissing, match="no such template file"):
        Template.load(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"text, not a template", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_template_is_corrupt(tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(InputCorrupt, match="not a template file"):
        Template.load(path)


def test_a_foreign_or_cut_archive_is_corrupt(tmp_path):
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", format=np.array(1), name=np.array([{}], dtype=object))
    whole = arm().save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    with zipfile.ZipFile(tmp_path / "whole.npz") as archive:
        start = archive.getinfo("vertices.npy").header_offset + 80
    damaged[start : start + 200] = bytes(200)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("foreign", "pickled", "cut", "damaged"):
        with pytest.raises(InputCorrupt, match="not a template file"):
            Template.load(tmp_path / f"{name}.npz")


def test_a_skeleton_of_another_mesh_is_refused():
    body = arm()
    with pytest.raises(TemplateError, match="belongs to another mesh"):
        Template("half", body.vertices[:50], body.faces[:1], skeleton=body.skeleton)


def test_points_without_extent_make_no_template():
    with pytest.raises(TemplateError, match="span a box"):
        make_template("point", np.ones((4, 3)), np.array([[0, 1, 2]]))
