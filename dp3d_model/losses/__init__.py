"""Losses of the lifter, and their weighted sum."""

from dp3d_model.losses.arap import OneRings, arap_loss
from dp3d_model.losses.objective import Objective
from dp3d_model.losses.terms import (
    canonical_loss,
    entropy_loss,
    noisy_reprojection_loss,
    pseudo_huber,
    reprojection_loss,
    shape_loss,
)

__all__ = [
    "Objective",
    "OneRings",
    "arap_loss",
    "canonical_loss",
    "entropy_loss",
    "noisy_reprojection_loss",
    "pseudo_huber",
    "reprojection_loss",
    "shape_loss",
]
