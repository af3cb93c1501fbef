"""Lifted instances on one HTML page: photograph, keypoints, and a reconstruction to turn, coloured by part, visibility or error."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from dp3d_data.datasets.images import local_pixels
from dp3d_data.files import write_whole
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.evaluation.vertex_errors import Errors, errors_of
from dp3d_model.export.gallery import figures_text, model_colours, photograph_texture
from dp3d_model.export.pictures import crop_box, square_in
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.prediction import Prediction
from dp3d_model.networks.lifter import Lifter
from pipelines.report.markup import html, joined
from pipelines.report.page import cards, page
from pipelines.report.pictures import jpeg_address
from pipelines.report.surface import heat
from pipelines.report.viewer import safe_json, scripts

SIDE = 480
SEEN, HIDDEN = (37, 99, 235), (203, 213, 225)
RAMP_STOPS = 9
STYLE = Markup("""<style>
.lifted { display: grid; gap: 18px; }
.lifted figure .row { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); }
.lifted canvas { display: block; width: 100%; aspect-ratio: 1; background: var(--wash); }
.lifted canvas.turn { cursor: grab; touch-action: none; }
.lifted canvas.turn:active { cursor: grabbing; }
.lifted canvas:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.lifted figcaption b { color: var(--ink); font-variant-numeric: tabular-nums; }
.layers { position: sticky; top: 44px; z-index: 1; display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center;
  background: white; padding: 10px 0; }
.layers .bar { border: 0; padding: 0; display: flex; gap: 6px; }
.ramp { display: inline-flex; gap: 8px; align-items: center; font-size: 13px; color: var(--soft); }
.ramp[hidden] { display: none; }
.ramp i { width: 160px; height: 10px; border-radius: 5px; }
</style>""")


@dataclass(frozen=True)
class Scale:
    """The colours of errors: 0 to `top`, template extents."""

    top: float

    def colours(self, values: Float[np.ndarray, "k"]) -> UInt8[np.ndarray, "k 3"]:
        return heat(values / self.top)

    def css(self) -> str:
        """The bar beside the buttons."""
        stops = heat(np.linspace(0.0, 1.0, RAMP_STOPS))
        return f"linear-gradient(90deg, {', '.join(f'rgb({red} {green} {blue})' for red, green, blue in stops)})"


def write_view(
    lifter: Lifter,
    instances: KeypointBatch,
    lifted: Sequence[Prediction],
    path: str | Path,
    title: str,
    done: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write the page; everything is in it, nothing is fetched.

    Args:
        lifted: the predictions of the instances, some after the other.
        done: told of so many more finished instances.
    """
    known = errors_of(lifted, instances)
    largest = max((float(np.quantile(one.vertices, 0.98)) for one in known if one is not None), default=0.0)
    scale = Scale(max(math.ceil(largest * 20.0), 1) / 20.0)
    entries, index = [], 0
    for many in lifted:
        for i in range(len(many.scale)):
            entries.append(_entry(lifter.surface, many.at(i), instances, index, known[index], scale))
            index += 1
            done(1)
    data = {
        "faces": _packed(lifter.surface.faces.numpy(), "<u4"),
        "parts": _packed(model_colours(lifter), "u1"),
        "visibility": [list(HIDDEN), list(SEEN)],
        "entries": entries,
    }
    return _write(path, title, lifter, data, known, scale)


def _write(path: str | Path, title: str, lifter: Lifter, data: dict[str, Any], known: list[Errors | None], scale: Scale) -> Path:
    facts: dict[str, Any] = {"instances": len(data["entries"]), "vertices": len(lifter.surface.vertices)}
    measured = [one for one in known if one is not None]
    if measured:
        facts |= {"MPJPE": f"{np.mean([one.mpjpe for one in measured]):.4f}", "PA-MPJPE": f"{np.mean([one.pa for one in measured]):.4f}"}
    words = "the body from the photograph's camera, over it and alone; the last picture turns by hand"
    textured = any(entry["texture"] for entry in data["entries"])
    shell = '{}{}{}<div class="lifted"></div><script type="application/json" id="lifted-data">{}</script>'
    body = html(shell, STYLE, cards(facts), _controls(scale, bool(measured), textured), safe_json(data))
    script = scripts(("pipelines.report", "mesh.js"), ("pipelines", "view.js"))
    unit = "Errors are in extents of the template, at the true scale; the best translation is taken off." if measured else ""
    text = page(title, words, [("Lifted", body)], f"dp3d · template {lifter.surface.name}. {unit}", script)
    return write_whole(Path(path), lambda stream: stream.write(text))


def _controls(scale: Scale, truth: bool, texture: bool) -> Markup:
    names = [*(["photograph"] if texture else []), "parts", "visibility", *(["error"] if truth else [])]
    buttons = joined(html('<button type="button" data-layer="{0}">{0}</button>', name) for name in names)
    ends = html('<b>0</b><i style="background: {}"></i><b>{:g}</b><span>template extents</span>', scale.css(), scale.top)
    key = '<i style="width: 10px; background: rgb{}"></i>{}'
    css = joined(html(key, colour, word) for colour, word in ((SEEN, "visible"), (HIDDEN, "hidden")))
    return html(
        '<div class="layers viewer"><div class="bar">{}</div><span class="ramp" data-for="error" hidden>{}</span>'
        '<span class="ramp" data-for="visibility" hidden>{}</span></div>',
        *(buttons, ends, css),
    )


def _entry(surface: Surface, one: Prediction, instances: KeypointBatch, i: int, errors: Errors | None, scale: Scale) -> dict[str, Any]:
    visible = instances.visible[i].numpy()
    keypoints, projected = instances.keypoints[i].numpy()[visible], one.projected()
    path = instances.image_paths[i] if instances.image_paths else ""
    left, top, side = crop_box(np.concatenate([keypoints, projected[:, :2]]))
    zoom = 1.0 / side
    rotation = one.camera_from_template
    pixels = local_pixels(path)
    texture = None if pixels is None else photograph_texture(pixels, one, instances, i, surface)
    return {
        "name": instances.ids[i],
        "photograph": None if pixels is None else jpeg_address(square_in(pixels, (left, top, side), SIDE), SIDE, 82),
        "texture": None if texture is None else _packed(texture.colours, "u1"),
        "figures": figures_text(one),
        "keypoints": _packed((keypoints - [left, top]) * zoom, "<f4"),
        "visible": _packed(visible, "u1"),
        "vertices": _packed(one.vertices, "<f4"),
        "camera": rotation.reshape(-1).tolist(),
        "scale": float(one.scale) * zoom,
        "shift": ((one.translation - [left, top]) * zoom).tolist(),
        "colours": None if errors is None else _packed(scale.colours(errors.vertices), "u1"),
        "numbers": None if errors is None else [round(errors.mpjpe, 4), round(errors.pa, 4)],
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
