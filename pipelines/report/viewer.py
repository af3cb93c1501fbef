"""The template inside the page, to be turned by hand, with a colour for each vertex and one or several layers of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from dp3d_data.geometry.template import Template
from pipelines.report.markup import html, joined
from pipelines.report.surface import heat

# Azimuth and elevation of the viewer in degrees; x forward, y left, z up.
STANDS = {"front": (0, 0), "left": (90, 0), "back": (180, 0), "right": (-90, 0), "above": (0, 90)}
_VIEWER = (
    '<figure class="viewer"><div class="bar">{}<span class="stands">{}</span></div>'
    '<canvas tabindex="0" role="img" aria-label="{}"></canvas>'
    '<figcaption><output></output><span class="scale" hidden><b></b><i></i><b></b></span>'
    '<span class="hint">drag or arrow keys turn it · shift and wheel, + and - zoom · double click resets</span></figcaption>'
    '<script type="application/json">{}</script></figure>'
)


@dataclass(frozen=True)
class Layer:
    """One colouring of the vertices.

    Attributes:
        title: on its button.
        text: what it shows, in a sentence.
        colours: RGB of each vertex.
        values: the number behind each colour; None where the colours are names only.
        low, high: ends of the legend.
        unit: after a value; the value is multiplied by `factor` first.
    """

    title: str
    text: str
    colours: UInt8[np.ndarray, "K 3"]
    values: Float[np.ndarray, "K"] | None = None
    low: str = ""
    high: str = ""
    unit: str = ""
    factor: float = 1.0


def share_layer(title: str, share: Float[np.ndarray, "K"], of: str) -> Layer:
    """Shares 0..1 of instances, from 0 (dark) to the largest (yellow)."""
    top = float(share.max()) if len(share) else 0.0
    text = f"Share of {of} in which each vertex is visible."
    return Layer(title, text, heat(share / max(top, 1e-9)), share, "0", f"{100 * top:.0f} %", f"% of {of}", 100.0)


def viewer(template: Template, layers: Sequence[Layer]) -> Markup:
    """The figure; the page needs viewer_script() once at its end."""
    data = {
        "vertices": _packed(template.vertices, "<f4"),
        "faces": _packed(template.faces, "<i4"),
        "layers": [_plain(layer) for layer in layers],
    }
    button = '<button type="button" data-{}="{}">{}</button>'
    buttons = joined(html(button, "layer", i, layer.title) for i, layer in enumerate(layers))
    stands = joined(html(button, "view", f"{azimuth} {elevation}", name) for name, (azimuth, elevation) in STANDS.items())
    label = f"{template.name}, {template.num_vertices:,} vertices: drag to turn"
    return html(_VIEWER, buttons, stands, label, safe_json(data))


def viewer_script() -> str:
    """The program that draws every viewer of a page."""
    return scripts(("pipelines.report", "mesh.js"), ("pipelines.report", "viewer.js"))


def scripts(*names: tuple[str, str]) -> str:
    """Programs of packages, one after the other, for the end of a page."""
    return "".join(files(package).joinpath(name).read_text(encoding="utf-8") for package, name in names)


def safe_json(data: object) -> Markup:
    """JSON that no HTML parser takes for a tag."""
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _plain(layer: Layer) -> dict[str, object]:
    values = None if layer.values is None else _packed(layer.values, "<f4")
    words = {name: getattr(layer, name) for name in ("title", "text", "low", "high", "unit", "factor")}
    return words | {"colours": _packed(layer.colours, "u1"), "values": values}


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
