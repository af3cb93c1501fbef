"""Bodies inside a page, to be turned by hand in the colours of one of several layers, and beside their photographs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from dp3d_data.geometry.renderer import colour_by_value
from pipelines.report.page import asset, html, joined

SCRIPT = asset("viewer.js")
# Azimuth and elevation of the viewer in degrees; x forward, y left, z up.
VIEWS = {"front": (0, 0), "left": (90, 0), "back": (180, 0), "right": (-90, 0), "above": (0, 90)}
_VIEWER = (
    '<div class="viewer"><div class="bar">{}<span class="views">{}</span><div class="told"><output></output>{}'
    '<span class="hint">drag, arrow keys turn · shift and wheel, + and - zoom · double click resets</span></div></div>'
    '<div class="bodies">{}</div><script type="application/json">{}</script></div>'
)
_BODY = '<figure><div class="row">{}</div>{}<script type="application/json">{}</script></figure>'
_TURNING = '<canvas class="turn" tabindex="0" role="img" aria-label="{}: drag to turn"></canvas>'


@dataclass(frozen=True)
class Layer:
    """One colouring, for which each body brings an array under this title.

    Attributes:
        title: on its button.
        text: what it shows, in a sentence.
        top: value at the end of the colours, where the arrays are values; 0 where they are colours.
        factor, unit: what a value is multiplied by before it is told, and the unit that it has then.
        names: colours that have names.
        dots: title of the layer whose colours the keypoints take; this one's where empty.
    """

    title: str
    text: str
    top: float = 0.0
    factor: float = 1.0
    unit: str = ""
    names: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    dots: str = ""


@dataclass(frozen=True)
class Body:
    """One body.

    Attributes:
        vertices: template frame.
        caption: its name, and what is known of it; below it where `seen`.
        arrays: title of a layer -> RGB [K, 3] uint8, or values [K].
        before: as it was before the last step, from a camera of its own in `seen`; a button shows it.
        seen: photograph (a data address or None), ids, keypoints, camera, scale and shift, see `view.py`; None for the
            body alone.
    """

    vertices: Float[np.ndarray, "K 3"]
    caption: str
    arrays: Mapping[str, np.ndarray]
    seen: Mapping[str, Any] | None = None
    before: Body | None = None


def viewer(
    faces: Int[np.ndarray, "F 3"], layers: Sequence[Layer], bodies: Sequence[Body], stages: tuple[str, str] = ("", "")
) -> Markup:
    """The bodies of one topology; the page needs the program SCRIPT once at its end.

    Args:
        stages: what the buttons say that show the bodies as they were before, and as they are.
    """
    shared = {
        "faces": packed(faces, "<i4"),
        "ramp": packed(colour_by_value(np.linspace(0, 1, 256)), "u1"),
        "layers": [asdict(layer) for layer in layers],
    }
    buttons = joined(html('<button type="button" data-layer="{0}">{0}</button>', layer.title) for layer in layers)
    if any(body.before for body in bodies):
        stage = '<button type="button" data-stage="{}">{}</button>'
        buttons += html('<span class="stages">{}</span>', joined(html(stage, i, name) for i, name in enumerate(stages)))
    button = '<button type="button" data-view="{} {}">{}</button>'
    views = joined(html(button, azimuth, elevation, name) for name, (azimuth, elevation) in VIEWS.items())
    return html(_VIEWER, buttons, views, joined(map(_legend, layers)), joined(map(_figure, bodies)), safe_json(shared))


def _legend(layer: Layer) -> Markup:
    """What the colours of a layer mean; nothing where they are their own key."""
    inner = joined(html('<i style="background: rgb{}"></i>{}', colour, name) for name, colour in layer.names.items())
    if layer.top:
        stops = ", ".join(f"rgb{tuple(colour)}" for colour in colour_by_value(np.linspace(0, 1, 9)).tolist())
        ramp = '<b>0</b><i class="ramp" style="background: linear-gradient(to right, {})"></i><b>{:.3g} {}</b>'
        inner = html(ramp, stops, layer.top * layer.factor, layer.unit)
    return html('<span class="scale" data-layer="{}" hidden>{}</span>', layer.title, inner) if inner else Markup("")


def _figure(body: Body) -> Markup:
    """The canvases of a body: where it was seen its keypoints, the body over them and alone; last it turns."""
    shown = [body.before, body] if body.before else [body]
    names = ("keypoints", "over", "alone") if body.seen else ()
    canvases = joined(html('<canvas class="{}"></canvas>', name) for name in names) + html(_TURNING, body.caption)
    captions = joined(html("<figcaption>{}</figcaption>", one.caption) for one in shown if body.seen)
    return html(_BODY, canvases, captions, safe_json([_data(one) for one in shown]))


def _data(body: Body) -> dict[str, Any]:
    return {
        "vertices": packed(body.vertices, "<f4"),
        "values": {title: packed(values, "<f4") for title, values in body.arrays.items() if values.ndim == 1},
        "colours": {title: packed(colours, "u1") for title, colours in body.arrays.items() if colours.ndim == 2},
        "seen": body.seen,
    }


def safe_json(data: object) -> Markup:
    """JSON that no HTML parser takes for a tag."""
    return Markup(
        json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )


def packed(values: np.ndarray, kind: str) -> str:
    """The bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
