"""An ablation: every row trained with the same steps on the same shards and measured on the same instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from dp3d_data.config import changed, flat, from_words, plain
from dp3d_data.errors import UsageError, near_match
from dp3d_data.files import write_figure
from dp3d_data.geometry.renderer import VALUES, colour_by_value, render
from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import TrainConfig, preset, preset_values
from dp3d_model.evaluation.evaluator import METRICS, lift, score_model, score_rigid
from dp3d_model.evaluation.report import TITLES, table
from dp3d_model.experiments.study import Runs, write_result
from dp3d_model.geometry.perspective import align_translation
from dp3d_model.networks.lifter import Lifter


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        key: its folder.
        title: what a reader sees.
        config: its settings.
    """

    key: str
    title: str
    config: TrainConfig


def switched(base: TrainConfig, key: str, title: str, off: dict[str, Any], on: dict[str, Any]) -> Row:
    """The base without something that it has, or with what it has not."""
    word, changes = ("with", on) if changed(base, off) == base else ("without", off)
    return Row(key, f"{word} {title}", changed(base, changes))


# The supplement's rows (Figures 4-6), and below those of what is ours: key, title, settings without it and with it.
LOSSES: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("canonicalisation", "canonicalisation", {"loss.canonical": 0.0}, {"loss.canonical": 0.1}),
    ("arap", "ARAP", {"loss.arap": 0.0}, {"loss.arap": 1.0}),
    ("entropy", "entropy", {"loss.entropy": 0.0}, {"loss.entropy": 0.001}),
)
OURS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("cycle", "lift-project-lift cycle", {"loss.cycle": 0.0}, {"loss.cycle": 1.0}),
    ("back-face", "back-face penalty", {"loss.back_face": 0.0}, {"loss.back_face": 1.0}),
    ("silhouette", "silhouette loss", {"loss.silhouette": 0.0}, {"loss.silhouette": 0.5}),
    ("noise", "predicted noise", {"model.noise": "off"}, {"model.noise": "clipped"}),
    ("residual", "residual input", {"model.network_input": "keypoints"}, {"model.network_input": "residual"}),
    ("camera", "closed-form camera", {"model.camera": "learned"}, {"model.camera": "closed-form"}),
    ("camera-steps", "camera steps", {"model.camera_steps": 0}, {"model.camera_steps": 3}),
    ("passes", "a second pass", {"model.passes": 1}, {"model.passes": 2}),
    ("tree", "a tree of parts", {"model.pivot": "part"}, {"model.pivot": "joint"}),
    ("blendshapes", "blendshapes", {"model.blendshapes": 0}, {"model.blendshapes": 5}),
    ("shape", "a price on blendshapes", {"loss.shape": 0.0}, {"loss.shape": 0.001}),
    ("layer-norm", "layer normalisation", {"model.norm": "batch"}, {"model.norm": "layer"}),
    ("keypoint-dropout", "keypoint dropout", {"data.keypoint_dropout": 0.0}, {"data.keypoint_dropout": 0.8}),
    ("keypoint-jitter", "keypoint jitter", {"data.keypoint_jitter": 0.0}, {"data.keypoint_jitter": 0.02}),
    ("mirroring", "mirrored instances in training", {"data.mirror": False}, {"data.mirror": True}),
    ("rotation", "rotated instances in training", {"data.rotation": 0.0}, {"data.rotation": 180.0}),
    ("refine", "test-time optimisation", {"refine.steps": 0}, {"refine.steps": 60}),
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
    rows += [switched(base, *switch) for switch in LOSSES]
    rows.append(Row("linear", "linear model, no parts", changed(base, preset_values("linear"))))
    rows += [Row(name, title, other_method(name, base)) for name, title in OTHERS.items()]
    rows += [switched(base, *switch) for switch in OURS]
    return {row.key: row for row in rows}


