"""Synthetic worlds: rendered animals with their truth."""

from dp3d_data.world.config import WorldConfig
from dp3d_data.world.sample import SyntheticInstance, World

__all__ = ["SyntheticInstance", "World", "WorldConfig"]
