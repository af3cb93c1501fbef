"""Edges split at their midpoints: numbers, faces, the way back, and an order that features confirm or not."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.bodies.files import save_body_model
from dp3d_data.errors import CheckpointError, TemplateError
from dp3d_data.geometry import load_template, make_template
from dp3d_data.geometry.laplacian import laplacian_basis
from dp3d_data.geometry.subdivision import agreement, edge_orders, edges_in_order, mesh_edges, subdivide
from pipelines.cli.data import main
from tests.data.bodies.body_arrays import random_model
from tests.shared import shared


def parents(faces, count):
    """The way back from a subdivided mesh: the two ends of each id's edge; an id below `count` is both its own ends."""
    edges = mesh_edges(faces)
    low, high = edges[(edges[:, 0] < count) & (edges[:, 1] >= count)].T
    total = int(faces.max()) + 1
    assert np.array_equal(np.bincount(high, minlength=total)[count:], np.full(total - count, 2))
    ends = np.repeat(np.arange(total, dtype=np.int32)[:, None], 2, axis=1)
    ends[count:] = low[np.argsort(high, kind="stable")].reshape(-1, 2)
    return ends


def lumpy(seed=0, divisions=3):
    """A closed surface without symmetry."""
    model = random_model(seed=seed, divisions=divisions)
    return make_template("lumpy", model.template, model.faces, unit="m")


def split_slow(vertices, faces, edges):
    """Corner by corner: where each edge's midpoint lies, and the four triangles of each face."""
    number = {tuple(sorted(map(int, edge))): len(vertices) + place for place, edge in enumerate(edges)}
    points = [*map(tuple, vertices)]
    points += [tuple((vertices[a][axis] + vertices[b][axis]) / 2 for axis in range(3)) for a, b in edges]
    triangles = []
    for a, b, c in faces.tolist():
        ab, bc, ca = (number[tuple(sorted(pair))] for pair in ((a, b), (b, c), (c, a)))
        triangles += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.array(points), triangles


@pytest.mark.parametrize("seed", range(3))
def test_subdivision_agrees_with_its_twin_in_any_order(seed):
    template = lumpy(seed)
    edges = np.random.default_rng(seed).permutation(mesh_edges(template.faces))
    found = subdivide(template, edges, "fine")
    points, triangles = split_slow(template.vertices.astype(float), template.faces, edges)
    assert found.faces.tolist() == [list(triangle) for triangle in triangles]
    np.testing.assert_allclose(found.vertices, points, atol=1e-6)
    assert found.unit == "m" and found.factor == pytest.approx(template.factor, rel=1e-6)
    assert found.total_area == pytest.approx(template.total_area, rel=1e-5)


def test_the_way_back_is_topology_alone():
    template = lumpy(4)
    edges = np.random.default_rng(4).permutation(mesh_edges(template.faces))
    fine = subdivide(template, edges, "fine")
    ends = parents(fine.faces, template.num_vertices)
    assert np.array_equal(
        ends[: template.num_vertices], np.repeat(np.arange(template.num_vertices)[:, None], 2, axis=1)
    )
    assert np.array_equal(ends[template.num_vertices :], edges)


def test_people_have_as_many_edges_as_the_published_mesh_has_extra_ids():
    """SMPL's topology as the chart file tells it: 6,890 vertices and 20,664 edges make 27,554."""
    import scipy.io

    table = scipy.io.loadmat(shared("data/densepose/UV_Processed.mat"))
    faces = table["All_vertices"].ravel()[table["All_Faces"] - 1].astype(int) - 1
    assert faces.max() + 1 == 6890 and len(mesh_edges(faces)) == 20664 == 27554 - 6890
    for edges in edge_orders(faces).values():
        assert np.array_equal(np.unique(edges, axis=0), mesh_edges(faces))


def features_of(template, edges, count=40):
    fine = subdivide(template, edges, "fine")
    return laplacian_basis(fine.vertices.astype(float), fine.faces, count)[1]


@pytest.mark.parametrize("place", range(4))
def test_features_tell_the_order_of_the_edges(place):
    template = lumpy(7)
    orders = list(edge_orders(template.faces).values())
    features = features_of(template, orders[place])
    assert np.array_equal(edges_in_order(features, template.faces), orders[place])
    others = [agreement(features, edges) for other, edges in enumerate(orders) if other != place]
    assert agreement(features, orders[place]) > 0.9 and max(others) < 0.2


def test_an_order_that_nobody_uses_is_refused():
    template = lumpy(7)
    mixed = np.random.default_rng(0).permutation(mesh_edges(template.faces))
    with pytest.raises(TemplateError, match="confirm no order"):
        edges_in_order(features_of(template, mixed), template.faces)
    with pytest.raises(TemplateError, match="belong to another mesh"):
        edges_in_order(np.zeros((9, 4), np.float32), template.faces)
    with pytest.raises(TemplateError, match="not the edges of the mesh"):
        subdivide(template, mixed[:-1], "fine")


def weights_with(path, features, mesh="smpl_27554"):
    state = {f"roi_heads.embedder.embedder_{mesh}.features": torch.from_numpy(np.array(features))}
    torch.save({"model": state}, path)
    return str(path)


def test_a_template_of_a_body_model(tmp_path):
    """The command: SMPL's own vertices, and those of the network for people in its order."""
    model = random_model()
    save_body_model(model, tmp_path / "body.npz")
    template = make_template("random", model.template, model.faces, unit="m")
    edges = edge_orders(template.faces)["as the faces name them, face by face"]
    weights = weights_with(tmp_path / "weights.pth", features_of(template, edges))
    run = CliRunner().invoke(main, ["body", "template", str(tmp_path / "body.npz"), "--name", "person"])
    assert run.exit_code == 0, run.output
    assert load_template("person").content_hash == template.content_hash
    more = ["--name", "person-cse", "--weights", weights]
    run = CliRunner().invoke(main, ["body", "template", str(tmp_path / "body.npz"), *more])
    assert run.exit_code == 0, run.output
    assert load_template("person-cse").content_hash == subdivide(template, edges, "x").content_hash
    run = CliRunner().invoke(main, ["body", "template", str(tmp_path / "body.npz"), *more])
    assert run.exit_code == 2 and "exists" in run.stderr


def test_weights_without_that_mesh_are_named(tmp_path):
    from dp3d_data.detection import read_features

    path = weights_with(tmp_path / "dog.pth", np.zeros((5, 2), np.float32), "dog_5002")
    with pytest.raises(CheckpointError, match="(?s)no mesh 'smpl_27554'.*got: dog_5002"):
        read_features(path, "smpl_27554")