SETS = {
    "supplement": ("full", *(key for key, *_ in LOSSES), "linear", *OTHERS),
    "ours": ("full", *(key for key, *_ in OURS)),
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
            hint = near_match(key, [*rows, *SETS])
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


def run_ablation(
    rows: Sequence[Row],
    test: KeypointBatch,
    test_identity: str,
    runs: Runs,
    say: Callable[[str], None],
    minutes: float = 0.0,
    drawn: int = 5,
) -> dict[str, Any]:
    """Train and measure row by row; ablation.json, .md, .png and the examples are written anew after each.

    A stopped run goes on with the row it was at.

    Args:
        rows: the base first.
        test: instances with truth; test_identity, a fingerprint of them.
        minutes: of training that the base may take; its steps follow from it. 0: its steps are as they are.
        drawn: instances that are drawn.
    """
    result: dict[str, Any] = {
        "instances": len(test),
        "trained_on": sum(runs.source.sizes),
        "vertices": len(runs.surface.vertices),
        "unit": "extent of the template",
        "millimetres_per_unit": runs.surface.millimetres,
        "rows": {},
    }
    base = rows[0].config
    some = examples(test, drawn, score_rigid(runs.surface, test).given["mpjpe"])
    shapes = {"truth": align_translation(present(some.true_vertices), some.visible)}
    for row in with_steps(rows, runs, minutes):
        lifter, means = runs.measured(
            row.key, row.config, lambda lifter: score_model(lifter, test).means(), test_identity
        )
        told = {"title": row.title, "steps": row.config.optim.steps, "changes": changes(base, row.config)}
        result["rows"][row.key] = told | means
        shapes[row.title] = lifted_as_measured(lifter, some)
        write_result(runs.folder / "ablation", result, markdown(result))
        draw_rows(result, runs.folder / "ablation.png")
        draw_examples(shapes, runs.surface.faces.numpy(), runs.folder / "ablation-examples.png")
        figures = (f"{TITLES[m]} {means['given'][m]:.4f}" for m in ("mpjpe", "pa_mpjpe", "stress"))
        say(f"{row.title}: {' · '.join(figures)}")
    return result


def with_steps(rows: Sequence[Row], runs: Runs, minutes: float = 0.0) -> Iterator[Row]:
    """The rows with their steps: the base's for its variants; for other methods as many as take the same time."""
    base = rows[0].config
    if minutes:
        base = changed(base, {"optim.epochs": 0, "optim.steps": max(1, round(60.0 * minutes / runs.pace(base)))})
    batches = sum(runs.source.sizes) // base.optim.batch
    steps = base.optim.steps or base.optim.epochs * max(batches, 1)
    for row in rows:
        if not row.config.model.network:
            yield row
        elif row.key in OTHERS:
            own = round(steps * runs.pace(base) / runs.pace(row.config))
            yield replace(row, config=changed(row.config, {"optim.epochs": 0, "optim.steps": max(1, own)}))
        else:
            yield replace(row, config=changed(row.config, {"optim.epochs": 0, "optim.steps": steps}))


def changes(base: TrainConfig, config: TrainConfig) -> dict[str, Any]:
    """The settings in which a row differs from the base."""
    one, two = flat(plain(base)), flat(plain(config))
    return {
        name: value for name, value in two.items() if value != one[name] and name not in ("optim.steps", "optim.epochs")
    }


def markdown(result: dict[str, Any]) -> str:
    """The table for people."""
    unit, rows = result["millimetres_per_unit"], list(result["rows"].values())
    full = rows[0]["given"]["mpjpe"]
    introduction = (
        f"Trained on {result['trained_on']} instances, measured on {result['instances']} with truth,"
        f" {result['vertices']} vertices. Scale given; errors in units of the template's"
        f" extent{f' ({unit:.0f} mm)' if unit else ''}. Every variant has the steps of the full model; other"
        " methods have as many as take the same time."
    )
    head = ["", "steps", *TITLES.values(), "MPJPE, scale estimated", "against full"]
    cells = []
    for row in rows:
        means = [f"{row['given'][m]:.4f}" for m in METRICS]
        relative = "" if row is rows[0] else f"{100.0 * (row['given']['mpjpe'] / full - 1.0):+.0f} %"
        cells.append([row["title"], str(row["steps"] or ""), *means, f"{row['estimated']['mpjpe']:.4f}", relative])
    differing = [[row["title"], ", ".join(f"`{k} = {v}`" for k, v in row["changes"].items())] for row in rows[1:]]
    lines = ["# Ablation", "", introduction, "", *table(head, cells), "", "## What differs from the full model", ""]
    return "\n".join([*lines, *table(["", "settings"], differing), ""])


def examples(test: KeypointBatch, count: int, order: torch.Tensor) -> KeypointBatch:
    """A few instances, from easy to hard: evenly spaced quantiles of an order of difficulty [N]."""
    ranked = order.argsort(stable=True)
    places = ((torch.arange(count) + 0.5) / count * len(ranked)).long().clamp(max=len(ranked) - 1)
    return test.take(ranked[places])


def lifted_as_measured(lifter: Lifter, some: KeypointBatch) -> torch.Tensor:
    """The shapes [N, K, 3] of a few instances in the camera frame, template units, scale given, aligned."""
    inputs, lifted = lift(lifter, some)
    scale = lifted.scale(inputs).cpu() / present(some.true_scale)
    return align_translation(lifted.in_camera().cpu() * scale[:, None, None], some.visible)


ERROR_SHOWN = 0.15  # template extents at the end of the colour scale
TILE = 150


def draw_rows(result: dict[str, Any], path: Path) -> Path:
    """MPJPE and PA-MPJPE of every row, the full model's as a line; only bars beyond three times its MPJPE are cut."""
    rows = list(result["rows"].values())
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    end = 1.15 * min(max(row["given"]["mpjpe"] for row in rows), 3.0 * rows[0]["given"]["mpjpe"])
    for shift, metric, title, colour in (
        (-0.2, "mpjpe", "MPJPE", "tab:blue"),
        (0.2, "pa_mpjpe", "PA-MPJPE", "tab:orange"),
    ):
        values = [row["given"][metric] for row in rows]
        axes.barh(places + shift, values, height=0.38, color=colour, label=title)
        axes.axvline(values[0], color=colour, linewidth=0.8, linestyle=":")
        for place, value in zip(places, values, strict=True):
            axes.annotate(f" {value:.4f}", (min(value, 0.93 * end), place + shift), va="center", fontsize=7)
    axes.set_yticks(places, [row["title"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, end)
    axes.set_xlabel(f"error on {result['instances']} instances, template extents, scale given")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return write_figure(path, figure)


def draw_examples(shapes: Mapping[str, Float[Tensor, "n k 3"]], faces: Int[np.ndarray, "f 3"], path: Path) -> Path:
    """A row for each model; each instance from its camera and from its left, coloured by the distance to "truth"."""
    true = shapes["truth"].double().numpy()
    figure = Figure(figsize=(1.5 * (2 * len(true) + 1), 1.5 * len(shapes) + 0.8), layout="constrained")
    grid = figure.subplots(len(shapes), 2 * len(true), squeeze=False)
    for row, (title, tensor) in zip(grid, shapes.items(), strict=True):
        found = tensor.double().numpy()
        error = "" if title == "truth" else f"\n{np.linalg.norm(found - true, axis=2).mean():.3f}"
        row[0].set_ylabel(f"{title}{error}", rotation=0, ha="right", va="center", wrap=True)
        tiles = [tile for shape, truth in zip(found, true, strict=True) for tile in _views(shape, truth, faces)]
        for axes, tile in zip(row, tiles, strict=True):
            axes.imshow(tile)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    scale = ScalarMappable(Normalize(0, ERROR_SHOWN), VALUES)
    label = "distance to the truth, template extents; each instance from its camera and from its left"
    figure.colorbar(scale, ax=grid.ravel().tolist(), location="top", label=label, aspect=60, shrink=0.6, extend="max")
    return write_figure(path, figure)


def _views(
    shape: Float[np.ndarray, "k 3"], truth: Float[np.ndarray, "k 3"], faces: Int[np.ndarray, "f 3"]
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """A shape from its camera and from its left, at the size at which its truth fills the tile."""
    middle = (truth.max(0) + truth.min(0)) / 2
    size = 0.85 * TILE / np.ptp(truth, axis=0).max()
    colours = colour_by_value(np.linalg.norm(shape - truth, axis=1) / ERROR_SHOWN)
    aside = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    placed = (shape - middle) * size
    centre = np.array([TILE / 2, TILE / 2, 0.0])
    return [render(placed @ turn.T + centre, faces, colours, TILE, TILE)[0] for turn in (np.eye(3), aside)]
