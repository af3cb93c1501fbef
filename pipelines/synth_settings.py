"""The settings of dp3d-data synth."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from dp3d_data.config import rare, setting
from dp3d_data.synthesis.config import WorldConfig


@dataclass(frozen=True, kw_only=True)
class SynthConfig(WorldConfig):
    """Which animal, how many images of it, what to keep, and how to run."""

    category: str = setting("dog", "Kind of animal.", group="Input")
    template: str = setting("", "Rigged template: a built-in name or a file. None: the category's own.", group="Input")
    count: int = setting(200, "Number of instances.", group="Input", minimum=1)
    images: bool = setting(
        True, "Render images; without them only keypoints and their truth are made, faster.", group="Output"
    )
    annotate: bool = setting(
        False,
        "Keep the keypoints that a network finds in the images, with their truth, in place of exact ones.",
        group="Output",
    )
    weights: str = rare("", "Checkpoint of that network. None: the category's embedded one.", group="Input")
    vertex_maps: bool = setting(
        False, "Keep the template vertex of every pixel, as .npz beside the images.", group="Output"
    )
    out: str = setting(
        "", "Folder of the results. None: synth in the category's part of the workspace.", group="Output"
    )
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(
        0,
        "Instances per part; a killed run loses no finished part. 0: a sixteenth of them, 10 to 250.",
        group="Output",
        minimum=0,
    )
    workers: int = setting(0, "Processes. 0: one per core.", group="Machine", minimum=0)

    def world(self) -> WorldConfig:
        """The part of the settings that shapes the world."""
        return WorldConfig(**{field.name: getattr(self, field.name) for field in fields(WorldConfig)})

    def portable(self) -> SynthConfig:
        """The settings without those of this machine and this folder, as they are kept beside the results."""
        return replace(self, out="", overwrite=False, workers=0)
