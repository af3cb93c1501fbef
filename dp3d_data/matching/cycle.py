"""Forward-backward weight: how near a pixel lies to the pixel that its vertex, asked in turn, would choose."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching.nearest import best_pixels

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
    direction nearest to the vertex's. Only directions count, since the length of a pixel's embedding is free. 1 where the
    cycle comes back to the pixel; near 0 where the vertex belongs to another part of the object, as with a left leg that
    was taken for the right one.

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
