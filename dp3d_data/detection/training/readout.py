"""Where a detection shows given vertices: the place of single keypoints."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.records import DensePrediction

NEAR = 0.02  # of the body's extent


def placed_keypoints(
    dense: DensePrediction, wanted: Int[np.ndarray, "n"], geodesics: Float[np.ndarray, "K K"]
) -> Float[np.ndarray, "n 2"]:
    """Image position of each wanted vertex: the mean of the mask's pixels, weighted by exp(-(d / NEAR)^2) (ours).

    d is the distance on the surface from the vertex to the one that a pixel is matched to. Weights are relative, so
    that a vertex that no pixel is matched to stands where the pixels do whose vertices are nearest to it.

    Args:
        dense: matched pixels, at least one.
        geodesics: surface distances, template units.

    Returns:
        Places in image pixels.
    """
    rows, columns = np.nonzero(dense.mask)
    centres = np.stack([columns, rows], axis=1) + (np.array(dense.origin) + 0.5)
    energies = (geodesics[wanted][:, dense.vertex_ids[rows, columns]] / NEAR) ** 2
    weights = np.exp(energies.min(axis=1, keepdims=True) - energies)
    return (weights / weights.sum(axis=1, keepdims=True)) @ centres
