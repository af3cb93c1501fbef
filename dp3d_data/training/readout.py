"""Where a detection shows given vertices: the place of single keypoints."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.matching import integer_box, resize_to
from dp3d_data.records import DensePrediction

NEAR = 0.03  # of the body's extent


def placed_keypoints(
    detection,
    dense: DensePrediction,
    wanted: Int[np.ndarray, "n"],
    vertices: Float[np.ndarray, "K D"],
    geodesics: Float[np.ndarray, "K K"],
) -> Float[np.ndarray, "n 2"] | None:
    """Image position of each wanted vertex: the mean of the pixels that are matched to it or to vertices within NEAR of it.

    Where there are none, the pixel of the mask whose embedding, brought to unit length, is nearest to the vertex's (ours).

    Args:
        detection: its embedding [D, S, S] and box.
        dense: its matched pixels.
        vertices: unit embeddings.
        geodesics: surface distances, template units.

    Returns:
        Places in image pixels; None where the mask is empty.
    """
    rows, columns = np.nonzero(dense.mask)
    if not len(rows):
        return None
    x, y, width, height = integer_box(detection.box)
    centres = np.stack([columns + (x + 0.5), rows + (y + 0.5)], axis=1)
    ids = dense.vertex_ids[rows, columns]
    pixels = resize_to(np.asarray(detection.embedding), width, height)[rows, columns]
    pixels = pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)
    places = []
    for vertex in np.asarray(wanted):
        near = geodesics[vertex, ids] <= NEAR
        places.append(centres[near].mean(axis=0) if near.any() else centres[(pixels @ vertices[vertex]).argmax()])
    return np.array(places).reshape(-1, 2)
