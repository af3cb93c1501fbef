"""An evaluation as files: evaluation.json, evaluation.md and evaluation.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLES = {
    "mpjpe": "MPJPE",
    "mpjpe_flip": "MPJPE, flip oracle",
    "pa_mpjpe": "PA-MPJPE",
    "stress": "stress",
    "mpjpe_replaced": "MPJPE, visible x, y replaced",
    "mpjpe_flip_replaced": "MPJPE, flip oracle, visible x, y replaced",
}

BREAKDOWNS = {
    "by_view": "viewed from (degrees; 0 the nose, 90 its left)",
    "by_visible_share": "visible share of the surface",
}


def write_report(result: dict[str, Any], folder: str | Path) -> Path:
    """Write the three files; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(markdown(result), encoding="utf-8")
    draw(result, folder / "evaluation.png")
    return folder


def markdown(result: dict[str, Any]) -> str:
    """The tables for people."""
    names = list(result["models"])
    lines = ["# Evaluation", "", _introduction(result), ""]
    for kind in ("given", "estimated"):
        rows = [[TITLES[m], *(f"{result['models'][name][kind][m]:.4f}" for name in names)] for m in TITLES]
        lines += [f"## Scale {kind}", "", *table(["", *names], rows), ""]
    for key, title in BREAKDOWNS.items():
        rows = [
            [label, str(row["instances"]), *(f"{row[name]['given']['mpjpe']:.4f}" for name in names)] for label, row in result[key].items()
        ]
        lines += [f"## MPJPE, scale given: {title}", "", *table(["", "instances", *names], rows), ""]
    return "\n".join(lines)


def _introduction(result: dict[str, Any]) -> str:
    unit = result["millimetres_per_unit"]
    return (
        f"{result['instances']} instances with truth, {result['vertices']} vertices, "
        f"{100 * result['visible_share']:.0f} % of them visible. "
        f"Errors in units of the template's extent{f' ({unit:.0f} mm)' if unit else ''}; mean depth is removed, and x, y are "
        "aligned on the visible vertices. The flip oracle knows the truth: it takes the better of a shape and its mirror image in depth."
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def draw(result: dict[str, Any], path: Path) -> None:
    """Two bar charts: the overall errors, and MPJPE by view."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = ("mpjpe", "mpjpe_flip", "pa_mpjpe", "stress")
    for i, (name, values) in enumerate(result["models"].items()):
        offset = [j + 0.4 * i - 0.2 for j in range(len(shown))]
        left.bar(offset, [values["given"][m] for m in shown], width=0.38, label=name)
        views = result["by_view"]
        places = [j + 0.4 * i - 0.2 for j in range(len(views))]
        right.bar(places, [row[name]["given"]["mpjpe"] for row in views.values()], width=0.38, label=name)
    left.set_xticks(range(len(shown)), [TITLES[m].replace(", ", ",\n") for m in shown])
    left.set_title(f"{result['instances']} instances, scale given")
    left.set_ylabel("error, template extents")
    right.set_xticks(range(len(result["by_view"])), list(result["by_view"]))
    right.set_title("MPJPE by view")
    right.set_xlabel("viewed from, degrees (0 nose, 90 left)")
    left.legend()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)
