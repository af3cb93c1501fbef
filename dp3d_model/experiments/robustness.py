"""Robustness (supplement, section E): noisy and hidden keypoints, when measuring or when learning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from matplotlib import colormaps
from matplotlib.figure import Figure

from dp3d_data.config import fingerprint_of
from dp3d_data.files import write_figure
from dp3d_data.geometry.visibility import lower_half
from dp3d_data.loader import InstanceTable, Source
from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import TrainConfig
from dp3d_model.evaluation.evaluator import STRESS_POINTS, Scores, score_model
from dp3d_model.evaluation.report import SHOWN, table
from dp3d_model.experiments.study import MEASURE, OnStep, Runs, kept
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.networks.lifter import Lifter

UP = 2  # axis of templates
LEAST = 4  # keypoints that stay visible, as many as a camera needs


@dataclass(frozen=True)
class Corruption:
    """What is done to an instance.

    Attributes:
        noise: standard deviation of Gaussian noise on x and y, as a share of the longer side of the box of its visible
            keypoints.
        hidden: share of its visible keypoints that is hidden at random.
        removed: share of the instances whose lower half is hidden.
        seed: of all of it. More of one kind keeps what less of it does: the same noise grows, the same vertices hide
            first, the same instances lose their lower half first.
    """

    noise: float = 0.0
    hidden: float = 0.0
    removed: float = 0.0
    seed: int = 0


def corrupt(
    ids: Integer[np.ndarray, "v"],
    points: Float[np.ndarray, "v 2"],
    name: str,
    corruption: Corruption,
    lower: Bool[np.ndarray, "k"],
) -> tuple[Integer[np.ndarray, "w"], Float[np.ndarray, "w 2"]]:
    """The keypoints of one instance afterwards; at least four stay visible, or all where no more than four are.

    Args:
        ids: visible vertices.
        points: their keypoints, image pixels.
        name: of the instance; with the seed it decides every random number.
        lower: the lower half of the template, all K vertices.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng(np.random.SeedSequence([corruption.seed, number]))
    chance = random.random()
    order, offsets = random.random(len(lower)), random.standard_normal((len(lower), 2))
    if corruption.noise and len(ids):
        side = np.ptp(points, axis=0).max()
        points = (points + corruption.noise * side * offsets[ids]).astype(points.dtype)
    if chance < corruption.removed:
        upper = ~lower[ids]
        if upper.sum() >= LEAST:
            ids, points = ids[upper], points[upper]
    if corruption.hidden:
        stays = max(LEAST, round((1.0 - corruption.hidden) * len(ids)))
        kept = np.sort(np.argsort(order[ids], kind="stable")[:stays])
        ids, points = ids[kept], points[kept]
    return ids, points


def corrupted(instances: KeypointBatch, corruption: Corruption, lower: Bool[np.ndarray, "k"]) -> KeypointBatch:
    """The same instances with corrupted keypoints; the truth stays."""
    keypoints, visible = torch.zeros_like(instances.keypoints), torch.zeros_like(instances.visible)
    for i, name in enumerate(instances.ids):
        ids = instances.visible[i].nonzero()[:, 0].numpy()
        ids, points = corrupt(ids, instances.keypoints[i].numpy()[ids], name, corruption, lower)
        visible[i, torch.from_numpy(ids)] = True
        keypoints[i, torch.from_numpy(ids)] = torch.from_numpy(points)
    return replace(instances, keypoints=keypoints, visible=visible)


def corrupted_source(source: Source, corruption: Corruption, lower: Bool[np.ndarray, "k"]) -> Source:
    """A source to learn from whose instances are corrupted as they are read.

    Args:
        source: with the names of its instances; where it has none, their places stand for them.
        lower: the lower half of the template.
    """
    identity = fingerprint_of("corrupted", source.identity, corruption, lower.nonzero()[0].tolist())
    return replace(source, identity=identity, read=partial(_read_corrupted, source, corruption, lower))


def _read_corrupted(source: Source, corruption: Corruption, lower: Bool[np.ndarray, "k"], group: int) -> InstanceTable:
    """One group, corrupted."""
    table = source.read(group)
    names = table.index if table.ids is None else table.ids
    ids, points, kept = [], [], []
    for name, first, last in zip(names, table.offsets[:-1], table.offsets[1:], strict=True):
        own = table.vertex_ids[first:last]
        found, moved = corrupt(own, table.keypoints[first:last], str(name), corruption, lower)
        ids.append(found)
        points.append(moved)
        kept.append(np.isin(own, found))
    weights = None if table.weights is None else table.weights[np.concatenate(kept)]
    offsets = np.cumsum([0, *map(len, ids)])
    vertex_ids, keypoints = np.concatenate(ids), np.concatenate(points)
    return replace(table, offsets=offsets, vertex_ids=vertex_ids, keypoints=keypoints, weights=weights, ids=None)


