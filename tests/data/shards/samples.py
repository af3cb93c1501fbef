"""Small templates, rows and runs to test with."""

from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dp3d_data.geometry.template import Template, make_template
from dp3d_data.records import VertexView
from dp3d_data.run_lengths import encode_pixels
from dp3d_data.shards import ImageInfo, Run, RunWriter, Truth, instance_row


@cache
def grid_template(side: int = 12, bump: float = 0.2) -> Template:
    """A bumpy square sheet of side x side vertices, large enough for a basis."""
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    vertices = np.stack([x, y, bump * np.sin(2 * x) * np.cos(y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + side], axis=1)
    upper = np.stack([corner + 1, corner + side + 1, corner + side], axis=1)
    return make_template("sheet", vertices, np.concatenate([lower, upper]))


def view(rng: np.random.Generator, count: int, num_vertices: int) -> VertexView:
    """A random view of `count` vertices in an image of 256 x 256."""
    ids = np.sort(rng.choice(num_vertices, size=count, replace=False))
    keypoints = rng.uniform(20, 230, (count, 2)).astype(np.float32)
    return VertexView(ids, keypoints, rng.integers(1, 20, count), rng.uniform(0, 3, count))


def row(index: int, kind: str = "extract", *, template: Template | None = None, **changes) -> dict[str, Any]:
    """A plausible row, a function of its index and kind alone; `changes` replace single columns."""
    template = template or grid_template()
    synthetic = kind == "synth"
    rng = np.random.default_rng(np.random.SeedSequence([7 + synthetic, index]))
    count = int(rng.integers(60, 120))
    digest = None if synthetic else f"{index // 2:064x}"
    group = f"dog{index // 5}" if synthetic else None
    source = "synth" if synthetic else "folder"
    made = instance_row(
        f"{kind}{index}",
        ImageInfo(f"image{index // 2}", 256, 256, None if synthetic else f"{index // 2}.jpg", digest, source, group),
        view(rng, count, template.num_vertices),
        template,
        "truth" if synthetic else "dog-synth-1",
        box=(10.0 + index % 2, 12.0, 200.0, 220.0),
        score=0.9,
        category="dog",
        visible_area=count / template.num_vertices,
        mask=None if synthetic else encode_pixels(np.arange(256 * 256).reshape(256, 256) < 9000),
        truth=Truth(rng.normal(size=(template.num_vertices, 3)), 120.0) if synthetic else None,
    )
    return made | changes


def run(
    folder: Path, rows: list[dict[str, Any]], kind: str = "extract", part: int = 16, template: Template | None = None
) -> Run:
    """A finished run of these rows, `part` in a file, each counted as one input."""
    writer = RunWriter(folder, kind=kind, fingerprint="0123456789ab")
    for index, start in enumerate(range(0, max(len(rows), 1), part)):
        some = rows[start : start + part]
        writer.commit(index, some, inputs=len(some))
    return writer.finish(template=template or grid_template(), category="dog", config={"model": "dog-synth-1"})


def two_runs(root: Path, count: int = 40) -> list[Path]:
    """A run of photographs and one of a synthetic world, made once a process and copied."""
    return [copytree(Path(_two_runs(count).name, kind), root / kind) for kind in ("extract", "synth")]


@cache
def _two_runs(count: int) -> TemporaryDirectory:
    folder = TemporaryDirectory(prefix="dp3d-runs-")
    for kind in ("extract", "synth"):
        run(Path(folder.name, kind), [row(index, kind) for index in range(count)], kind)
    return folder
