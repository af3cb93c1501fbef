"""The picture of an evaluation: errors as bars, MPJPE by view, by visible share, over groups, and what noise tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dp3d_data.files import write_figure

SHOWN = {"mpjpe": "MPJPE", "mpjpe_flip": "MPJPE,\nflip oracle", "pa_mpjpe": "PA-MPJPE", "stress": "stress"}


def draw(result: dict[str, Any], path: Path) -> Path:
    """Draw every table of an evaluation; one colour for each model."""
    panels = [_errors, _views, _shares]
    panels += [_groups] if result["by_group"] else []
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
    _bars(axes, list(SHOWN.values()), values, colours)
    axes.set_title(f"{result['instances']} instances, scale given")
    axes.set_ylabel("error, template extents")


def _views(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
    _breakdown(axes, result, colours, "by_view")
    axes.set_title("MPJPE by view")
    axes.set_xlabel("viewed from, degrees (0 nose, 90 left)")


def _shares(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
    _breakdown(axes, result, colours, "by_visible_share")
    axes.set_title("MPJPE by visible share of the surface")
    axes.set_xlabel("visible share, %")


def _breakdown(axes: Any, result: dict[str, Any], colours: dict[str, Any], key: str) -> None:
    rows = result[key]
    values = {name: [row[name]["given"]["mpjpe"] for row in rows.values()] for name in result["models"]}
    _bars(axes, [f"{label.removesuffix(' %')}\nn={row['instances']}" for label, row in rows.items()], values, colours)


def _groups(axes: Any, result: dict[str, Any], colours: dict[str, Any]) -> None:
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
