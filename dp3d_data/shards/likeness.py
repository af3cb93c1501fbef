"""How alike two instances are: visible keypoints up to shift, scale and turn in the image; and near-duplicates.

The shape of an instance is a complex number for each of PATCHES overlapping patches of the template: the mean x + i y
of its visible keypoints, relative to their common mean, times the root of the patch's visible share; all scaled to
length 1. The distance of two shapes, the least over all turns of one in the image, is Procrustes' (Kendall's
preshapes): about 0.05 where keypoints differ by 5 % of the animal's radius, at most 1.41. What only one of the two
shows counts as different.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Complex, Float, Int

from dp3d_data.geometry.subsets import farthest_vertices
from dp3d_data.geometry.template import Template
from dp3d_data.shards.table import keypoint_lists

PATCHES = 32
AXES = 16
WIDTH = 0.7  # of a patch's bell, in distances between patches
_CHUNK, _SAMPLE = 1 << 12, 1000
_SLACK = 1e-5  # rounding


def patches_of(template: Template) -> Float[np.ndarray, "K P"]:
    """How much of each vertex lies in each patch: a bell around each of PATCHES vertices spread over the template."""
    centres = template.vertices[farthest_vertices(template.vertices, min(PATCHES, template.num_vertices))]
    apart = np.linalg.norm(centres[:, None] - centres, axis=2) + np.diag(np.full(len(centres), np.inf))
    width = WIDTH * np.median(apart.min(axis=1)) if len(centres) > 1 else 1.0
    squares = np.square(template.vertices[:, None] - centres).sum(axis=2) / max(width, 1e-9) ** 2
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / 2)
    return weights / weights.sum(axis=1, keepdims=True)


def shapes_of(table: pa.Table, patches: Float[np.ndarray, "K P"]) -> Complex[np.ndarray, "N P"]:
    """The shape of each row of an instance table, complex64; zeros where no two places are visible."""
    from scipy.sparse import csr_array

    offsets, ids, x, y = keypoint_lists(table)
    size = len(offsets) - 1, len(patches)
    seen, right, down = (
        csr_array((values.astype(np.float64), ids, offsets), shape=size) @ patches
        for values in (np.ones(len(ids)), x, y)
    )
    points = (right + 1j * down) / np.maximum(seen, 1e-12)
    share = seen / patches.sum(axis=0)
    points -= (share * points).sum(axis=1, keepdims=True) / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    points *= np.sqrt(share)
    length = np.sqrt((np.abs(points) ** 2).sum(axis=1, keepdims=True))
    whole = np.isfinite(length) & (length > 1e-3)
    return np.where(whole, points / np.where(whole, length, 1), 0).astype(np.complex64)


def distances(one: Complex[np.ndarray, "P"], shapes: Complex[np.ndarray, "N P"]) -> Float[np.ndarray, "N"]:
    """From one shape to others, 0..1.41; infinite from and to one that is zero."""
    result = np.empty(len(shapes))
    one = one.astype(np.complex128)
    own = np.vdot(one, one).real
    for start in range(0, len(shapes), _CHUNK):
        some = shapes[start : start + _CHUNK].astype(np.complex128)
        lengths = (some.real**2 + some.imag**2).sum(axis=1)
        squares = own + lengths - 2 * np.abs((some * one.conj()).sum(axis=1))
        result[start : start + _CHUNK] = np.where((lengths > 0) & (own > 0), np.sqrt(np.maximum(squares, 0)), np.inf)
    return result.round(6)


def near_duplicates(
    shapes: Complex[np.ndarray, "N P"], threshold: float
) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """For each shape, in order, the first kept one that it is nearer to than the threshold, -1 where it is kept itself;
    and their distance, NaN where kept.

    Exact: the outer product of a shape with itself does not change as the shape turns, two of these are no farther
    apart than the root of 2 times the shapes, and in their AXES principal axes a tree finds who need be compared.
    """
    from scipy.spatial import cKDTree

    first, distance = np.full(len(shapes), -1), np.full(len(shapes), np.nan)
    rows = np.flatnonzero((shapes != 0).any(axis=1))
    if threshold <= 0 or len(rows) < 2:
        return first, distance
    shapes = shapes[rows]
    places = _places(shapes)
    tree, reach, gone = cKDTree(places), 2**0.5 * threshold + _SLACK, np.zeros(len(rows), dtype=bool)
    for row in range(len(rows)):
        if gone[row]:
            continue
        near = np.array(tree.query_ball_point(places[row], reach), dtype=np.int64)
        near = near[(near > row) & ~gone[near]]
        if len(near):
            apart = distances(shapes[row], shapes[near])
            near, apart = near[apart < threshold], apart[apart < threshold]
            gone[near] = True
            first[rows[near]], distance[rows[near]] = rows[row], apart
    return first, distance


def _places(shapes: Complex[np.ndarray, "N P"]) -> Float[np.ndarray, "N axes"]:
    """Outer products in the principal axes of an even choice of them."""
    chosen = _outer(shapes[np.linspace(0, len(shapes) - 1, min(len(shapes), _SAMPLE)).astype(int)])
    axes = np.linalg.svd(chosen - chosen.mean(axis=0), full_matrices=False)[2][:AXES].T
    return np.concatenate([_outer(shapes[at : at + _CHUNK]) @ axes for at in range(0, len(shapes), _CHUNK)])


def _outer(shapes: Complex[np.ndarray, "N P"]) -> Float[np.ndarray, "N 2PP"]:
    product = (shapes[:, :, None] * shapes[:, None, :].conj()).reshape(len(shapes), -1)
    return np.concatenate([product.real, product.imag], axis=1).astype(np.float64)
