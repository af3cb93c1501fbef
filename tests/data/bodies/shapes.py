"""Small bodies for tests: a sphere, a grid, and an arm of three joints."""

import numpy as np
import trimesh

from dp3d_data.geometry.skeleton import Skeleton
from dp3d_data.geometry.template import Template, make_template


def sphere(subdivisions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions)
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int32)


def arm(seed: int = 0) -> Template:
    """A stretched sphere along x on a chain of three joints with random rest frames and smooth weights; five hinges."""
    rng = np.random.default_rng(seed)
    vertices, faces = sphere()
    vertices = vertices * [3.0, 0.7, 0.5]
    rest = np.tile(np.eye(4), (3, 1, 1))
    rest[:, :3, :3] = rotations(rng, 3)
    rest[:, 0, 3] = [-2.0, 0.0, 2.0]
    nearness = np.exp(-((vertices[:, :1] - rest[:, 0, 3]) ** 2))
    skeleton = Skeleton(
        names=("root", "middle", "tip"),
        parents=np.array([-1, 0, 1], dtype=np.int32),
        rest=rest,
        weights=(nearness / nearness.sum(axis=1, keepdims=True)).astype(np.float32),
        hinge_joint=np.array([0, 1, 1, 2, 2], dtype=np.int32),
        hinge_axis=np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32),
        hinge_range=np.tile(np.array([-1.0, 1.0], dtype=np.float32), (5, 1)),
        hinge_names=("turn", "bend", "twist", "nod", "wag"),
    )
    return make_template("arm", vertices, faces, skeleton=skeleton)


def rotations(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform random rotation matrices."""
    matrices, upper = np.linalg.qr(rng.standard_normal((*shape, 3, 3)))
    matrices = matrices * np.sign(np.diagonal(upper, axis1=-2, axis2=-1))[..., None, :]
    return matrices * np.sign(np.linalg.det(matrices))[..., None, None]
