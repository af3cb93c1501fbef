"""The template vertex of every pixel of one detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.matching.nearest import VertexIndex
from dp3d_data.matching.pooling import pool_pixels
from dp3d_data.matching.resampling import integer_box, object_mask, resize_to
from dp3d_data.records import DensePrediction, VertexView


def dense_prediction(
    box: Iterable[float],
    embedding: Float[np.ndarray, "dim side_y side_x"],
    coarse_segm: Float[np.ndarray, "2 side_y side_x"],
    index: VertexIndex,
) -> DensePrediction:
    """Resize the network's answer to its box and match the pixels of the mask.

    Args:
        box: xyxy in image pixels; `integer_box` says which pixels stand for it.
        embedding: [D, S, S] pixel embeddings; their length is free, only vertex embeddings have unit norm.
        coarse_segm: [2, S, S] background and object scores.
        index: the template's vertex embeddings.

    Returns:
        Origin, vertex ids [h, w] (0 outside the mask, where they mean nothing) and mask [h, w].

    Raises:
        ShapeError: arrays that do not belong together.
        NotFinite: an embedding inside the mask is NaN or infinite.
    """
    x, y, width, height = integer_box(box)
    mask = object_mask(coarse_segm, width, height)
    vertex_ids = np.zeros(mask.shape, dtype=np.int32)
    vertex_ids[mask] = index.search(resize_to(embedding, width, height)[mask])
    return DensePrediction((x, y), vertex_ids, mask)


def view_of(prediction: DensePrediction, num_vertices: int) -> VertexView:
    """The visible vertices of a dense prediction: the mean pixel centre, in image pixels, of each vertex's pixels."""
    rows, columns = np.nonzero(prediction.mask)
    x, y = prediction.origin
    centres = np.stack([columns + (x + 0.5), rows + (y + 0.5)], axis=1)
    return pool_pixels(prediction.vertex_ids[rows, columns], centres, num_vertices)


def match_detection(detection: Any, vertices: Float[np.ndarray, "vertices dim"] | VertexIndex) -> DensePrediction:
    """The dense prediction of one detection of a `DensePredictor`: box, embedding [D, S, S] and coarse_segm [2, S, S]."""
    index = vertices if isinstance(vertices, VertexIndex) else VertexIndex(vertices)
    return dense_prediction(detection.box, np.asarray(detection.embedding), np.asarray(detection.coarse_segm), index)
