"""Cameras of fits (x right, y down, z away from the viewer) and the vertices that they see, by ray casting; noise on
keypoints (supplement, section E)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import DependencyMissing, ShapeError

TOLERANCE = 2e-3  # of the surface's largest extent: how far a ray's start is lifted off the surface


class RayScene:
    """A triangle mesh, `vertices` and `faces`, that rays can be cast at; any frame whose z points away from the viewer.

    Raises:
        DependencyMissing: embreex is not installed.
    """

    def __init__(self, vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            hint = "pip install embreex"
            raise DependencyMissing("ray casting needs embreex", got=error, hint=hint) from error
        self.vertices, self.faces = vertices, faces
        self._scene = EmbreeScene(robust=True)
        self._mesh = TriangleMesh(
            self._scene,
            np.ascontiguousarray(vertices, dtype=np.float32),
            np.ascontiguousarray(faces, dtype=np.int32),
        )

    def first_hits(
        self, origins: Float[np.ndarray, "N 3"], direction: Float[np.ndarray, "3"]
    ) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N 3"]]:
        """The first triangle on each parallel ray (-1 for none) and the barycentric weights of its three corners."""
        hits = self._scene.run(*_rays(origins, direction), output=1)
        weights = np.stack([1 - hits["u"] - hits["v"], hits["u"], hits["v"]], axis=1)
        return hits["primID"], weights

    def blocked(self, origins: Float[np.ndarray, "N 3"], direction: Float[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "N"]:
        """Whether rays meet the surface at all; one direction for all, or one each."""
        return self._scene.run(*_rays(origins, direction), query="OCCLUDED") >= 0


def _rays(origins: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    origins = np.ascontiguousarray(origins, dtype=np.float32)
    unit = (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)
    return origins, np.ascontiguousarray(np.broadcast_to(unit, origins.shape))


def face_normals(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3"]:
    """Outward normals of the triangles, each as long as twice its area."""
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def vertex_normals(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "K 3"]:
    """Unit outward normals: the area-weighted mean of the faces around each vertex; zero where no face is."""
    flat, repeated = faces.ravel(), np.repeat(face_normals(np.asarray(vertices), faces), 3, axis=0)
    total = np.stack([np.bincount(flat, repeated[:, axis], minlength=len(vertices)) for axis in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)


def visible_vertices(
    vertices: Float[np.ndarray, "K 3"],
    faces: Int[np.ndarray, "F 3"],
    scene: RayScene | None = None,
    *,
    perspective: bool = False,
) -> Bool[np.ndarray, "K"]:
    """Which vertices a viewer sees (ours).

    A vertex is visible when its outward normal points to the viewer and no triangle lies before it. The ray starts
    TOLERANCE of the largest extent off the surface, along the normal and to the viewer, so that a vertex does not hide
    itself; a surface nearer than that before it does not hide it either.

    Args:
        vertices: camera frame, x right, y down, z away from the viewer, any unit.
        faces: counter-clockwise seen from outside.
        scene: the same mesh, where already built.
        perspective: the viewer is a point at the origin; otherwise rays are parallel to z.

    Raises:
        ShapeError: a face names a vertex that is not there, or a vertex does not lie before the point that looks.
        DependencyMissing: embreex is not installed.
    """
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        got, expected = int(faces.max()), f"0..{len(vertices) - 1}"
        raise ShapeError("a face names a vertex that is not there", got=got, expected=expected)
    toward = np.array([[0.0, 0.0, -1.0]])
    middle = np.zeros(3)
    if perspective:
        require_before_camera(vertices)
        toward = -vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        # Rays are cast around the body's middle: far from the origin float32 would eat the tolerance.
        middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2 if scene is None else middle
    normals = vertex_normals(vertices, faces)
    visible = (normals * toward).sum(axis=1) > 0
    toward = np.broadcast_to(toward, vertices.shape)[visible]
    lift = TOLERANCE * np.ptp(vertices, axis=0).max()
    starts = vertices[visible] + lift * (normals[visible] + toward)
    scene = scene or RayScene(vertices - middle, faces)
    if len(starts):
        visible[visible] = ~scene.blocked(starts - middle, toward)
    return visible


def inside_mask(keypoints: Float[np.ndarray, "K 2"], mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "K"]:
    """Whether the pixel under each keypoint belongs to a mask; nothing outside the image does.

    Args:
        keypoints: image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5).
    """
    pixel = np.floor(keypoints).astype(np.int64)
    height, width = mask.shape
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    inside[inside] = mask[pixel[inside, 1], pixel[inside, 0]]
    return inside


def vertex_areas(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "K"]:
    """A third of the area of the triangles around each vertex, in the square of the vertices' unit."""
    thirds = np.linalg.norm(face_normals(np.asarray(vertices, dtype=np.float64), faces), axis=1) / 6
    return np.bincount(faces.ravel(), weights=np.repeat(thirds, 3), minlength=len(vertices))


