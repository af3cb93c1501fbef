"""The recorded outputs of the reference implementation, carried through to vertices and keypoints."""

import numpy as np
import pytest

from dp3d_data.matching import VertexIndex, dense_prediction, view_of
from tests.references.matching import pool_pixels_slow
from tests.shared import shared


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
        assert (found.vertex_ids == expected).all()
        assert_keypoints(view_of(found, len(vertices)), mask, expected, box)


def assert_keypoints(view, mask, vertex_ids, box):
    """Mean pixel centres of the recorded vertices, computed pixel by pixel."""
    rows, columns = np.nonzero(mask)
    centres = np.stack([columns + int(box[0]) + 0.5, rows + int(box[1]) + 0.5], axis=1)
    slow = pool_pixels_slow(vertex_ids[rows, columns], centres)
    assert view.ids.tolist() == list(slow)
    expected = np.array([row[:2] for row in slow.values()])
    assert np.abs(view.keypoints - expected).max() < 1e-3
