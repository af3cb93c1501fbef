"""The renderer: which triangle each pixel shows, by rays; pictures of a mesh, and the colours of its vertices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb
from PIL import Image

from dp3d_data.geometry.template import Template
from dp3d_data.geometry.visibility import RayScene, face_normals, vertex_normals

VALUES = "Spectral_r"  # matplotlib's map of colours for values on a body: light enough at 0 to show its shading


def colour_by_vertex(template: Template) -> UInt8[np.ndarray, "K 3"]:
    """RGB 0..255 of each vertex: hue along the body, lightness with height, a shift of hue between the sides (ours).

    Each coordinate is replaced by its place between the extremes, 0..1, so that any template uses the whole range.
    """
    points = template.vertices
    low, high = points.min(axis=0), points.max(axis=0)
    along, side, height = ((points - low) / np.maximum(high - low, 1e-9)).astype(np.float64).T
    hue = 0.78 * along + 0.14 * (side - 0.5)
    saturation = 0.95 - 0.35 * np.abs(side - 0.5)
    return _bytes(hsv_to_rgb(np.stack([hue % 1.0, saturation, 0.55 + 0.45 * height], axis=1)))


def colour_by_part(weights: Float[np.ndarray, "K M"]) -> UInt8[np.ndarray, "K 3"]:
    """The colour of each vertex, mixed by its assignment to M parts: hues by the golden ratio, two brightnesses."""
    part = np.arange(weights.shape[1])
    palette = np.stack([(0.03 + 0.618034 * part) % 1.0, np.full(len(part), 0.8), np.where(part % 2, 0.9, 0.75)], axis=1)
    return _bytes(weights @ hsv_to_rgb(palette))


def colour_by_value(values: Float[np.ndarray, "K"]) -> UInt8[np.ndarray, "K 3"]:
    """Blue at 0, yellow between, red at 1; values outside are clipped, NaN counts as 0."""
    return colormaps[VALUES](np.nan_to_num(values), bytes=True)[:, :3]


def _bytes(colours: Float[np.ndarray, "K 3"]) -> UInt8[np.ndarray, "K 3"]:
    return (255 * colours).round().clip(0, 255).astype(np.uint8)


BACKGROUND = 246
AMBIENT, SOFT = 0.5, 0.75  # light from all around, on plain colours and on photographs, which have light of their own
LIGHT = np.array([-0.35, -0.6, -0.72])
TOWARD = np.array([0.0, 0.0, -1.0])
TILT = 15.0  # degrees that a viewer of `view_from` stands above the body
FINER = 2  # rays along each side of a pixel of `view_from`

# RGB of each vertex, or what gives the colours at so many pixels from their triangles and barycentric weights.
Colours = UInt8[np.ndarray, "K 3"] | Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Hits:
    """The pixels of an image that show a mesh: the mask, and of its N pixels, row after row, what each shows.

    triangles [N], corners [N, 3] their vertices, weights [N, 3] of the corners.
    """

    mask: Bool[np.ndarray, "H W"]
    triangles: Int[np.ndarray, "N"]
    corners: Int[np.ndarray, "N 3"]
    weights: Float[np.ndarray, "N 3"]

    def vertex_map(self) -> Int[np.ndarray, "H W"]:
        """Template vertex of each pixel, the corner with the largest weight (ours); -1 outside."""
        ids = np.full(self.mask.shape, -1, dtype=np.int32)
        ids[self.mask] = self.corners[np.arange(len(self.corners)), np.argmax(self.weights, axis=1)]
        return ids

    def interpolate(self, values: Float[np.ndarray, "K C"]) -> Float[np.ndarray, "N C"]:
        """Values at vertices to values at the pixels."""
        return sum(self.weights[:, [corner]] * values[self.corners[:, corner]] for corner in range(3))


def cast_pixels(scene: RayScene, size: tuple[int, int], jitter: Float[np.ndarray, "H W 2"] | None = None) -> Hits:
    """One ray through the centre of each pixel of the projected box.

    Args:
        scene: a mesh in image x, y in pixels and a depth.
        size: height and width of the image.
        jitter: pixels by which each ray is moved, for the ragged silhouette of fur.
    """
    points, (height, width), mask = scene.vertices, size, np.zeros(size, dtype=bool)
    low = np.maximum(np.floor(points[:, :2].min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(points[:, :2].max(axis=0)).astype(int) + 2, [width, height])
    rows, columns = np.mgrid[low[1] : max(high[1], low[1]), low[0] : max(high[0], low[0])]
    rows, columns = rows.ravel(), columns.ravel()
    origins = np.empty((len(rows), 3), dtype=np.float32)
    origins[:, 0], origins[:, 1], origins[:, 2] = columns + 0.5, rows + 0.5, points[:, 2].min() - 10
    if jitter is not None:
        origins[:, :2] += jitter[rows, columns]
    if not len(rows):
        return Hits(mask, rows, scene.faces[rows], np.zeros((0, 3)))
    triangles, weights = scene.first_hits(origins, -TOWARD)
    hit = triangles >= 0
    mask[rows[hit], columns[hit]] = True
    return Hits(mask, triangles[hit], scene.faces[triangles[hit]], weights[hit])


def silhouette(
    points: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], width: int, height: int
) -> Bool[np.ndarray, "H W"]:
    """The pixels that show the mesh; points as for `render`."""
    return cast_pixels(RayScene(points, faces), (height, width)).mask


def render(
    points: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], colours: Colours, width: int, height: int
) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """A picture lit from the upper left, faces from both sides, and the mask of the pixels that show the mesh.

    Args:
        points: x and y in pixels of the picture (x right, y down; pixel (0, 0) has its centre at (0.5, 0.5)), z away
            from the viewer in the same unit.

    Raises:
        DependencyMissing: embreex is not installed.
    """
    hits = cast_pixels(RayScene(points, faces), (height, width))
    normals = hits.interpolate(vertex_normals(points, faces))
    away = face_normals(points, hits.corners)[:, 2:] > 0
    normals = np.where(away, -normals, normals) / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    if callable(colours):
        painted, ambient = colours(hits.triangles, hits.weights), SOFT
    else:
        painted, ambient = hits.interpolate(colours.astype(np.float64)), AMBIENT
    light = ambient + (1 - ambient) * (normals @ LIGHT).clip(0)
    picture = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    picture[hits.mask] = (painted * light[:, None]).clip(0, 255).astype(np.uint8)
    return picture, hits.mask


def view_rotation(azimuth: float, elevation: float, roll: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """camera_from_template of a viewer at azimuth (0 before the nose, to the left), elevation, roll; radians.

    Template axes: x forward, y left, z up. Camera axes: x right, y down, z away from the viewer.
    """
    forward = -np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return turn @ rotation


def view_from(
    azimuth: float, vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], colours: Colours, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """A body given in the template frame from an azimuth (degrees) and above, as large from all sides."""
    centred = vertices - (vertices.max(0) + vertices.min(0)) / 2
    side = FINER * size
    scale = 0.92 * side / (2 * max(float(np.linalg.norm(centred, axis=1).max()), 1e-9))
    view = view_rotation(np.deg2rad(azimuth), np.deg2rad(TILT))
    points = centred @ view.T * scale + np.array([side / 2, side / 2, 0.0])
    fine, _ = render(points, faces, colours, side, side)
    return np.asarray(Image.fromarray(fine).reduce(FINER))


def turntable(
    vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], colours: Colours, views: int = 6, size: int = 256
) -> UInt8[np.ndarray, "size width 3"]:
    """A strip of views all around a body given in the template frame, the first from its front and left."""
    azimuths = [30.0 + 360.0 * i / views for i in range(views)]
    return np.concatenate([view_from(azimuth, vertices, faces, colours, size) for azimuth in azimuths], axis=1)
