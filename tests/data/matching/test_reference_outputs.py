"""The recorded outputs of the reference implementation, carried through to vertices and keypoints."""

from types import SimpleNamespace

import numpy as np
import pytest

from dp3d_data.matching import VertexIndex, dense_prediction, match_detection, resize_to, view_of
from dp3d_data.matching.charts import read_charts
from tests.references.charts import chart_keypoints, read_mat
from tests.references.matching import pool_pixels_slow
from tests.shared import shared


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cse", "cse_deeplab"])
def test_closest_vertices_and_keypoints_are_those_recorded(name):
    recorded = np.load(shared(f"parity/{name}.npz"), allow_pickle=False)
    meshes = {0: "toy_a", 1: "toy_b"}
    for i, (box, label) in enumerate(zip(recorded["given_boxes_xyxy"], recorded["classes"], strict=True)):
        vertices = recorded[f"vertex_embeddings/{meshes[int(label)]}"]
        answer = recorded["densepose/embedding"][i], recorded["densepose/coarse_segm"][i]
        found = dense_prediction(box, *answer, VertexIndex(vertices))
        mask, expected = recorded[f"closest/{i}/mask"], recorded[f"closest/{i}/vertices"]
        assert (found.mask == mask).all()
        other = found.vertex_ids != expected
        assert other.sum() <= 1e-4 * mask.sum()
        assert_equally_near(
            resize_to(answer[0], *mask.shape[::-1])[other], vertices, found.vertex_ids[other], expected[other]
        )
        assert_keypoints(view_of(found, len(vertices)), mask, found.vertex_ids, box)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chart", "chart_deeplab_wc2m"])
def test_chart_keypoints_are_those_of_the_recorded_labels(name):
    """Raw answer of the second box -> charts -> body vertices -> keypoints, against the recorded labels, u and v."""
    mat = shared("data/densepose/UV_Processed.mat")
    recorded = np.load(shared(f"parity/{name}.npz"), allow_pickle=False)
    raw = {
        key.removeprefix("densepose_box1/"): recorded[key][0]
        for key in recorded.files
        if key.startswith("densepose_box1/")
    }
    box = recorded["given_boxes_xyxy"][1]
    detected = SimpleNamespace(box=box, region=box, coarse_segm=raw["coarse_segm"], charts=raw)
    found = match_detection(detected, read_charts(mat))
    view = view_of(found, 6890)
    uv = np.clip(recorded["chart/1/uv"], 0, 1)
    expected = chart_keypoints(recorded["chart/1/labels"], uv, (int(box[0]), int(box[1])), read_mat(mat))
    assert view.ids.tolist() == list(expected) and len(expected) > 20
    assert np.abs(view.keypoints - np.array([row[:2] for row in expected.values()])).max() < 1e-3
    assert view.counts.tolist() == [row[2] for row in expected.values()]


def assert_equally_near(pixels, vertices, found, expected):
    """Which of two vertices is the nearer one may hang on the rounding of a processor, and on nothing else."""
    far, near = (np.linalg.norm(pixels.astype(np.float64) - vertices[ids], axis=1) for ids in (found, expected))
    np.testing.assert_allclose(far, near, rtol=1e-6)


def assert_keypoints(view, mask, vertex_ids, box):
    """Mean pixel centres of the recorded vertices, computed pixel by pixel."""
    rows, columns = np.nonzero(mask)
    centres = np.stack([columns + int(box[0]) + 0.5, rows + int(box[1]) + 0.5], axis=1)
    slow = pool_pixels_slow(vertex_ids[rows, columns], centres)
    assert view.ids.tolist() == list(slow)
    expected = np.array([row[:2] for row in slow.values()])
    assert np.abs(view.keypoints - expected).max() < 1e-3
