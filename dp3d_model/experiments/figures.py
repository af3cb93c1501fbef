"""Figures of experiments: bars of an ablation, shapes coloured by their error, curves over corruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dp3d_data.files import write_picture, write_whole
from dp3d_model.render import BACKGROUND, render_orthographic

ERROR_SHOWN = 0.15  # template extents at the end of the colour scale
TILE, LABEL, LETTERS = 150, 190, 14


def plots() -> Any:
    """matplotlib's pyplot, drawing to files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: Path) -> Path:
    """Write a figure without the name of the program that drew it."""
    write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=90, metadata={"Software": None}))
    plots().close(figure)
    return path


def draw_rows(result: dict[str, Any], path: Path) -> Path:
    """MPJPE and PA-MPJPE of every row, the full model's as a line; bars beyond three times its MPJPE are cut, their numbers not."""
    plt, rows = plots(), list(result["rows"].values())
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    end = 1.15 * min(max(row["given"]["mpjpe"] for row in rows), 3.0 * rows[0]["given"]["mpjpe"])
    for shift, metric, title, colour in ((-0.2, "mpjpe", "MPJPE", "tab:blue"), (0.2, "pa_mpjpe", "PA-MPJPE", "tab:orange")):
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
    return save(figure, path)


def error_colours(errors: Float[np.ndarray, "k"]) -> UInt8[np.ndarray, "k 3"]:
    """Colours of errors in template extents: grey-blue at 0, yellow in between, red from ERROR_SHOWN on."""
    stops = np.array([[72, 110, 190], [120, 190, 170], [240, 215, 90], [235, 120, 50], [170, 20, 30]], dtype=np.float64)
    at = np.clip(errors / ERROR_SHOWN, 0.0, 1.0) * (len(stops) - 1)
    return np.stack([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)], axis=1).round().astype(np.uint8)


def draw_examples(shapes: Mapping[str, Float[Tensor, "n k 3"]], faces: Int[np.ndarray, "f 3"], path: Path) -> Path:
    """A row for each model and two tiles for each instance, from its camera and from its left; the colour is the distance to "truth"."""
    true = shapes["truth"].double().numpy()
    rows = [_scale_bar(2 * TILE * len(true) + LABEL)]
    for title, tensor in shapes.items():
        found = tensor.double().numpy()
        tiles = [_caption(title, np.linalg.norm(found - true, axis=2).mean())]
        for shape, truth in zip(found, true, strict=True):
            tiles += _views(shape, truth, faces)
        rows.append(np.concatenate(tiles, axis=1))
    return write_picture(path, np.concatenate(rows))


def _views(shape: np.ndarray, truth: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """A shape from its camera and from its left, at the size at which its truth fills the tile."""
    middle = (truth.max(0) + truth.min(0)) / 2
    size = 0.85 * TILE / np.ptp(truth, axis=0).max()
    colours = error_colours(np.linalg.norm(shape - truth, axis=1))
    aside = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    placed = (shape - middle) * size
    centre = np.array([TILE / 2, TILE / 2, 0.0])
    return [render_orthographic(placed @ turn.T + centre, faces, colours, TILE, TILE)[0] for turn in (np.eye(3), aside)]


def _caption(title: str, error: float) -> np.ndarray:
    tile = Image.new("RGB", (LABEL, TILE), (BACKGROUND,) * 3)
    pen, font = ImageDraw.Draw(tile), ImageFont.load_default(LETTERS)
    lines = _wrapped(title, 24)
    for i, line in enumerate(lines):
        pen.text((8, TILE // 2 - 24 + 18 * i), line, fill=(30, 30, 30), font=font)
    if title != "truth":
        pen.text((8, TILE // 2 - 22 + 18 * len(lines)), f"{error:.3f}", fill=(110, 110, 110), font=font)
    return np.asarray(tile)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _scale_bar(width: int) -> np.ndarray:
    """The colours of errors from 0 to ERROR_SHOWN, with numbers."""
    bar, length = np.full((44, width, 3), BACKGROUND, dtype=np.uint8), min(400, width - LABEL - 10)
    bar[8:20, LABEL : LABEL + length] = error_colours(np.linspace(0, ERROR_SHOWN, length))[None]
    picture = Image.fromarray(bar)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTERS)
    pen.text((8, 6), "distance to the truth", fill=(30, 30, 30), font=font)
    for i in range(4):
        pen.text((LABEL + i * length // 3 - (14 if i else 0), 22), f"{ERROR_SHOWN * i / 3:.2f}", fill=(30, 30, 30), font=font)
    pen.text((LABEL + length + 20, 6), "template extents; each instance from its camera and from its left", fill=(110, 110, 110), font=font)
    return np.asarray(picture)