# noise as a share of the box, share hidden -> most times the clean MPJPE
BARS = {(0.02, 0.5): 1.15, (0.02, 0.8): 1.4}


def levels(noise: Sequence[float], hidden: Sequence[float], seed: int = 0) -> list[Corruption]:
    """Every combination of shares of the box and shares of the visible keypoints."""
    return [Corruption(noise=one, hidden=share, seed=seed) for share in hidden for one in noise]


def _figure(count: int, cells: Sequence[Corruption], models: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    noise, hidden = (list(dict.fromkeys(values)) for values in zip(*((c.noise, c.hidden) for c in cells), strict=True))
    return {"instances": count, "noise": noise, "hidden": hidden, "models": models}


def measure_noise(
    models: Mapping[str, tuple[Lifter, str]],
    test: KeypointBatch,
    identity: str,
    cells: Sequence[Corruption],
    folder: Path,
    progress: OnStep,
) -> dict[str, Any]:
    """Figure 1, keypoints corrupted when measuring: errors of models (name -> model, digest of its file) in every cell.

    Each cell is kept as it is measured, in folder/cells.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for name, (lifter, digest) in models.items():
        lower = lower_half(lifter.surface.vertices.numpy(), UP)
        rows: list[dict[str, float]] = []
        for cell in cells:
            fingerprint = fingerprint_of(digest, identity, cell, MEASURE)
            path = folder / "cells" / f"{fingerprint}.json"
            measured = kept(path, fingerprint, partial(_measured, lifter, test, cell, lower))
            rows.append({"noise": cell.noise, "hidden": cell.hidden} | measured)
            progress(name, len(rows), len(cells))
        found[name] = rows
    return _figure(len(test), cells, found)


def _measured(lifter: Lifter, test: KeypointBatch, cell: Corruption, lower: np.ndarray) -> dict[str, float]:
    scores = score_model(lifter, corrupted(test, cell, lower), measured=test)
    means = scores.means()["given"]
    return {name: means[name] for name in SHOWN}


def train_noise(
    config: TrainConfig, runs: Runs, cells: Sequence[Corruption], say: Callable[[str], None]
) -> dict[str, Any]:
    """Figure 1, keypoints corrupted when learning: a model is trained in every cell and measured on clean keypoints."""
    lower = lower_half(runs.surface.vertices.numpy(), UP)
    rows = []
    for cell in cells:
        name = f"noise-{100 * cell.noise:g}-hidden-{100 * cell.hidden:g}"
        means = _trained_and_measured(config, runs, name, cell, lower)
        rows.append({"noise": cell.noise, "hidden": cell.hidden} | {metric: means[metric] for metric in SHOWN})
        say(f"learnt with noise {cell.noise:.1%}, {cell.hidden:.0%} hidden: MPJPE {means['mpjpe']:.4f}")
    return _figure(len(runs.test), cells, {"trained on it": rows})


def lose_lower_halves(
    config: TrainConfig, runs: Runs, rates: Sequence[float], up: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Figure 2: the lower half hidden in a growing share of the training instances; a training at every rate."""
    lower = lower_half(runs.surface.vertices.numpy(), "xyz".index(up))
    rows = []
    for rate in rates:
        cell = Corruption(removed=rate, seed=config.run.seed)
        means = _trained_and_measured(config, runs, f"lower-half-{100 * rate:g}", cell, lower)
        rows.append({"rate": rate} | means)
        halves = f"upper half {means['upper']:.4f}, lower half {means['lower']:.4f}"
        say(f"lower half lost in {rate:.0%} of the instances: MPJPE {means['mpjpe']:.4f} · {halves}")
    return {"instances": len(runs.test), "up": up, "rows": rows}


def _trained_and_measured(
    config: TrainConfig, runs: Runs, name: str, cell: Corruption, lower: np.ndarray
) -> dict[str, float]:
    def measure(lifter: Lifter) -> dict[str, float]:
        return _halves(score_model(lifter, runs.test), lifter.surface, lower)

    return runs.measured(name, config, measure, corrupted_source(runs.source, cell, lower))[1]


def _halves(scores: Scores, surface: Surface, lower: np.ndarray) -> dict[str, float]:
    """The means, and the mean errors of well-spread vertices of the upper and of the lower half."""
    below = lower[farthest_points(surface.vertices, STRESS_POINTS).numpy()]
    errors = present(scores.vertex_errors).double().numpy().mean(0)
    halves = {"upper": round(float(errors[~below].mean()), 6), "lower": round(float(errors[below].mean()), 6)}
    return {name: scores.means()["given"][name] for name in SHOWN} | halves


def ratios(rows: list[dict[str, float]]) -> dict[tuple[float, float], float]:
    """How many times the clean error each cell has, by noise and hidden share; the first row is the clean one."""
    return {(row["noise"], row["hidden"]): row["mpjpe"] / rows[0]["mpjpe"] for row in rows}


def judged(rows: list[dict[str, float]]) -> list[str]:
    """What the rows say of the bars that the project sets itself."""
    found = ratios(rows)
    return [
        f"noise {noise:.0%} of the box, {hidden:.0%} hidden: {found[noise, hidden]:.2f} times the clean MPJPE (at most"
        f" {most:g})"
        for (noise, hidden), most in BARS.items()
        if (noise, hidden) in found
    ]


def noise_markdown(result: dict[str, Any], title: str) -> str:
    """The tables of Figure 1: MPJPE, and how many times the clean one."""
    what = f"{result['instances']} instances, scale given, template extents."
    lines = [f"# {title}", "", f"{what} Noise: share of the longer side of the box.", ""]
    head = ["hidden", *(f"noise {noise:.3g} %" for noise in (100 * n for n in result["noise"]))]
    for name, rows in result["models"].items():
        times, errors = ratios(rows), {(row["noise"], row["hidden"]): row for row in rows}
        for metric, word in (("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE")):
            cells = [[f"{h:.0%}", *(f"{errors[n, h][metric]:.4f}" for n in result["noise"])] for h in result["hidden"]]
            lines += [f"## {name}: {word}", "", *table(head, cells), ""]
        cells = [[f"{h:.0%}", *(f"{times[n, h]:.2f}" for n in result["noise"])] for h in result["hidden"]]
        lines += [f"## {name}: times the clean MPJPE", "", *table(head, cells), ""]
        lines += [*(f"- {line}" for line in judged(rows)), ""]
    return "\n".join(lines)


def halves_markdown(result: dict[str, Any]) -> str:
    """The table of Figure 2."""
    head = ["instances that lost it", "MPJPE", "upper half", "lower half", "PA-MPJPE", "stress"]
    names = ("mpjpe", "upper", "lower", "pa_mpjpe", "stress")
    cells = [[f"{row['rate']:.0%}", *(f"{row[name]:.4f}" for name in names)] for row in result["rows"]]
    what = f"{result['instances']} instances, scale given, template extents"
    what += f"; lower: below the middle along {result['up']}."
    return "\n".join(["# Lower halves hidden in training", "", what, "", *table(head, cells), ""])


_STYLES = ("-", "--", ":", "-.")


def draw_noise(result: dict[str, Any], path: Path, title: str) -> Path:
    """MPJPE and its ratio to the clean one over noise; a colour for each hidden share, a line style for each model."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for style, (model, rows) in zip(_STYLES * len(result["models"]), result["models"].items(), strict=False):
        times = ratios(rows)
        for i, hidden in enumerate(result["hidden"]):
            here = [row for row in rows if row["hidden"] == hidden]
            places = [100.0 * row["noise"] for row in here]
            shade = colormaps["viridis"](0.9 * i / max(len(result["hidden"]) - 1, 1))
            look = {"color": shade, "linestyle": style, "marker": ".", "linewidth": 1.4}
            label = f"{hidden:.0%} hidden" if style == "-" else None
            left.plot(places, [row["mpjpe"] for row in here], label=label, **look)
            right.plot(places, [times[row["noise"], hidden] for row in here], **look)
        left.plot([], [], color="black", linestyle=style, label=model)
    for (noise, hidden), most in BARS.items():
        right.plot(100.0 * noise, most, marker="v", color="black", markersize=6)
        beside: dict[str, Any] = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
        right.annotate(f"{hidden:.0%}: {most:g}", (100.0 * noise, most), **beside)
    left.set_ylabel("MPJPE, template extents, scale given")
    right.set_ylabel("times the clean MPJPE (triangles: the bars set)")
    right.axhline(1.0, color="grey", linewidth=0.6)
    left.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("noise on the keypoints, % of the box")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}, {result['instances']} instances")
    return write_figure(path, figure)


def draw_halves(result: dict[str, Any], path: Path) -> Path:
    """Errors over the rate of training instances that lost their lower half."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    rates = [100.0 * row["rate"] for row in result["rows"]]
    lines = (
        ("lower", "lower half", "--"),
        ("mpjpe", "MPJPE", "-"),
        ("upper", "upper half", ":"),
        ("pa_mpjpe", "PA-MPJPE", "-."),
    )
    for name, title, style in lines:
        axes.plot(rates, [row[name] for row in result["rows"]], style, marker=".", label=title)
    axes.set_xlabel("training instances without their lower half, %")
    axes.set_ylabel("error, template extents, scale given")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(f"Lower halves hidden in training, {result['instances']} instances")
    return write_figure(path, figure)
