"""The rows of an ablation: a base recipe, the same with one thing changed, and the models to compare with."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dp3d_data.config import changed, from_words
from dp3d_data.errors import UsageError
from dp3d_model.config import TrainConfig, preset, preset_values


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        key: its folder.
        title: what a reader sees.
        config: its settings.
        same_time: it is another method, whose steps cost other times: it gets the time of the base rather than its
            steps.
    """

    key: str
    title: str
    config: TrainConfig
    same_time: bool = False


@dataclass(frozen=True)
class Switch:
    """One thing to take out of a recipe that has it, and to put into one that does not."""

    key: str
    title: str
    off: dict[str, Any]
    on: dict[str, Any]

    def of(self, base: TrainConfig) -> Row:
        """The base with the switch turned over."""
        word, changes = ("with", self.on) if changed(base, self.off) == base else ("without", self.off)
        return Row(self.key, f"{word} {self.title}", changed(base, changes))


# The supplement's rows (Figures 4-6), and below those of what is ours.
LOSSES = (
    Switch("canonicalisation", "canonicalisation", {"loss.canonical": 0.0}, {"loss.canonical": 0.1}),
    Switch("arap", "ARAP", {"loss.arap": 0.0}, {"loss.arap": 1.0}),
    Switch("entropy", "entropy", {"loss.entropy": 0.0}, {"loss.entropy": 0.001}),
)
OURS = (
    Switch("cycle", "lift-project-lift cycle", {"loss.cycle": 0.0}, {"loss.cycle": 1.0}),
    Switch("back-face", "back-face penalty", {"loss.back_face": 0.0}, {"loss.back_face": 1.0}),
    Switch("silhouette", "silhouette loss", {"loss.silhouette": 0.0}, {"loss.silhouette": 0.5}),
    Switch("noise", "predicted noise", {"model.noise": "off"}, {"model.noise": "clipped"}),
    Switch("residual", "residual input", {"model.network_input": "keypoints"}, {"model.network_input": "residual"}),
    Switch("camera", "closed-form camera", {"model.camera": "learned"}, {"model.camera": "closed-form"}),
    Switch("camera-steps", "camera steps", {"model.camera_steps": 0}, {"model.camera_steps": 3}),
    Switch("passes", "a second pass", {"model.passes": 1}, {"model.passes": 2}),
    Switch("tree", "a tree of parts", {"model.pivot": "part"}, {"model.pivot": "joint"}),
    Switch("blendshapes", "blendshapes", {"model.blendshapes": 0}, {"model.blendshapes": 5}),
    Switch("shape", "a price on blendshapes", {"loss.shape": 0.0}, {"loss.shape": 0.001}),
    Switch("layer-norm", "layer normalisation", {"model.norm": "batch"}, {"model.norm": "layer"}),
    Switch("keypoint-dropout", "keypoint dropout", {"data.keypoint_dropout": 0.0}, {"data.keypoint_dropout": 0.8}),
    Switch("keypoint-jitter", "keypoint jitter", {"data.keypoint_jitter": 0.0}, {"data.keypoint_jitter": 0.02}),
    Switch("mirroring", "mirrored instances in training", {"data.mirror": False}, {"data.mirror": True}),
    Switch("rotation", "rotated instances in training", {"data.rotation": 0.0}, {"data.rotation": 180.0}),
    Switch("refine", "test-time optimisation", {"refine.steps": 0}, {"refine.steps": 60}),
)
# preset, title; networks of another method train for the base's time.
OTHERS = {
    "c3dpo": "C3DPO",
    "c3dpo-adamw": "C3DPO, our optimiser",
    "fit": "fit of each instance, no learning",
    "rigid": "rigid template",
}


def rows_of(base: TrainConfig) -> dict[str, Row]:
    """Every row, by key: "full" is the base itself."""
    rows = [Row("full", "full", base)]
    rows += [switch.of(base) for switch in LOSSES]
    rows.append(Row("linear", "linear model, no parts", changed(base, preset_values("linear"))))
    rows += [Row(name, title, other_method(name, base), preset(name).model.network) for name, title in OTHERS.items()]
    rows += [switch.of(base) for switch in OURS]
    return {row.key: row for row in rows}


SETS = {
    "supplement": ("full", *(switch.key for switch in LOSSES), "linear", *OTHERS),
    "ours": ("full", *(switch.key for switch in OURS)),
}


def other_method(name: str, base: TrainConfig) -> TrainConfig:
    """The recipe of a preset, with what is not part of a recipe taken from the base."""
    kept = {"model.basis": base.model.basis, "data.shuffle_buffer": base.data.shuffle_buffer}
    return replace(preset(name, kept), run=base.run)


def chosen_rows(base: TrainConfig, keys: Sequence[str], added: Sequence[str]) -> list[Row]:
    """The rows to run, the base always first; without keys all of them.

    Args:
        keys: of rows or of SETS.
        added: more rows, each "NAME:setting=value,setting=value" from the base.

    Raises:
        UsageError: no such row, or an addition that is none.
        ConfigError: an addition has an unknown setting or a value that it cannot have.
    """
    rows = rows_of(base)
    wanted = [row for key in keys for row in SETS.get(key, (key,))] or list(rows)
    for key in wanted:
        if key not in rows:
            near = difflib.get_close_matches(key, [*rows, *SETS], n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            raise UsageError(f"no row {key!r}", expected="some of " + ", ".join([*SETS, *rows]), hint=hint)
    found = {"full": rows["full"]} | {key: rows[key] for key in wanted}
    for text in added:
        row = added_row(base, text)
        if row.key in rows or row.key in found:
            raise UsageError(f"there is a row {row.key!r} already", got=text, hint="give it another name")
        found[row.key] = row
    return list(found.values())


def added_row(base: TrainConfig, text: str) -> Row:
    """A row given in words: "NAME:setting=value,setting=value"."""
    name, colon, pairs = text.partition(":")
    if not (name.strip() and colon and pairs.strip()):
        hint = '--add "wide:model.width=2048,model.blocks=4"'
        raise UsageError("not a row", got=text, expected="NAME:setting=value,setting=value", hint=hint)
    key = "-".join(name.strip().lower().split())
    return Row(key, name.strip(), changed(base, from_words(TrainConfig, pairs.split(","))))
