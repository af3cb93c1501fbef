"""An evaluation as files: evaluation.json, evaluation.md and evaluation.png."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dp3d_data.files import write_figure, write_text
from dp3d_model.evaluation.quality import FIGURES

SHOWN = ("mpjpe", "mpjpe_flip", "pa_mpjpe", "stress")
TITLES = {
    "mpjpe": "MPJPE",
    "mpjpe_flip": "MPJPE, flip oracle",
    "pa_mpjpe": "PA-MPJPE",
    "stress": "stress",
    "mpjpe_replaced": "MPJPE, visible x, y replaced",
    "mpjpe_flip_replaced": "MPJPE, flip oracle, visible x, y replaced",
}
# Title of the table; title and axis of the plot.
BREAKDOWNS = {
    "by_view": (
        "viewed from (degrees; 0 the nose, 90 its left)", "MPJPE by view", "viewed from, degrees (0 nose, 90 left)"
    ),
    "by_visible_share": (
        "visible share of the surface", "MPJPE by visible share of the surface", "visible share, %"
    ),
}  # fmt: skip


def draw(result: dict[str, Any], path: Path) -> Path:
    """Draw every table of an evaluation; one colour for each model."""
    panels: list[Callable[..., None]] = [_errors, *(partial(_breakdown, key=key) for key in BREAKDOWNS)]
    panels += [_draw_groups] if result["by_group"] else []
    panels += [_dropped] if result["uncertainty"] else []
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 4.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    colours = {name: colormaps["tab10"](i % 10) for i, name in enumerate(result["models"])}
    for panel, place in zip(panels, axes.flat, strict=False):
        panel(place, result, colours)
        place.set_ylim(bottom=0)
        place.spines[["top", "right"]].set_visible(False)
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside upper center", ncols=min(len(colours), 5), frameon=False)
    return write_figure(path, figure)


def _bars(axes: Any, labels: list[str], values: dict[str, list[float]], colours: dict[str, Any]) -> None:
    """Bars side by side: one colour for each name, one cluster for each label."""
    width = 0.84 / len(values)
    for i, (name, heights) in enumerate(values.items()):
        places = [j + width * (i - (len(values) - 1) / 2) for j in range(len(labels))]
        axes.bar(places, heights, width=0.94 * width, color=colours[name])
    axes.set_xticks(range(len(labels)), labels)


def _errors(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
    values = {name: [means["given"][m] for m in SHOWN] for name, means in result["models"].items()}
    _bars(axes, [TITLES[m].replace(", ", ",\n") for m in SHOWN], values, colours)
    axes.set_title(f"{result['instances']} instances, scale given")
    axes.set_ylabel("error, template extents")


def _breakdown(axes: Any, result: dict[str, Any], colours: dict[str, Any], key: str) -> None:
    rows = result[key]
    values = {name: [row[name]["given"]["mpjpe"] for row in rows.values()] for name in result["models"]}
    _bars(axes, [f"{label.removesuffix(' %')}\nn={row['instances']}" for label, row in rows.items()], values, colours)
    _, title, label = BREAKDOWNS[key]
    axes.set_title(title)
    axes.set_xlabel(label)


def _draw_groups(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
    found = result["by_group"]
    for i, (name, spread) in enumerate(found["spread"].items()):
        low, quarter, median, three, high = spread.values()
        axes.plot([i, i], [low, high], color=colours[name], linewidth=1.5)
        axes.plot([i, i], [quarter, three], color=colours[name], linewidth=14, solid_capstyle="butt")
        axes.plot([i - 0.2, i + 0.2], [median, median], color="white", linewidth=2)
    axes.set_xticks([])
    axes.set_xlim(-0.7, len(found["spread"]) - 0.3)
    axes.set_title(f"MPJPE of {found['groups']} groups: all, middle half, median")


def _dropped(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
    for name, found in result["uncertainty"].items():
        shares = range(0, 100, 10)
        axes.plot(shares, found["sparsification"]["by_noise"], color=colours[name])
        axes.plot(shares, found["sparsification"]["oracle"], color=colours[name], linestyle=":")
    axes.set_title("MPJPE without the least sure (dotted: oracle)")
    axes.set_xlabel("instances dropped by predicted noise, %")


def write_report(result: dict[str, Any], folder: str | Path) -> Path:
    """Write the three files; returns the folder."""
    _write(result, markdown(result), Path(folder))
    draw(result, Path(folder) / "evaluation.png")
    return Path(folder)


def write_unknown(result: dict[str, Any], folder: str | Path) -> Path:
    """Write evaluation.json and evaluation.md of instances without truth; returns the folder."""
    text = f"{result['instances']} instances, whose true shapes are unknown: median, mean and worst."
    rows = [
        [name, *(" / ".join(f"{value:.4f}" for value in own.get(figure, {}).values()) for figure in FIGURES)]
        for name, own in result["models"].items()
    ]
    lines = ["# Evaluation without truth", "", text, "", *table(["", *FIGURES.values()], rows), ""]
    _write(result, "\n".join(lines), Path(folder))
    (Path(folder) / "evaluation.png").unlink(missing_ok=True)  # of an earlier evaluation
    return Path(folder)


def _write(result: dict[str, Any], text: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
    write_text(folder / "evaluation.md", text)


def markdown(result: dict[str, Any]) -> str:
    """The tables for people."""
    names, unit = list(result["models"]), result["millimetres_per_unit"]
    introduction = (
        f"{result['instances']} instances with truth, {result['vertices']} vertices,"
        f" {100 * result['visible_share']:.0f} % of them visible. Errors in units of the template's"
        f" extent{f' ({unit:.0f} mm)' if unit else ''}; mean depth is removed, and x, y are aligned on the visible"
        " vertices. The flip oracle knows the truth: it takes the better of a shape and its mirror image in depth."
    )
    lines = ["# Evaluation", "", introduction, ""]
    for kind in ("given", "estimated"):
        lines += [f"## Scale {kind}", "", *_means(result, kind, 1.0, 4), ""]
        if unit:
            lines += [f"In millimetres, scale {kind}:", "", *_means(result, kind, unit, 1), ""]
    for key, (title, *_) in BREAKDOWNS.items():
        rows = [
            [label, str(row["instances"]), *(f"{row[name]['given']['mpjpe']:.4f}" for name in names)]
            for label, row in result[key].items()
        ]
        lines += [f"## MPJPE, scale given: {title}", "", *table(["", "instances", *names], rows), ""]
    return "\n".join(lines + _groups(result, names) + _uncertainty(result))


def _means(result: dict[str, Any], kind: str, factor: float, digits: int) -> list[str]:
    rows = [
        [name, *(f"{factor * means[kind][m]:.{digits}f}" for m in TITLES)] for name, means in result["models"].items()
    ]
    return table(["", *TITLES.values()], rows)


def _groups(result: dict[str, Any], names: list[str]) -> list[str]:
    """MPJPE of groups: their spread, and the listed ones."""
    found = result["by_group"]
    if not found:
        return []
    spread = [[name, *(f"{value:.4f}" for value in found["spread"][name].values())] for name in names]
    head = ["", *(word.replace("_", " ") for word in found["spread"][names[0]])]
    rows = [
        [group, str(row["instances"]), *(f"{row[name]:.4f}" for name in names)]
        for group, row in found["listed"].items()
    ]
    some = "" if len(rows) == found["groups"] else f"; the hardest and easiest for {names[-1]}"
    return [
        *(f"## MPJPE, scale given: {found['groups']} groups", "", *table(head, spread), ""),
        *(f"Each group{some}:", "", *table(["group", "instances", *names], rows), ""),
    ]


def _uncertainty(result: dict[str, Any]) -> list[str]:
    """What the models that predict noise know of their errors."""
    if not result["uncertainty"]:
        return []
    introduction = (
        "Rank correlation of the predicted noise with the distance to the truth, over vertices and over instances;"
        " MPJPE of the half of the instances that the model is surest of, and of the best half as an oracle would"
        " choose it."
    )
    rows = []
    for name, found in result["uncertainty"].items():
        ranks = [f"{found[f'rank_correlation_of_{what}']:.2f}" for what in ("vertices", "instances")]
        kept = [f"{found['sparsification'][which][5]:.4f}" for which in ("by_noise", "oracle")]
        rows.append([name, *ranks, f"{found['sparsification']['oracle'][0]:.4f}", *kept])
    head = ["", "ranks, vertices", "ranks, instances", "all instances", "surest half", "best half"]
    lines = ["## Predicted noise", "", introduction, "", *table(head, rows), ""]
    for name, found in result["uncertainty"].items():
        bins = found["calibration"]
        rows = [[what, *(f"{row[what]:.4f}" for row in bins)] for what in ("predicted", "error")]
        numbers = ["", *(str(i + 1) for i in range(len(bins)))]
        lines += [f"{name}, vertices in ten bins of rising noise:", "", *table(numbers, rows), ""]
    return lines


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
