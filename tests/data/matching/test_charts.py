"""Places on charts to body vertices: the slow twin, laws, and the real charts of people."""

from inspect import unwrap

import numpy as np
import pytest

from dp3d_data.errors import InputCorrupt, InputMissing, ShapeError
from dp3d_data.matching import ChartIndex, chart_prediction, cut_to, match_detection
from dp3d_data.matching.charts import read_charts
from dp3d_data.records import DensePrediction
from tests.references.charts import chart_vertex_slow
from tests.shared import shared


def random_charts(rng, charts=3, corners=30, faces=25):
    """Triangles anywhere, also overlapping, without area, and in a corner of the chart only."""
    places = rng.random((corners, 2)) * rng.choice([0.2, 1.0], (corners, 1))
    chosen = rng.integers(0, corners, (faces, 3))
    labels = np.concatenate([np.arange(1, charts + 1), rng.integers(1, charts + 1, faces - charts)])
    return places, rng.integers(0, 20, corners), chosen, labels


@pytest.mark.parametrize("seed", range(12))
def test_search_agrees_with_its_twin(seed):
    """Inside, outside, on corners and on edges."""
    rng = np.random.default_rng(seed)
    parts = random_charts(rng)
    places, _, faces, charts = parts
    labels = rng.integers(1, 4, 120)
    points = rng.random((120, 2))
    for row in range(60):
        own = faces[np.flatnonzero(charts == labels[row])[rng.integers(0, (charts == labels[row]).sum())]]
        points[row] = (
            places[own[0]]
            if row % 3 == 0
            else places[own[:2]].mean(axis=0)
            if row % 3 == 1
            else places[own].mean(axis=0)
        )
    found = ChartIndex(*parts).search(labels, points)
    assert found.tolist() == [
        chart_vertex_slow(label, point, *parts) for label, point in zip(labels, points, strict=True)
    ]


@pytest.fixture(scope="module")
def people():
    return read_charts(shared("data/densepose/UV_Processed.mat"))


def test_a_corner_of_the_real_charts_is_its_own_vertex(people):
    """Every body vertex is found at its own places; where corners of one chart share a place, one of them answers."""
    import scipy.io

    table = scipy.io.loadmat(shared("data/densepose/UV_Processed.mat"))
    charts = table["All_FaceIndices"].ravel().astype(int)
    seam = people.faces.ravel()
    found = people.search(np.repeat(charts, 3), people.places[seam])
    wrong = np.flatnonzero(found != people.bodies[seam])
    for place in wrong:
        other = np.flatnonzero(people.bodies == found[place])
        assert np.square(people.places[other] - people.places[seam[place]]).sum(axis=1).min() < 1e-12
    assert len(wrong) < 0.001 * len(seam)
    assert people.num_vertices == 6890 == len(np.unique(people.bodies)) and people.charts.tolist() == [*range(1, 25)]


def test_search_agrees_with_its_twin_on_the_real_charts(people):
    import scipy.io

    charts = scipy.io.loadmat(shared("data/densepose/UV_Processed.mat"))["All_FaceIndices"].ravel()
    rng = np.random.default_rng(0)
    labels, points = rng.integers(1, 25, 60), rng.random((60, 2))
    parts = people.places, people.bodies, people.faces, charts
    expected = [chart_vertex_slow(label, point, *parts) for label, point in zip(labels, points, strict=True)]
    assert people.search(labels, points).tolist() == expected


def test_the_order_of_points_changes_nothing(people):
    rng = np.random.default_rng(1)
    labels, points = rng.integers(1, 25, 500), rng.random((500, 2))
    order = rng.permutation(500)
    assert np.array_equal(people.search(labels[order], points[order]), people.search(labels, points)[order])
    assert people.search(labels[:0], points[:0]).shape == (0,)


def test_what_does_not_belong_together_is_refused(people):
    with pytest.raises(ShapeError, match="one place for every label"):
        unwrap(ChartIndex.search)(people, np.ones(3, int), np.zeros((2, 2)))
    with pytest.raises(ShapeError, match="a chart that the body has not"):
        people.search(np.array([25]), np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="seam vertices and triangles"):
        ChartIndex(np.zeros((3, 2)), np.arange(3), np.zeros((0, 3), int), np.zeros(0, int))
    with pytest.raises(ShapeError, match="a corner that is none"):
        ChartIndex(np.zeros((3, 2)), np.arange(3), np.array([[0, 1, 3]]), np.array([1]))
    with pytest.raises(ShapeError, match="outside its chart"):
        ChartIndex(np.full((3, 2), 1.5), np.arange(3), np.array([[0, 1, 2]]), np.array([1]))


def test_a_network_of_embeddings_is_not_matched_to_charts(people):
    class Detected:
        box, coarse_segm = (0, 0, 4, 4), np.zeros((2, 8, 8), np.float32)

    with pytest.raises(ShapeError, match="answers in embeddings"):
        match_detection(Detected(), people)


def test_background_has_no_vertex(people):
    labels = np.array([[0, 2], [0, 24]])
    found = chart_prediction((5, 7), labels, np.full((2, 2, 2), 0.5), people)
    assert found.mask.tolist() == [[False, True], [False, True]] and found.origin == (5, 7)


def test_pixels_outside_a_mask_are_cut():
    """Wherever the box lies, also partly or wholly beyond the image."""
    rng = np.random.default_rng(3)
    mask = rng.random((20, 30)) < 0.5
    for x, y in ((4, 6), (-3, -2), (26, 15), (40, 3), (-9, 4)):
        dense = DensePrediction((x, y), np.zeros((8, 7), np.int32), np.ones((8, 7), bool))
        kept = cut_to(dense, mask, (30, 20)).mask
        for row in range(8):
            for column in range(7):
                inside = 0 <= y + row < 20 and 0 <= x + column < 30
                assert kept[row, column] == (inside and mask[y + row, x + column])
    with pytest.raises(ShapeError, match="another size"):
        cut_to(dense, mask, (20, 30))


def test_files_that_are_no_charts(tmp_path):
    import scipy.io

    with pytest.raises(InputMissing, match="no such file of charts"):
        read_charts(tmp_path / "none.mat")
    for name, write in {
        "empty": lambda path: path.touch(),
        "text": lambda path: path.write_text("MATLAB 5.0 MAT-file, or so it says" * 9),
        "other": lambda path: scipy.io.savemat(path, {"a": np.zeros(3)}),
        "cells": lambda path: scipy.io.savemat(path, dict.fromkeys(NAMES, np.array([["a"]], dtype=object))),
        "lengths": lambda path: scipy.io.savemat(path, dict.fromkeys(NAMES, np.ones(7))),
    }.items():
        path = tmp_path / f"{name}.mat"
        write(path)
        with pytest.raises(InputCorrupt, match="not the charts of a body"):
            read_charts(path)
    whole = shared("data/densepose/UV_Processed.mat").read_bytes()
    for length in (100, 1000, len(whole) // 2):
        (tmp_path / "cut.mat").write_bytes(whole[:length])
        with pytest.raises(InputCorrupt, match="not the charts of a body"):
            read_charts(tmp_path / "cut.mat")
    with pytest.raises(InputCorrupt, match="charts of another body"):
        read_charts(shared("data/densepose/UV_Processed.mat"), 5000)


NAMES = ("All_vertices", "All_Faces", "All_FaceIndices", "All_U_norm", "All_V_norm")
