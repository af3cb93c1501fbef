"""From photographs or keypoints to a run whose instances a model can lift, and the page of lifted instances."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import InputCorrupt, InputMissing, NothingToDo
from dp3d_data.files import read_text, write_arrays, write_whole
from dp3d_data.geometry import Template
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.runs import found_run
from dp3d_model.evaluation.evaluator import errors_of
from dp3d_model.export.gallery import crop_box, figures_text, model_colours, photograph_texture, square_in
from dp3d_model.lifting.prediction import Prediction, network_alone, predict
from dp3d_model.networks.lifter import Lifter
from pipelines.annotated import Photographs
from pipelines.extract import Outcome, extract, make_plan
from pipelines.report.page import SCRIPT, Body, Layer, cards, jpeg_address, packed, page, viewer
from pipelines.settings import ExtractConfig

COLUMNS = {"instance": pa.string(), "vertex": pa.int64(), "x": pa.float64(), "y": pa.float64()}
EXPECTED = "a row for each visible keypoint: instance, vertex, x, y (image pixels), and image where there is one"
TABLES = (".csv", ".parquet")


def from_photographs(
    images: Sequence[str], template: Template, out: Path, settings: ExtractConfig | None = None
) -> Outcome:
    """Extract photographs, those of the package where none are given, into a run folder.

    What cannot be read is a row of its failures, what shows no animal one of its rejects.

    Args:
        settings: network, filters and machine; its images, template and folder are replaced.

    Raises:
        InputMissing, NothingToDo, UsageError: no photographs.
        CheckpointError: a network of another template.
    """
    config = replace(settings or ExtractConfig(), images=tuple(images), dataset="folder" if images else "")
    return _extracted(config, template, out)


def from_keypoints(path: str | Path, template: Template, out: Path, settings: ExtractConfig | None = None) -> Outcome:
    """Keypoints of vertices into a run folder: the arrays of docs/datasets.md, or a table (see `table_to_arrays`).

    Raises:
        InputMissing, InputCorrupt, NothingToDo: not such a file, or an empty one.
        TemplateError: keypoints of another number of vertices.
    """
    path = Path(path)
    images = settings.images if settings else ()
    if path.suffix.lower() in TABLES:
        images = (*images, str(path.parent))
        path = table_to_arrays(path, template.num_vertices, out / "keypoints.npz")
    config = replace(settings or ExtractConfig(), images=images, dataset="keypoints", path=str(path))
    return _extracted(config, template, out)


def from_annotated(photographs: Photographs, template: Template, out: Path, given_boxes: bool = False) -> Outcome:
    """Extract annotated photographs into a run folder, at the annotated boxes or at detected ones."""
    own, source = photographs.options, photographs.source
    config = ExtractConfig(category=own.category, dataset=source, path=own.path, images=own.images)
    config = replace(config, given_boxes=given_boxes, mirror=template.symmetry is not None)
    return _extracted(config, template, out)


def _extracted(config: ExtractConfig, template: Template, out: Path) -> Outcome:
    """Run in out/extract, discarding what other settings left there."""
    place = template.save(out / "template.npz")
    plan = make_plan(replace(config, template=str(place), out=str(out / "extract"), overwrite=False))
    if found_run(plan.out) not in (None, ("extract", plan.fingerprint)):
        plan = replace(plan, config=replace(plan.config, overwrite=True))
    return extract(plan)


def table_to_arrays(path: Path, num_vertices: int, out: Path) -> Path:
    """A CSV or Parquet table of keypoints as the arrays that extract reads; instances in the order of their first rows.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not a table, a column is missing, a vertex that the template lacks or twice in an instance, or
            NaN.
        NothingToDo: no row.
    """
    table = _read(path)
    if not table.num_rows:
        raise NothingToDo("no keypoints in this table", path=path)
    instances = table["instance"].combine_chunks().dictionary_encode()
    rows, names, vertex = instances.indices.to_numpy(), instances.dictionary.to_pylist(), table["vertex"].to_numpy()
    points = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    _check(path, rows, vertex, points, num_vertices)
    keypoints = np.zeros((len(names), num_vertices, 2))
    visible = np.zeros((len(names), num_vertices), dtype=bool)
    keypoints[rows, vertex], visible[rows, vertex] = points, True
    if "image" in table.column_names:
        given = table["image"].take(pa.array(np.unique(rows, return_index=True)[1])).to_pylist()
        names = [image or name for image, name in zip(given, names, strict=True)]
    return write_arrays(out, keypoints=keypoints, visible=visible, image=np.array(names, dtype=np.str_))


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputMissing("no such table of keypoints", path=path, expected=EXPECTED)
    read: Callable[[Path], pa.Table] = pq.read_table if path.suffix.lower() == ".parquet" else _read_csv
    try:
        table = read(path)
        missing = [name for name in COLUMNS if name not in table.column_names]
        if not missing:
            casts = [table[name].cast(kind).combine_chunks() for name, kind in COLUMNS.items()]
            kept = pa.table(casts, names=list(COLUMNS))
            if empty := [name for name in COLUMNS if kept[name].null_count]:
                raise pa.ArrowInvalid(f"rows without {', '.join(empty)}")
            if "image" in table.column_names:
                kept = kept.append_column("image", table["image"].cast(pa.string()))
            return kept
    except (pa.ArrowException, KeyError, OSError) as error:
        got = str(error).splitlines()[0][:120]
        raise InputCorrupt("not a table of keypoints", got=got, expected=EXPECTED, path=path) from error
    raise InputCorrupt("not a table of keypoints", got=f"no column {', '.join(missing)}", expected=EXPECTED, path=path)


def _read_csv(path: Path) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(column_types={**COLUMNS, "image": pa.string()})
    return pyarrow.csv.read_csv(io.BytesIO(read_text(path).encode()), convert_options=options)


def _check(path: Path, rows: np.ndarray, vertex: np.ndarray, points: np.ndarray, num_vertices: int) -> None:
    outside = (vertex < 0) | (vertex >= num_vertices)
    if outside.any():
        got, expected = int(vertex[outside][0]), f"0 to {num_vertices - 1}, of the model's template"
        raise InputCorrupt(f"row {int(outside.argmax())}: no such vertex", got=got, expected=expected, path=path)
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        what = f"row {int(bad.argmax())}: a keypoint that is no number"
        raise InputCorrupt(what, got=points[bad][0].tolist(), path=path)
    keys = rows.astype(np.int64) * num_vertices + vertex
    if len(np.unique(keys)) < len(keys):
        first = np.unique(keys, return_index=True)[1]
        line = int(np.setdiff1d(np.arange(len(keys)), first)[0])
        raise InputCorrupt(f"row {line}: a vertex twice in an instance", got=f"vertex {vertex[line]}", path=path)


SIDE = 480
STAGES = ("network alone", "optimised")
VISIBLE, HIDDEN = (37, 99, 235), (203, 213, 225)


def write_view(
    lifter: Lifter, instances: KeypointBatch, lifted: Sequence[Prediction], path: str | Path, title: str
) -> Path:
    """Write the page; everything is in it, nothing is fetched. Optimised instances are shown by the network alone too.

    Args:
        lifted: the predictions of the instances, some after the other.
    """
    errors, parts = errors_of(lifted, instances), model_colours(lifter)
    earlier = list(predict(network_alone(lifter), instances)) if lifter.config.refine.steps else []
    former = errors_of(earlier, instances)
    before = [many.at(i) for many in earlier for i in range(len(many.scale))]
    bodies: list[Body] = []
    for at, own in enumerate(many.at(i) for many in lifted for i in range(len(many.scale))):
        body = _body(lifter, own, instances, at, errors[at], parts)
        start = _body(lifter, before[at], instances, at, former[at], parts, own) if before else None
        bodies.append(replace(body, before=start))
    measured = [one for one in errors if one is not None]
    shown = {name for body in bodies for name in body.arrays}
    layers = [layer for layer in _layers([vertices for vertices, *_ in measured]) if layer.title in shown]
    facts: dict[str, Any] = {"instances": len(bodies), "vertices": len(lifter.surface.vertices)}
    if measured:
        facts["MPJPE"] = f"{np.mean([mpjpe for _, mpjpe, _ in measured]):.4f}"
        facts["PA-MPJPE"] = f"{np.mean([pa for *_, pa in measured]):.4f}"
    if measured and before:
        facts["MPJPE of the network alone"] = f"{np.mean([one[1] for one in former if one is not None]):.4f}"
    words = "the body from the photograph's camera, over it and alone; the last picture turns by hand"
    unit = "Errors are in extents of the template, at the true scale; the best translation is taken off."
    section = cards(facts) + viewer(lifter.surface.faces.numpy(), layers, bodies, STAGES)
    footer = f"dp3d · template {lifter.surface.name}. {unit if measured else ''}"
    text = page(title, words, [("Lifted", section)], footer, SCRIPT)
    return write_whole(Path(path), lambda stream: stream.write(text))


def _layers(measured: Sequence[np.ndarray]) -> list[Layer]:
    """All colourings; the ramp of errors ends at the next twentieth above almost all of them."""
    largest = max((float(np.quantile(one, 0.98)) for one in measured), default=0.0)
    texture = "The photograph on the body; what it does not show is filled in from its other half."
    top = max(math.ceil(largest * 20.0), 1) / 20.0
    return [
        Layer("photograph", texture, dots="parts"),
        Layer("parts", "The soft parts that the model has learned, each in its colour."),
        Layer("visibility", "The vertices that the photograph shows.", names={"visible": VISIBLE, "hidden": HIDDEN}),
        Layer("error", "Distance of each vertex to the truth.", top, unit="template extents"),
    ]


def _body(
    lifter: Lifter,
    one: Prediction,
    instances: KeypointBatch,
    i: int,
    errors: tuple[np.ndarray, float, float] | None,
    parts: np.ndarray,
    framed: Prediction | None = None,
) -> Body:
    """Instance i in the square around it, side 1 in `seen`, or around another lift, which has the photograph."""
    visible, projected = instances.visible[i].numpy(), (framed or one).projected()
    keypoints = instances.keypoints[i].numpy()[visible]
    left, top, side = crop_box(np.concatenate([keypoints, projected[:, :2]]))
    pixels = local_pixels(instances.image_paths[i] if instances.image_paths else "")
    arrays = {"parts": parts, "visibility": np.where(visible[:, None], VISIBLE, HIDDEN)}
    if pixels is not None:
        arrays["photograph"] = photograph_texture(pixels, one, instances, i, lifter.surface).colours
    if errors is not None:
        arrays["error"] = errors[0]
    seen: dict[str, Any] = {
        "camera": one.camera_from_template.reshape(-1).tolist(),
        "scale": float(one.scale) / side,
        "shift": ((one.translation - [left, top]) / side).tolist(),
    }
    if framed is None:
        square = None if pixels is None else jpeg_address(square_in(pixels, (left, top, side), SIDE), SIDE, 82)
        points = packed((keypoints - [left, top]) / side, "<f4")
        seen |= {"photograph": square, "ids": packed(np.flatnonzero(visible), "<i4"), "keypoints": points}
    known = "" if errors is None else f"  ·  MPJPE {errors[1]:.4f}  ·  PA-MPJPE {errors[2]:.4f}"
    return Body(one.vertices, f"{instances.ids[i]}{figures_text(one)}{known}", arrays, seen)
