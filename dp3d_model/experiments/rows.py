"""The rows of an ablation: a base recipe, the same with one thing changed, and the models to compare with."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dp3d_data.config import from_mapping
from dp3d_data.errors import UsageError
from dp3d_model.config import PRESETS, TrainConfig, preset

# What the recipe of another method keeps of the base: what is not part of a recipe.
_KEPT = ("basis", "seed", "window", "save_every", "log_every")


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        key: its folder.
        title: what a reader sees.
        config: its settings.
        same_time: it is another method, whose steps cost other times: it gets the time of the base rather than its steps.
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
        absent = all(getattr(base, name) == value for name, value in self.off.items())
        word, changes = ("with", self.on) if absent else ("without", self.off)
        return Row(self.key, f"{word} {self.title}", replace(base, **changes))


# The supplement's rows (Figures 4-6), and below those of what is ours.
LOSSES = (
    Switch("canonicalisation", "canonicalisation", {"canonical_weight": 0.0}, {"canonical_weight": 0.1}),
    Switch("arap", "ARAP", {"arap_weight": 0.0}, {"arap_weight": 1.0}),
    Switch("entropy", "entropy", {"entropy_weight": 0.0}, {"entropy_weight": 0.001}),
)
OURS = (
    Switch("dreams", "dreams", {"dream_weight": 0.0}, {"dream_weight": 1.0}),
    Switch("facing", "facing", {"facing_weight": 0.0}, {"facing_weight": 1.0}),
    Switch("outline", "outline", {"outline_weight": 0.0}, {"outline_weight": 0.5}),
    Switch("noise", "predicted noise", {"noise": "off"}, {"noise": "clipped"}),
    Switch("residual", "residual input", {"network_input": "keypoints"}, {"network_input": "residual"}),
    Switch("camera", "closed-form camera", {"camera": "learned"}, {"camera": "closed-form"}),
    Switch("camera-steps", "camera steps", {"camera_steps": 0}, {"camera_steps": 3}),
    Switch("passes", "a second pass", {"passes": 1}, {"passes": 2}),
    Switch("tree", "a tree of parts", {"pivot": "part"}, {"pivot": "joint"}),
    Switch("blendshapes", "blendshapes", {"blendshapes": 0}, {"blendshapes": 5}),
    Switch("shape", "a price on blendshapes", {"shape_weight": 0.0}, {"shape_weight": 0.001}),
    Switch("layer-norm", "layer normalisation", {"norm": "batch"}, {"norm": "layer"}),
    Switch("hiding", "hidden keypoints in training", {"hide": 0.0}, {"hide": 0.8}),
    Switch("shaking", "shaken keypoints in training", {"shake": 0.0}, {"shake": 0.02}),
    Switch("mirroring", "mirrored instances in training", {"mirror": False}, {"mirror": True}),
    Switch("turning", "turned instances in training", {"turn": 0.0}, {"turn": 180.0}),
    Switch("refinement", "refinement", {"refine_steps": 0}, {"refine_steps": 60}),
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
    rows.append(Row("linear", "linear model, no parts", replace(base, **PRESETS["linear"])))
    rows += [Row(name, title, other_method(name, base), preset(name).network) for name, title in OTHERS.items()]
    rows += [switch.of(base) for switch in OURS]
    return {row.key: row for row in rows}


SETS = {
    "supplement": ("full", *(switch.key for switch in LOSSES), "linear", *OTHERS),
    "ours": ("full", *(switch.key for switch in OURS)),
}


def other_method(name: str, base: TrainConfig) -> TrainConfig:
    """The recipe of a preset, with what is not part of a recipe taken from the base."""
    return preset(name, **{key: getattr(base, key) for key in _KEPT})


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
    changes: dict[str, Any] = {}
    for pair in pairs.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (name.strip() and colon and equals and key):
            raise UsageError("not a row", got=text, expected="NAME:setting=value,setting=value", hint='--add "wide:width=2048,blocks=4"')
        changes[key.replace("-", "_")] = _typed(base, key.replace("-", "_"), value)
    checked = from_mapping(TrainConfig, {field.name: getattr(base, field.name) for field in fields(TrainConfig)} | changes)
    key = "-".join(name.strip().lower().split())
    return Row(key, name.strip(), checked)


def _typed(base: TrainConfig, name: str, value: str) -> Any:
    """A word as the type that the setting has; what does not fit stays a word, which the settings refuse."""
    kind = type(getattr(base, name, ""))
    if kind is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    try:
        return kind(value) if kind in (int, float) else value
    except ValueError:
        return value