def visible_fraction(visible: Bool[np.ndarray, "K"], vertex_areas: Float[np.ndarray, "K"]) -> float:
    """Share 0..1 of the area around visible vertices (supplement section B, there of the rest template)."""
    return float(vertex_areas[visible].sum() / vertex_areas.sum())


def to_camera(
    points: Float[np.ndarray, "*n 3"], rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    """Points of the world in the camera frame: rotation @ point + translation, in the same unit."""
    return np.asarray(points, dtype=np.float64) @ np.asarray(rotation).T + translation


def project_perspective(
    points: Float[np.ndarray, "*n 3"], focal: tuple[float, float], centre: tuple[float, float]
) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points under a pinhole: focal * (x, y) / z + centre.

    Args:
        points: camera frame, any unit.
        focal: (fx, fy) pixels.
        centre: (cx, cy), the principal point, pixels.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    points = np.asarray(points, dtype=np.float64)
    require_before_camera(points)
    return points[..., :2] / points[..., 2:] * focal + np.asarray(centre)


def project_orthographic(
    points: Float[np.ndarray, "*n 3"], scale: float, centre: tuple[float, float]
) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points under parallel rays: scale * (x, y) + centre, scale in pixels per unit of the points."""
    return scale * np.asarray(points, dtype=np.float64)[..., :2] + np.asarray(centre)


def weak_scale(points: Float[np.ndarray, "K 3"], focal: tuple[float, float]) -> float:
    """The weak perspective scale nearest to a pinhole (ours): sqrt(fx fy) over the mean depth, pixels per unit.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    require_before_camera(points)
    return float(np.sqrt(focal[0] * focal[1]) / np.asarray(points, dtype=np.float64)[:, 2].mean())


def require_before_camera(points: Float[np.ndarray, "*n 3"]) -> None:
    """Refuse points that a pinhole at the origin cannot see.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    nearest = float(np.min(points[..., 2])) if points.size else 1.0
    if not nearest > 0:
        got = f"depth {nearest:.4g}"
        raise ShapeError("a point does not lie before the camera", got=got, expected="depths above 0")


def move_keypoints(
    keypoints: Float[np.ndarray, "K 2"], box: tuple[float, float, float, float], sigma: float, rng: np.random.Generator
) -> Float[np.ndarray, "K 2"]:
    """Independent Gaussian noise on x and y; sigma is a share of the box's longer side."""
    side = max(box[2] - box[0], box[3] - box[1])
    return keypoints + sigma * side * rng.standard_normal(np.shape(keypoints))


def hide_share(visible: Bool[np.ndarray, "K"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, "K"]:
    """Hide that share of the visible vertices, to the nearest whole number, drawn at random.

    The vertices are hidden in one random order whatever the share, so that a larger share hides those of a smaller one
    too.

    Raises:
        ShapeError: share is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise ShapeError("not a share", got=share, expected="0..1")
    seen = np.flatnonzero(visible)
    hidden = seen[np.argsort(rng.random(len(visible))[seen], kind="stable")[: int(round(share * len(seen)))]]
    result = np.array(visible)
    result[hidden] = False
    return result


def lower_half(rest: Float[np.ndarray, "K 3"], up: int) -> Bool[np.ndarray, "K"]:
    """Vertices below the middle of the rest template's height: the lower half in canonical orientation.

    Args:
        rest: the template's vertices.
        up: its axis that points up: 0, 1 or 2.
    """
    height = np.asarray(rest)[:, up]
    return height < (height.min() + height.max()) / 2
