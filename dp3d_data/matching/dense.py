"""A network's maps on the pixels of a box, the template vertex of every pixel, and the mean pixel of every vertex."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching.charts import ChartIndex
from dp3d_data.matching.nearest import VertexIndex, best_pixels
from dp3d_data.records import DensePrediction, VertexView


def integer_box(box: Iterable[float]) -> tuple[int, int, int, int]:
    """The whole pixels that stand for a box.

    The reference's rule: the corner (x0, y0) and the size (x1 - x0, y1 - y0) are truncated towards zero, each on its
    own and in single precision, and the size is at least 1. So pixel (column j, row i) of the resized answer is image
    pixel (x + j, y + i), with its centre at (x + j + 0.5, y + i + 0.5), up to half a pixel away from where the exact
    box would put it.

    Args:
        box: xyxy in image pixels, finite.

    Returns:
        x, y, width, height in whole pixels.

    Raises:
        ShapeError: not four finite numbers, or the right edge left of the left one.
    """
    values = np.array([*box], dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] < values[:2]).any():
        raise ShapeError("a box is four finite numbers", got=np.array2string(values), expected="x0 <= x1, y0 <= y1")
    x0, y0, x1, y1 = values.astype(np.float32)
    return int(x0), int(y0), max(int(x1 - x0), 1), max(int(y1 - y0), 1)


def resize_to(
    maps: Float[np.ndarray, "channels side_y side_x"], width: int, height: int
) -> Float[np.ndarray, "h w channels"]:
    """Bilinear resize without corner alignment: pixel centres lie at + 0.5 in both grids, borders are repeated.

    Args:
        maps: [C, S, S] what the network answered.
        width: columns wanted, at least 1.
        height: rows wanted, at least 1.

    Returns:
        [height, width, C] float32, channels last, so that the pixels of a mask are rows of a matrix.

    Raises:
        ShapeError: not three axes, or an empty size.
    """
    if maps.ndim != 3 or 0 in maps.shape or width < 1 or height < 1:
        got = f"maps {maps.shape}, size {width} x {height}"
        raise ShapeError("resize takes [C, S, S] and a size of at least 1 x 1", got=got)
    import torch

    source = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[None]
    source = source.contiguous(memory_format=torch.channels_last)
    resized = torch.nn.functional.interpolate(source, size=(height, width), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def object_mask(coarse_segm: Float[np.ndarray, "2 side_y side_x"], width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The object's pixels: where the second of the two segmentation channels is the larger after the resize.

    Raises:
        ShapeError: not two channels, or an empty size.
    """
    if coarse_segm.ndim != 3 or len(coarse_segm) != 2:
        raise ShapeError("coarse segmentation has two channels", got=coarse_segm.shape, expected="[2, S, S]")
    resized = resize_to(coarse_segm, width, height)
    return resized[..., 1] > resized[..., 0]


