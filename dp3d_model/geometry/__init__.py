"""The template as tensors, cameras and rotations."""

from dp3d_model.geometry.camera import nearest_rotation, random_rotations, rotation_from_6d, rotation_from_log
from dp3d_model.geometry.surface import Surface, farthest_points, spread_seeds, surface_of

__all__ = [
    "Surface",
    "farthest_points",
    "nearest_rotation",
    "random_rotations",
    "rotation_from_6d",
    "rotation_from_log",
    "spread_seeds",
    "surface_of",
]
