"""The settings of dp3d-model predict and view: what is lifted, and by which model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_data.config import rare, setting, workspace
from dp3d_data.errors import UsageError
from pipelines.extract_settings import ExtractConfig

FORMATS = ("glb", "obj", "ply", "npz", "turn", "table")


@dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """What is lifted, and by which model."""

    shards: str = setting(
        "",
        "Run folder of extract, synth or project, or shards. None: the category's shards, else the sample photographs.",
        group="Input",
    )
    images: tuple[str, ...] = setting(
        (), "Folder, file or pattern of photographs, extracted first; may be repeated.", group="Input"
    )
    keypoints: str = setting("", "Keypoints of template vertices: .npz, .csv or .parquet (docs/use.md).", group="Input")
    model: str = setting("", "Model file or folder. None: the workspace's or embedded one.", group="Input")
    category: str = setting("dog", "Whose part of the workspace to use.", group="Input")
    device: str = setting("cpu", "Where to compute: cpu, cuda, cuda:1, ...", group="Input")
    split: str = rare("all", 'Split of shards; "all" takes every split.', group="Input")
    optimise: bool | None = setting(
        None,
        "Fit each instance to its own keypoints and mask after the network. None: photographs, and as the model says.",
        group="Input",
    )
    remeshed: bool = rare(False, "Accept shards on another meshing of the template.", group="Input")
    score: float = rare(
        ExtractConfig.score,
        "Detections in photographs below this score are not looked at.",
        group="Input",
        minimum=0,
        maximum=1,
    )
    min_vertices: int = rare(
        20,
        "Instances of photographs and keypoint files with fewer visible vertices are rejected.",
        group="Input",
        minimum=1,
    )
    out: str = setting("", "Folder of the results. None: in the category's part of the workspace.", group="Output")

    def require_one_input(self) -> None:
        """Refuse more than one kind of input.

        Raises:
            UsageError: they are named.
        """
        named = [f"--{name}" for name in ("shards", "images", "keypoints") if getattr(self, name)]
        if len(named) > 1:
            raise UsageError(
                "more than one kind of input",
                got=" and ".join(named),
                expected="one of --shards, --images and --keypoints",
            )

    def folder(self, name: str) -> Path:
        """The folder of the results, NAME in the workspace where none is given."""
        return Path(self.out) if self.out else workspace(self.category) / name


@dataclass(frozen=True, kw_only=True)
class PredictConfig(LiftConfig):
    """What is written of each instance."""

    format: tuple[str, ...] = setting(
        ("glb", "npz"),
        "Files to write; turn is an animated picture, table one predictions.parquet of all; may be repeated.",
        group="Output",
        choices=FORMATS,
    )
    rig: bool = setting(False, "GLB files with a skeleton: a joint for each part.", group="Output")
    count: int = setting(24, "Instances to write; 0 for all.", group="Output", minimum=0)
    pictures: bool = setting(True, "Draw each instance, and a page.", group="Output")
    min_confidence: float = setting(
        0.1, "Instances that the model is less sure of are rejected.", group="Output", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class ViewConfig(LiftConfig):
    """How many instances are shown."""

    count: int = setting(12, "Instances to show; 0 for all.", group="Output", minimum=0)
