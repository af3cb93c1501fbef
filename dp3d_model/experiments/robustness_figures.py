"""Curves of robustness: errors over noise for several shares of hidden keypoints, and over the rate of lost lower halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp3d_model.experiments.figures import plots, save
from dp3d_model.experiments.robustness import BARS, ratios

_STYLES = ("-", "--", ":", "-.")


def draw_noise(result: dict[str, Any], path: Path, title: str) -> Path:
    """Figure 1: MPJPE and its ratio to the clean one over noise; a colour for each hidden share, a line style for each model."""
    plt = plots()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shades = plt.get_cmap("viridis")
    for style, (model, rows) in zip(_STYLES * len(result["models"]), result["models"].items(), strict=False):
        times = ratios(rows)
        for i, hidden in enumerate(result["hidden"]):
            here = [row for row in rows if row["hidden"] == hidden]
            places = [100.0 * row["noise"] for row in here]
            look = {"color": shades(0.9 * i / max(len(result["hidden"]) - 1, 1)), "linestyle": style, "marker": ".", "linewidth": 1.4}
            label = f"{hidden:.0%} hidden" if style == "-" else None
            left.plot(places, [row["mpjpe"] for row in here], label=label, **look)
            right.plot(places, [times[row["noise"], hidden] for row in here], **look)
        left.plot([], [], color="black", linestyle=style, label=model)
    for (noise, hidden), most in BARS.items():
        right.plot(100.0 * noise, most, marker="v", color="black", markersize=6)
        right.annotate(f"{hidden:.0%}: {most:g}", (100.0 * noise, most), xytext=(6, 4), textcoords="offset points", fontsize=8)
    left.set_ylabel("MPJPE, template extents, scale given")
    right.set_ylabel("times the clean MPJPE (triangles: the bars set)")
    right.axhline(1.0, color="grey", linewidth=0.6)
    left.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("noise on the keypoints, % of the box")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}, {result['instances']} instances")
    return save(figure, path)


def draw_halves(result: dict[str, Any], path: Path) -> Path:
    """Figure 2: errors over the rate of training instances that lost their lower half."""
    plt = plots()
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    rates = [100.0 * row["rate"] for row in result["rows"]]
    lines = (("lower", "lower half", "--"), ("mpjpe", "MPJPE", "-"), ("upper", "upper half", ":"), ("pa_mpjpe", "PA-MPJPE", "-."))
    for name, title, style in lines:
        axes.plot(rates, [row[name] for row in result["rows"]], style, marker=".", label=title)
    axes.set_xlabel("training instances without their lower half, %")
    axes.set_ylabel("error, template extents, scale given")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(f"Lower halves hidden in training, {result['instances']} instances")
    return save(figure, path)
