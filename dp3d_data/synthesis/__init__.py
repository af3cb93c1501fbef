"""Synthetic worlds: rendered animals with their truth. Light to import: what renders is loaded when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp3d_data.config import rare, setting

if TYPE_CHECKING:
    from dp3d_data.synthesis.sample import PicturedInstance, SyntheticInstance, World

__all__ = ["PicturedInstance", "SyntheticInstance", "World", "WorldConfig"]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What shapes the images of a world; with a template and an index it determines an instance completely."""

    seed: int = setting(0, "Seed of everything random.", group="World", minimum=0)
    size: int = setting(256, "Side of the square images, pixels.", group="World", minimum=32, maximum=4096)
    identity_images: int = rare(
        4, "Images of each animal (one body, one coat); they share a group.", group="World", minimum=1
    )
    backgrounds: str = rare(
        "", "Folder of photographs without the animal, used behind half of the animals.", group="World"
    )
    environments: str = setting(
        "",
        "Folder of panoramas (EXR, or JPEG and kin), behind half of the animals; their light falls on them.",
        group="World",
    )
    truncated: float = rare(
        0.3, "Share of the images whose border cuts the animal.", group="World", minimum=0, maximum=1
    )
    occluded: float = rare(
        0.35, "Share of the images where something stands before the animal.", group="World", minimum=0, maximum=1
    )
    companions: float = rare(0.0, "Share of the images with more than one animal.", group="World", minimum=0, maximum=1)
    perspective: float = setting(
        0.0,
        "Strongest perspective: body length over the distance to the nearest point; 2 is half a body length, and "
        "distances go up to 10. 0 is orthographic.",
        group="World",
        minimum=0,
        maximum=2,
    )
    proportions: float = rare(
        1.0,
        "Strength of the changes of body proportions; 0 keeps the template's.",
        group="World",
        minimum=0,
        maximum=1,
    )
    poses: str = rare(
        "", "Kinds of poses, or recorded clips, to draw from, separated by commas. None: all.", group="World"
    )
    bending: float = rare(1.0, "Strength of the poses; 0 keeps the template's.", group="World", minimum=0, maximum=1)


def __getattr__(name: str):
    if name in __all__:
        from dp3d_data.synthesis import sample

        return getattr(sample, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
