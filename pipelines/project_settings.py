"""The settings of dp3d-data project."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dp3d_data.config import rare, setting


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """Which fits of which body, the vertices to keep, the noise, and how to run."""

    category: str = setting("dog", "Kind of animal, or person.", group="Input")
    dataset: str = setting("neutral", "Dataset or layout of the fits; docs/fits.md lists them.", group="Input")
    root: str = setting("", "Folder of the dataset.", group="Input")
    body: tuple[str, ...] = setting(
        (),
        "Body model: an imported name or a file. Again as BODY=NAME for the fits of another body, such as"
        " smpl-male=FILE.",
        group="Input",
    )
    split: str = setting(
        "", "Only fits of this side of the dataset's own split, such as train. None: all.", group="Input"
    )
    masks: bool = rare(
        True, "Hide vertices that fall outside the instance's mask, where there is one.", group="Vertices"
    )
    vertices: int = setting(
        0, "Keep so many vertices, spread evenly over the template. 0: all.", group="Vertices", minimum=0
    )
    vertex_list: str = setting("", "Keep the vertices whose ids this text file lists.", group="Vertices")
    noise: float = setting(
        0.0, "Gaussian noise on keypoints, as a share of the box's longer side.", group="Noise", minimum=0
    )
    hide: float = rare(
        0.0, "Share of each instance's visible vertices to hide at random.", group="Noise", minimum=0, maximum=1
    )
    hide_lower: float = rare(
        0.0,
        "Share of instances whose lower half, in canonical orientation, is hidden.",
        group="Noise",
        minimum=0,
        maximum=1,
    )
    up: str = rare(
        "",
        "Axis of the body model that points up. None: y for SMPL, z for SMAL.",
        group="Noise",
        choices=("", "x", "y", "z"),
    )
    seed: int = setting(0, "Seed of the noise.", group="Noise", minimum=0)
    out: str = setting(
        "", "Folder of the results. None: project in the category's part of the workspace.", group="Output"
    )
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(
        0,
        "Fits per part; a killed run loses no finished part. 0: a sixteenth of them, 10 to 250.",
        group="Output",
        minimum=0,
    )
    workers: int = setting(0, "Processes. 0: one per core.", group="Machine", minimum=0)

    def portable(self) -> ProjectConfig:
        """The settings without those of this machine and its folders, as they are kept beside the results."""
        return replace(self, root="", body=(), vertex_list="", out="", overwrite=False, workers=0)
