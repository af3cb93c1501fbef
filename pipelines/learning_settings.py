"""The settings of commands that train: a recipe, and where they learn and write."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from dp3d_data.config import rare, setting, workspace
from dp3d_model.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class LearningConfig(TrainConfig):
    """What is learned from, where results lie, and the recipe of the model."""

    category: str = setting("dog", "Whose part of the workspace to use.", group="Input")
    shards: str = setting("", "Shards to learn from, also at an fsspec address. None: the category's.", group="Input")
    split: str = rare("train", "Split to learn from.", group="Input")
    threads: int = rare(1, "Threads that read ahead.", group="Input", minimum=0)
    out: str = setting("", "Folder of the results. None: in the category's part of the workspace.", group="Output")
    overwrite: bool = setting(False, "Discard what another recipe left in that folder.", group="Output")

    def recipe(self) -> TrainConfig:
        """The settings of the model alone."""
        return TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})

    def source(self) -> str:
        """The shards to learn from."""
        return self.shards or str(workspace(self.category) / "shards")

    def folder(self, name: str) -> Path:
        """The folder of the results, NAME in the workspace where none is given."""
        return Path(self.out) if self.out else workspace(self.category) / name


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(LearningConfig):
    """One training."""

    device: str = setting("cpu", "Where to compute: cpu, cuda, cuda:1, ...", group="Input")
    init: str = setting(
        "",
        "Start from this model's weights and settings of the network; embedded: the one that comes with the package.",
        group="Input",
    )
    mix: str = setting(
        "",
        "synth: learn from synthetic views with their truth too, made in the workspace where they are not there yet.",
        group="Input",
        choices=("", "synth"),
    )
    resume: bool = setting(False, "Go on from the saved state with other settings.", group="Output")
    tensorboard: bool = rare(False, "Write event files for TensorBoard too.", group="Output")


@dataclass(frozen=True, kw_only=True)
class StudyConfig(LearningConfig):
    """Several trainings, measured on the same instances."""

    test_shards: str = setting("", "Shards with truth to measure on. None: those of --shards.", group="Input")
    test_split: str = rare("val", "Split to measure on.", group="Input")
    count: int = rare(0, "First test instances; 0 takes all.", group="Input", minimum=0)

    def test_source(self) -> str:
        """The shards to measure on."""
        return self.test_shards or self.source()


@dataclass(frozen=True, kw_only=True)
class AblationConfig(StudyConfig):
    """The rows of an ablation."""

    row: tuple[str, ...] = setting((), "Row, or supplement, or ours; again for more. None: all.", group="Rows")
    add: tuple[str, ...] = setting((), "Another row: NAME:setting=value,...; again for more.", group="Rows")
    minutes: float = setting(
        0.0,
        "Training time of the full model; the steps that fit are those of every variant. 0: the recipe's steps.",
        group="Rows",
        minimum=0,
    )
    examples: int = rare(5, "Instances that are drawn.", group="Rows", minimum=1)


FIGURES = ("noise", "training-noise", "lower-half")


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig(StudyConfig):
    """What makes keypoints worse, and how much."""

    figure: tuple[str, ...] = setting(FIGURES[:1], "What to measure; again for more.", group="Figures", choices=FIGURES)
    models: tuple[str, ...] = setting(
        (), "Model, also as NAME=PATH; again for more. None: the category's.", group="Input"
    )
    levels: tuple[float, ...] = rare(
        (0.0, 1.0, 2.0, 5.0, 10.0), "Noise, % of the box.", group="Figures", minimum=0, maximum=100
    )
    hidden: tuple[float, ...] = rare(
        (0.0, 50.0, 80.0, 90.0, 95.0), "Hidden keypoints, %.", group="Figures", minimum=0, maximum=100
    )
    rates: tuple[float, ...] = rare(
        (0.0, 25.0, 50.0, 75.0, 100.0), "Lost lower halves, %.", group="Figures", minimum=0, maximum=100
    )
    up: str = rare("z", "Upward axis of the template.", group="Figures", choices=("x", "y", "z"))
