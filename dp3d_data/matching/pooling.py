"""Pixels to vertices: mean position, count, spread and forward-backward weight of the pixels matched to each vertex."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching.nearest import best_pixels
from dp3d_data.records import VertexView


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
    means = np.stack([_sums(vertex_ids, positions[:, axis], num_vertices) / divisor for axis in (0, 1)], axis=1)
    squared = np.square(positions - means[vertex_ids]).sum(axis=1)
    spread = np.sqrt(_sums(vertex_ids, squared, num_vertices) / divisor)
    ids = np.flatnonzero(counts)
    weights = None if cycle is None else (_sums(vertex_ids, cycle, num_vertices) / divisor)[ids]
    return VertexView(ids.astype(np.int32), means[ids], counts[ids].astype(np.int32), spread[ids], cycle=weights)


def _sums(ids: np.ndarray, values: np.ndarray, num_vertices: int) -> np.ndarray:
    return np.bincount(ids, weights=values, minlength=num_vertices)


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
