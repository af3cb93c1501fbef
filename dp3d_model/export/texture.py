"""The photograph on the body: an atlas of all triangles, sampled where the surface is seen, else filled from the other
side (ours)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from dp3d_data.geometry.visibility import vertex_normals, visible_vertices

# Side of the square that two triangles share in the atlas, and the margin around each triangle, pixels.
CELL, MARGIN = 16, 1.5
# Least cosine between a seen vertex's normal and the direction to the viewer: at the outline the background shines in.
FACING = 0.2
NEIGHBOURS = 6


@dataclass(frozen=True)
class Texture:
    """Colours of a mesh of F triangles.

    Attributes:
        atlas: [S, S, 3] RGB.
        corners: [F, 3, 2] x, y of the triangles' corners in it, pixels.
        colours: [K, 3] RGB of the vertices.
        seen: share of the vertices that the photograph shows.
    """

    atlas: UInt8[np.ndarray, "s s 3"]
    corners: Float[np.ndarray, "f 3 2"]
    colours: UInt8[np.ndarray, "k 3"]
    seen: float

    def sample(self, face: Int[np.ndarray, "p"], weights: Float[np.ndarray, "p 3"]) -> UInt8[np.ndarray, "p 3"]:
        """The colours at barycentric places of triangles."""
        x, y = np.einsum("pc,pcd->dp", weights, self.corners[face])
        limit = len(self.atlas) - 1
        return self.atlas[np.clip(y.astype(int), 0, limit), np.clip(x.astype(int), 0, limit)]


def texture_of(
    picture: UInt8[np.ndarray, "h w 3"],
    projected: Float[np.ndarray, "k 3"],
    rest: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    symmetry: Int[np.ndarray, "k"] | None = None,
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> Texture:
    """The texture of a body as a photograph shows it.

    Args:
        picture: RGB.
        projected: x, y in image pixels, z away from the viewer in the same unit.
        rest: the body at rest; what neither side shows takes the colour of what is near in it.
        symmetry: the partner of each vertex on the other side; None where unknown.
        mask: the object's pixels; nothing is taken from outside of them.
    """
    shown = seen_vertices(projected, faces, picture.shape[:2], mask)
    source = np.arange(len(rest))
    if symmetry is not None:
        source = np.where(shown, source, symmetry)
    known = shown[source]
    colours = filled(pixels_at(picture, projected[source, :2]), known, rest)
    places, weights, side = atlas_layout(len(faces))
    owner, x, y = places
    corners = faces[owner]
    direct, other = shown[corners].all(1), shown[source[corners]].all(1)
    texels = np.einsum("pc,pcd->pd", weights, colours[corners].astype(np.float64))
    for chosen, ids in ((direct, corners), (other & ~direct, source[corners])):
        at = np.einsum("pc,pcd->pd", weights[chosen].clip(0.0, 1.0), projected[ids[chosen], :2])
        texels[chosen] = pixels_at(picture, at)
    atlas = np.zeros((side, side, 3), dtype=np.uint8)
    atlas[y, x] = texels.clip(0, 255).astype(np.uint8)
    return Texture(atlas, atlas_corners(len(faces)), colours.astype(np.uint8), float(shown.mean()))


def seen_vertices(
    projected: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    size: tuple[int, int],
    mask: Bool[np.ndarray, "h w"] | None,
) -> Bool[np.ndarray, "k"]:
    """The vertices whose colour a photograph of (height, width) shows: not hidden, not on the outline, in the image and
    in the mask."""
    x, y = (np.floor(projected[:, axis]).astype(int) for axis in (0, 1))
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    if mask is not None:
        inside &= mask[np.clip(y, 0, size[0] - 1), np.clip(x, 0, size[1] - 1)]
    facing = np.abs(vertex_normals(projected, faces)[:, 2]) > FACING
    return inside & facing & visible_vertices(projected, faces)


def pixels_at(picture: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "p 2"]) -> Float[np.ndarray, "p 3"]:
    """The colours at points, image pixels, between pixels linearly; at the border beyond it."""
    at = points[:, ::-1].T - 0.5
    return np.stack(
        [map_coordinates(picture[..., c].astype(np.float32), at, order=1, mode="nearest") for c in range(3)], axis=1
    )


def filled(
    colours: Float[np.ndarray, "k 3"], known: Bool[np.ndarray, "k"], rest: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, "k 3"]:
    """Colours whose unknown ones are means of the nearest known ones; grey where none is known."""
    if not known.any():
        return np.full_like(colours, 160.0)
    distance, near = cKDTree(rest[known]).query(rest[~known], k=min(NEIGHBOURS, int(known.sum())))
    distance, near = distance.reshape((~known).sum(), -1), near.reshape((~known).sum(), -1)
    share = 1.0 / (distance + 1e-3) ** 2
    found = colours.copy()
    found[~known] = np.einsum("pn,pnc->pc", share / share.sum(1, keepdims=True), colours[known][near])
    return found


def atlas_layout(count: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Float[np.ndarray, "p 3"], int]:
    """The texels of an atlas of triangles: triangle, x, y, barycentric weights (beyond 0..1 in the margins), and the
    side."""
    columns = int(np.ceil(np.sqrt((count + 1) // 2)))
    rows, cells = np.mgrid[0:CELL, 0:CELL].reshape(2, -1), np.arange((count + 1) // 2)
    lower = rows.sum(0) < CELL
    owner = 2 * cells[:, None] + np.where(lower, 0, 1)
    x = (cells % columns)[:, None] * CELL + rows[1]
    y = (cells // columns)[:, None] * CELL + rows[0]
    inner = CELL - 2 * MARGIN - 2
    along = np.stack([(rows[1] + 0.5 - MARGIN) / inner, (rows[0] + 0.5 - MARGIN) / inner], axis=1)
    back = np.stack([(CELL - MARGIN - rows[1] - 0.5) / inner, (CELL - MARGIN - rows[0] - 0.5) / inner], axis=1)
    two = np.where(lower[:, None], along, back)
    weights = np.column_stack([1.0 - two.sum(1), two])
    chosen = owner.ravel() < count
    spread = np.tile(weights, (len(cells), 1))[chosen]
    return (owner.ravel()[chosen], x.ravel()[chosen], y.ravel()[chosen]), spread, columns * CELL


def atlas_corners(count: int) -> Float[np.ndarray, "f 3 2"]:
    """x, y of the corners of each triangle of `atlas_layout`, pixels."""
    columns, face = int(np.ceil(np.sqrt((count + 1) // 2))), np.arange(count)
    cell, inner = face // 2, CELL - 2 * MARGIN - 2
    start = np.stack([cell % columns, cell // columns], axis=1)[:, None] * float(CELL)
    corner = np.array([[0.0, 0.0], [inner, 0.0], [0.0, inner]])
    return start + np.where((face % 2 == 0)[:, None, None], MARGIN + corner, CELL - MARGIN - corner)
