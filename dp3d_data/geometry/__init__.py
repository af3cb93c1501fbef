"""Bodies: templates, skeletons, spectral bases, geodesics, skinning and rigs."""

from dp3d_data.geometry.builtin import builtin_names, load_template
from dp3d_data.geometry.skeleton import Skeleton, hinges_to_rotations, pose_vertices
from dp3d_data.geometry.template import Template, make_template

__all__ = [
    "Skeleton",
    "Template",
    "builtin_names",
    "hinges_to_rotations",
    "load_template",
    "make_template",
    "pose_vertices",
]
