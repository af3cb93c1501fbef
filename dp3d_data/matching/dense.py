"""The template vertex of every pixel of one detection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching.charts import ChartIndex, chart_pixels
from dp3d_data.matching.nearest import VertexIndex
from dp3d_data.matching.pooling import REACH, cycle_weights, pool_pixels
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


def chart_prediction(
    origin: tuple[int, int],
    labels: Int[np.ndarray, "h w"],
    places: Float[np.ndarray, "2 h w"],
    index: ChartIndex,
) -> DensePrediction:
    """The body vertex of each pixel that lies on a chart.

    Args:
        origin: (x, y) of the top left pixel in the image, integer pixels.
        labels: chart of each pixel, 0 for background.
        places: u and v of each pixel on its chart, 0..1.

    Raises:
        ShapeError: arrays that do not belong together, or a chart that the body has not.
    """
    mask = labels > 0
    vertex_ids = np.zeros(mask.shape, dtype=np.int32)
    vertex_ids[mask] = index.search(labels[mask], places[:, mask].T)
    return DensePrediction(origin, vertex_ids, mask)


def cut_to(prediction: DensePrediction, mask: Bool[np.ndarray, "H W"], size: tuple[int, int]) -> DensePrediction:
    """The prediction without the pixels outside a mask of the whole image.

    Args:
        mask: the object's pixels.
        size: (width, height) of the image that the prediction belongs to.

    Raises:
        ShapeError: the mask is of another size.
    """
    if mask.shape != size[::-1]:
        got, expected = f"{mask.shape[1]} x {mask.shape[0]}", f"{size[0]} x {size[1]}"
        raise ShapeError("a mask of another size than its image", got=got, expected=expected)
    x, y = prediction.origin
    height, width = prediction.mask.shape
    inside = np.zeros_like(prediction.mask)
    part = mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    top, left = max(-y, 0), max(-x, 0)
    inside[top : top + part.shape[0], left : left + part.shape[1]] = part
    return replace(prediction, mask=prediction.mask & inside)


def match_detection(
    detection: Any, vertices: Float[np.ndarray, "vertices dim"] | VertexIndex | ChartIndex, cycle: bool = False
) -> DensePrediction:
    """The dense prediction of one detection of a `DensePredictor`.

    Args:
        detection: region, coarse_segm [C, S, S], and embedding [D, S, S] or charts (fine_segm, u, v [25, S, S]).
        vertices: what the answer is matched to: embeddings of vertices, or the charts of a body.
        cycle: weigh each pixel forward and backward, where embeddings are compared.

    Raises:
        ShapeError: arrays that do not belong together, or charts where embeddings are asked for.
    """
    if isinstance(vertices, ChartIndex):
        charts = getattr(detection, "charts", {})
        if not {"fine_segm", "u", "v"} <= set(charts):
            raise ShapeError("this network answers in embeddings", expected="fine_segm, u and v of a chart network")
        maps = (np.asarray(charts[name]) for name in ("fine_segm", "u", "v"))
        labels, places = chart_pixels(detection.region, np.asarray(detection.coarse_segm), *maps)
        return chart_prediction(integer_box(detection.region)[:2], labels, places, vertices)
    index = vertices if isinstance(vertices, VertexIndex) else VertexIndex(vertices)
    return dense_prediction(
        detection.region, np.asarray(detection.embedding), np.asarray(detection.coarse_segm), index, cycle
    )
