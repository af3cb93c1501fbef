"""An ablation: every row trained with the same steps on the same shards and measured on the same instances, in one
table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from dp3d_data.config import changed, file_digest, fingerprint, flat, plain
from dp3d_data.files import write_text
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import TrainConfig
from dp3d_model.evaluation.evaluator import METRICS, lift, score_model, score_rigid
from dp3d_model.evaluation.metrics import align_translation
from dp3d_model.evaluation.report import TITLES, table
from dp3d_model.experiments.figures import draw_examples, draw_rows
from dp3d_model.experiments.rows import Row
from dp3d_model.experiments.runs import Runs, kept, write_result
from dp3d_model.lifting.model_file import MODEL_FILE
from dp3d_model.networks.lifter import Lifter

MEASURE = 1  # raised when the same model would be measured differently


@dataclass(frozen=True)
class Ablation:
    """What is asked.

    Attributes:
        rows: the base first.
        test: instances with truth, and test_identity, a fingerprint of them.
        minutes: of training that the base may take; its steps follow from it. 0: its steps are as they are.
        examples: instances that are drawn.
    """

    rows: list[Row]
    test: KeypointBatch
    test_identity: str
    minutes: float = 0.0
    examples: int = 5


def run_ablation(ablation: Ablation, runs: Runs, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and measure row by row; ablation.json, .md, .png and the examples are written anew after each.

    A stopped run goes on with the row it was at.
    """
    result: dict[str, Any] = {
        "instances": len(ablation.test),
        "trained_on": sum(runs.source.sizes),
        "vertices": len(runs.surface.vertices),
        "unit": "extent of the template",
        "millimetres_per_unit": runs.surface.millimetres,
        "rows": {},
    }
    base = ablation.rows[0].config
    some = examples(ablation.test, ablation.examples, score_rigid(runs.surface, ablation.test).given["mpjpe"])
    shapes = {"truth": align_translation(some.true_vertices, some.visible)}
    for row in with_steps(ablation, runs):
        lifter = runs.trained(row.key, row.config)
        folder = runs.run_folder(row.key)
        recipe = fingerprint(file_digest(folder / MODEL_FILE), ablation.test_identity, MEASURE)
        means = kept(folder / "scores.json", recipe, lambda lifter=lifter: score_model(lifter, ablation.test).means())
        result["rows"][row.key] = {
            "title": row.title,
            "steps": row.config.optim.steps,
            "changes": changes(base, row.config),
        } | means
        shapes[row.title] = lifted_as_measured(lifter, some)
        write_ablation(result, shapes, runs)
        say(
            f"{row.title}: "
            + " · ".join(f"{TITLES[m]} {means['given'][m]:.4f}" for m in ("mpjpe", "pa_mpjpe", "stress"))
        )
    return result


def write_ablation(result: dict[str, Any], shapes: dict[str, torch.Tensor], runs: Runs) -> None:
    """The table as json, Markdown and figure, and the examples."""
    write_result(runs.folder / "ablation.json", result)
    write_text(runs.folder / "ablation.md", markdown(result))
    draw_rows(result, runs.folder / "ablation.png")
    draw_examples(shapes, runs.surface.faces.numpy(), runs.folder / "ablation-examples.png")


def with_steps(ablation: Ablation, runs: Runs) -> Iterator[Row]:
    """The rows with their steps: those of the base for its variants, and for other methods as many as take the same
    time."""
    base = ablation.rows[0].config
    if ablation.minutes:
        base = changed(
            base, {"optim.epochs": 0, "optim.steps": max(1, round(60.0 * ablation.minutes / runs.pace(base)))}
        )
    batches = sum(runs.source.sizes) // base.optim.batch
    steps = base.optim.steps or base.optim.epochs * max(batches, 1)
    for row in ablation.rows:
        if not row.config.model.network:
            yield row
        elif row.same_time:
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
    lines = [
        "# Ablation",
        "",
        (
            f"Trained on {result['trained_on']} instances, measured on {result['instances']} with truth,"
            f" {result['vertices']} vertices. Scale given; errors in units of the template's"
            f" extent{f' ({unit:.0f} mm)' if unit else ''}. Every variant has the steps of the full model; other"
            " methods have as many as take the same time."
        ),
        "",
    ]
    head = ["", "steps", *TITLES.values(), "MPJPE, scale estimated", "against full"]
    cells = []
    for row in rows:
        means = [f"{row['given'][m]:.4f}" for m in METRICS]
        relative = "" if row is rows[0] else f"{100.0 * (row['given']['mpjpe'] / full - 1.0):+.0f} %"
        cells.append([row["title"], str(row["steps"] or ""), *means, f"{row['estimated']['mpjpe']:.4f}", relative])
    lines += table(head, cells)
    differing = [[row["title"], ", ".join(f"`{k} = {v}`" for k, v in row["changes"].items())] for row in rows[1:]]
    return "\n".join([*lines, "", "## What differs from the full model", "", *table(["", "settings"], differing), ""])


def examples(test: KeypointBatch, count: int, order: torch.Tensor) -> KeypointBatch:
    """A few instances, from easy to hard: evenly spaced quantiles of an order of difficulty [N]."""
    ranked = order.argsort(stable=True)
    places = ((torch.arange(count) + 0.5) / count * len(ranked)).long().clamp(max=len(ranked) - 1)
    return test.take(ranked[places])


def lifted_as_measured(lifter: Lifter, some: KeypointBatch) -> torch.Tensor:
    """The shapes [N, K, 3] of a few instances in the camera frame, template units, scale given, aligned as for the
    errors."""
    seen, lifted = lift(lifter, some, len(some))[0]
    scale = lifted.scale(seen).cpu() / some.true_scale
    return align_translation(lifted.in_camera().cpu() * scale[:, None, None], some.visible)
