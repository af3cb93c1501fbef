"""Synthetic worlds: rendered animals with their truth. Light to import: what renders is loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp3d_data.synthesis.config import WorldConfig

if TYPE_CHECKING:
    from dp3d_data.synthesis.sample import PicturedInstance, SyntheticInstance, SyntheticScene, World

__all__ = ["PicturedInstance", "SyntheticInstance", "SyntheticScene", "World", "WorldConfig"]


def __getattr__(name: str):
    if name in __all__:
        from dp3d_data.synthesis import sample

        return getattr(sample, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
