"""The template vertex of every pixel of one detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.matching.cycle import REACH, cycle_weights
from dp3d_data.matching.nearest import VertexIndex
from dp3d_data.matching.pooling import pool_pixels
from dp3d_data.matching.resampling import integer_box, object_mask, resize_to
from dp3d_data.records import DensePrediction, VertexView


def dense_prediction(
    box: Iterable[float],
    embedding: Float[np.ndarray, "dim side_y side_x"],
    coarse_segm: Float[np.ndarray, "2 side_y side_x"],
    index: VertexIndex,
    cycle: bool = False,
) -> DensePrediction:
    """Resize the network's answer to its box and match the pixels of the mask.

    Args:
        box: xyxy in image pixels; `integer_box` says which pixels stand for it.
        embedding: [D, S, S] pixel embeddings; their length is free, only vertex embeddings have unit norm.
        coarse_segm: [2, S, S] background and object scores.
        index: the template's vertex embeddings.
        cycle: also weigh each pixel by the cycle pixel -> vertex -> pixel.

    Returns:
        Origin, vertex ids [h, w] (0 outside the mask, where they mean nothing), mask [h, w] and cycle weights [h, w].

    Raises:
        ShapeError: arrays that do not belong together.
        NotFinite: an embedding inside the mask is NaN or infinite.
    """
    x, y, width, height = integer_box(box)
    mask = object_mask(coarse_segm, width, height)
    vertex_ids = np.zeros(mask.shape, dtype=np.int32)
    pixels = resize_to(embedding, width, height)[mask]
    vertex_ids[mask] = found = index.search(pixels)
    weights = None
    if cycle:
        rows, columns = np.nonzero(mask)
        centres = np.stack([columns, rows], axis=1) + 0.5
        weights = np.zeros(mask.shape, dtype=np.float32)
        weights[mask] = cycle_weights(pixels, found, centres, index.vertices, REACH * max(width, height), index.device)
    return DensePrediction((x, y), vertex_ids, mask, weights)


def view_of(prediction: DensePrediction, num_vertices: int) -> VertexView:
    """The visible vertices of a dense prediction: the mean pixel centre, in image pixels, of each vertex's pixels."""
    rows, columns = np.nonzero(prediction.mask)
    x, y = prediction.origin
    centres = np.stack([columns + (x + 0.5), rows + (y + 0.5)], axis=1)
    weights = None if prediction.cycle is None else prediction.cycle[rows, columns]
    return pool_pixels(prediction.vertex_ids[rows, columns], centres, num_vertices, weights)


def match_detection(
    detection: Any, vertices: Float[np.ndarray, "vertices dim"] | VertexIndex, cycle: bool = False
) -> DensePrediction:
    """The dense prediction of one detection of a `DensePredictor`: box, embedding [D, S, S] and coarse_segm [2, S, S]."""
    index = vertices if isinstance(vertices, VertexIndex) else VertexIndex(vertices)
    return dense_prediction(detection.box, np.asarray(detection.embedding), np.asarray(detection.coarse_segm), index, cycle)
