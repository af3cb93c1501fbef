"""From photographs, or from keypoints of others, to a run whose instances a model can lift."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dp3d_data.errors import InputCorrupt, InputMissing, NothingToDo
from dp3d_data.files import read_text, write_arrays
from dp3d_data.geometry import Template
from dp3d_data.shards.runs import found_run
from pipelines.annotated import Photographs
from pipelines.chunks import Advance
from pipelines.extract import Outcome, extract, make_plan
from pipelines.settings import ExtractConfig

COLUMNS = {"instance": pa.string(), "vertex": pa.int64(), "x": pa.float64(), "y": pa.float64()}
EXPECTED = "a row for each visible keypoint: instance, vertex, x, y (image pixels), and image where there is one"
TABLES = (".csv", ".parquet")


def from_photographs(
    images: Sequence[str],
    template: Template,
    out: Path,
    settings: ExtractConfig | None = None,
    advance: Advance = lambda *_: None,
) -> Outcome:
    """Extract photographs, those of the package where none are given, into a run folder.

    What cannot be read is a row of its failures, what shows no animal one of its rejects.

    Args:
        settings: network, filters and machine; its images, template and folder are replaced.

    Raises:
        InputMissing, NothingToDo, UsageError: no photographs.
        CheckpointError: a network of another template.
    """
    config = replace(settings or ExtractConfig(), images=tuple(images), source="folder" if images else "")
    return _extracted(config, template, out, advance)


def from_keypoints(path: str | Path, template: Template, out: Path, settings: ExtractConfig | None = None) -> Outcome:
    """Keypoints of template vertices into a run folder: the arrays of docs/datasets.md, or a table (see
    `table_to_arrays`).

    Raises:
        InputMissing, InputCorrupt, NothingToDo: not such a file, or an empty one.
        TemplateError: keypoints of another number of vertices.
    """
    path = Path(path)
    images = settings.images if settings else ()
    if path.suffix.lower() in TABLES:
        images = (*images, str(path.parent))
        path = table_to_arrays(path, template.num_vertices, out / "keypoints.npz")
    config = replace(settings or ExtractConfig(), images=images, source="keypoints", path=str(path))
    return _extracted(config, template, out, lambda *_: None)


def from_annotated(photographs: Photographs, template: Template, out: Path, given_boxes: bool = False) -> Outcome:
    """Extract annotated photographs into a run folder, at the annotated boxes or at detected ones.

    Raises:
        InputMissing, InputCorrupt, NothingToDo: as their source.
    """
    own = photographs.options
    config = ExtractConfig(
        category=own.category, source=photographs.source, path=own.path, images=own.images, given_boxes=given_boxes
    )
    return _extracted(config, template, out, lambda *_: None)


def _extracted(config: ExtractConfig, template: Template, out: Path, advance: Advance) -> Outcome:
    """Run in out/extract, discarding what another recipe left there."""
    place = template.save(out / "template.npz")
    plan = make_plan(replace(config, template=str(place), out=str(out / "extract"), overwrite=False))
    if found_run(plan.out) not in (None, ("extract", plan.recipe)):
        plan = replace(plan, config=replace(plan.config, overwrite=True))
    return extract(plan, advance)


def table_to_arrays(path: Path, num_vertices: int, out: Path) -> Path:
    """A CSV or Parquet table of keypoints as the arrays that extract reads; instances keep the order of their first
    rows.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not a table, a column is missing, a vertex that the template lacks or twice in an instance, or
            NaN.
        NothingToDo: no row.
    """
    table = _read(path)
    if not table.num_rows:
        raise NothingToDo("no keypoints in this table", path=path)
    names, vertex = table["instance"].to_numpy(), table["vertex"].to_numpy()
    points = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    rows = np.array([order[name] for name in names])
    _check(path, rows, vertex, points, num_vertices)
    keypoints = np.zeros((len(order), num_vertices, 2))
    visible = np.zeros((len(order), num_vertices), dtype=bool)
    keypoints[rows, vertex], visible[rows, vertex] = points, True
    image = np.array(list(order), dtype=np.str_)
    if "image" in table.column_names:
        image = np.array(
            [table["image"][int(np.argmax(rows == i))].as_py() or name for name, i in order.items()], dtype=np.str_
        )
    return write_arrays(out, keypoints=keypoints, visible=visible, image=image)


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
            return (
                kept.append_column("image", table["image"].cast(pa.string())) if "image" in table.column_names else kept
            )
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputCorrupt(
            "not a table of keypoints", got=str(error).splitlines()[0][:120], expected=EXPECTED, path=path
        ) from error
    raise InputCorrupt("not a table of keypoints", got=f"no column {', '.join(missing)}", expected=EXPECTED, path=path)


def _read_csv(path: Path) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(column_types={**COLUMNS, "image": pa.string()})
    return pyarrow.csv.read_csv(io.BytesIO(read_text(path).encode()), convert_options=options)


def _check(path: Path, rows: np.ndarray, vertex: np.ndarray, points: np.ndarray, num_vertices: int) -> None:
    outside = (vertex < 0) | (vertex >= num_vertices)
    if outside.any():
        line, got = int(outside.argmax()), int(vertex[outside][0])
        raise InputCorrupt(
            f"row {line}: no such vertex",
            got=got,
            expected=f"0 to {num_vertices - 1}, of the model's template",
            path=path,
        )
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise InputCorrupt(
            f"row {int(bad.argmax())}: a keypoint that is no number", got=points[bad][0].tolist(), path=path
        )
    keys = rows * num_vertices + vertex
    if len(np.unique(keys)) < len(keys):
        first = np.unique(keys, return_index=True)[1]
        line = int(np.setdiff1d(np.arange(len(keys)), first)[0])
        raise InputCorrupt(f"row {line}: a vertex twice in an instance", got=f"vertex {vertex[line]}", path=path)
