"""Figures of experiments: bars of an ablation, shapes coloured by their error, curves over corruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from dp3d_data.files import write_figure
from dp3d_data.geometry.renderer import VALUES, colour_by_value, render
from dp3d_model.experiments.robustness import BARS, ratios

ERROR_SHOWN = 0.15  # template extents at the end of the colour scale
TILE = 150
_STYLES = ("-", "--", ":", "-.")


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
        right.annotate(
            f"{hidden:.0%}: {most:g}", (100.0 * noise, most), xytext=(6, 4), textcoords="offset points", fontsize=8
        )
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