def pool_pixels(
    vertex_ids: Int[np.ndarray, "pixels"],
    positions: Float[np.ndarray, "pixels 2"],
    num_vertices: int,
    cycle: Float[np.ndarray, "pixels"] | None = None,
) -> VertexView:
    """Average the pixels of each vertex (supplement, section B: y_i = E[p_j], j in M_i).

    Sums run in float64, where those of pixel centres are exact.

    Args:
        vertex_ids: nearest template vertex of each mask pixel, in 0..num_vertices-1.
        positions: pixel centres in image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5).
        num_vertices: K of the template.
        cycle: forward-backward weight of each pixel, where there is one.

    Returns:
        The visible vertices in ascending order: ids [V], keypoints [V, 2] in image pixels,
        counts [V], spread [V], the root mean square distance of the pixels to their mean (ours), and cycle [V], the
        mean weight of the pixels, or None.

    Raises:
        ShapeError: ids and positions differ in length, or an id is outside the template.
    """
    vertex_ids, positions = np.asarray(vertex_ids), np.asarray(positions, dtype=np.float64)
    if vertex_ids.ndim != 1 or positions.shape != (len(vertex_ids), 2):
        raise ShapeError("one position per matched pixel", got=f"ids {vertex_ids.shape}, positions {positions.shape}")
    if len(vertex_ids) and not (0 <= vertex_ids.min() and vertex_ids.max() < num_vertices):
        got = f"{vertex_ids.min()} .. {vertex_ids.max()}"
        raise ShapeError("a vertex id is outside the template", got=got, expected=f"0 .. {num_vertices - 1}")
    vertex_ids = vertex_ids.astype(np.int64)
    counts = np.bincount(vertex_ids, minlength=num_vertices)
    divisor = np.maximum(counts, 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(vertex_ids, weights=values, minlength=num_vertices) / divisor

    means = np.stack([mean(positions[:, 0]), mean(positions[:, 1])], axis=1)
    spread = np.sqrt(mean(np.square(positions - means[vertex_ids]).sum(axis=1)))
    ids = np.flatnonzero(counts)
    weights = None if cycle is None else mean(cycle)[ids]
    return VertexView(ids.astype(np.int32), means[ids], counts[ids].astype(np.int32), spread[ids], cycle=weights)


# One standard deviation of the weight, as a share of the box's longer side (ours).
REACH = 0.05


def cycle_weights(
    pixels: Float[np.ndarray, "pixels dim"],
    vertex_ids: Int[np.ndarray, "pixels"],
    positions: Float[np.ndarray, "pixels 2"],
    vertices: Float[np.ndarray, "vertices dim"],
    reach: float,
    device: str = "cpu",
) -> Float[np.ndarray, "pixels"]:
    """The weight exp(-(d / reach)^2 / 2) of each pixel, after the cycle pixel -> vertex -> pixel (ours).

    d is the distance in the image between a pixel and the best pixel of its vertex: the one whose embedding has the
    direction nearest to the vertex's. Only directions count, since the length of a pixel's embedding is free. 1 where
    the cycle comes back to the pixel; near 0 where the vertex belongs to another part of the object, as with a left leg
    that was taken for the right one.

    Args:
        pixels: [N, D] embeddings of the object's pixels.
        vertex_ids: [N] nearest vertex of each.
        positions: [N, 2] pixel centres.
        vertices: [K, D] vertex embeddings, of unit length.
        reach: pixels.
        device: "cpu", or a torch device such as "cuda:0".

    Returns:
        [N] float32, above 0 up to 1 (0 where the exponential underflows). Where several pixels are equally near to a
        vertex to within float32 rounding, any of them may be the best.

    Raises:
        ShapeError: arrays of different length, or a reach that is not positive.
    """
    if not len(pixels) == len(vertex_ids) == len(positions) or not reach > 0:
        got = f"{len(pixels)} pixels, {len(vertex_ids)} ids, {len(positions)} positions, reach {reach}"
        raise ShapeError("one vertex and one position for each pixel, and a positive reach", got=got)
    if len(pixels) == 0:
        return np.zeros(0, dtype=np.float32)
    seen = np.flatnonzero(np.bincount(vertex_ids, minlength=len(vertices)))
    best = np.zeros(len(vertices), dtype=np.int64)
    best[seen] = best_pixels(pixels, vertices[seen], device)
    squared = np.square(positions - positions[best[vertex_ids]]).sum(axis=1)
    return np.exp(squared / (-2 * reach**2)).astype(np.float32)


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


def chart_pixels(
    box: Iterable[float],
    coarse_segm: Float[np.ndarray, "c side side"],
    fine_segm: Float[np.ndarray, "parts side side"],
    u: Float[np.ndarray, "parts side side"],
    v: Float[np.ndarray, "parts side side"],
    *,
    clamp: bool = True,
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "2 h w"]]:
    """Part and place on it, for each pixel of the box.

    Args:
        box: xyxy in image pixels.
        coarse_segm, fine_segm: scores, background first.
        u, v: coordinates on every part.
        clamp: bring u and v to 0..1, where charts end; a network may answer a little beyond.

    Returns:
        Labels [h, w], 0 for background; u and v [2, h, w] of the label's own chart, 0 on background.

    Raises:
        ShapeError: maps that do not belong together.
    """
    if not fine_segm.shape == u.shape == v.shape:
        raise ShapeError("one u and one v for every part", got=[list(fine_segm.shape), list(u.shape), list(v.shape)])
    _, _, width, height = integer_box(box)
    inside = resize_to(coarse_segm, width, height).argmax(axis=-1) > 0
    labels = resize_to(fine_segm, width, height).argmax(axis=-1) * inside
    chosen = [np.take_along_axis(resize_to(each, width, height), labels[..., None], axis=-1)[..., 0] for each in (u, v)]
    places = np.clip(np.stack(chosen), 0, 1) if clamp else np.stack(chosen)
    return labels, np.where(labels > 0, places, 0).astype(np.float32)


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
    embedding, coarse = np.asarray(detection.embedding), np.asarray(detection.coarse_segm)
    return dense_prediction(detection.region, embedding, coarse, index, cycle)
