"""The columns of instances, failures and rejects, each documented inside every file that carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 5
READABLE = (1, 2, 3, 4, 5)
# Columns that came with each version; files of an older one lack them, and they are null then.
ADDED = {
    2: ("visible_area_posed",),
    3: ("source_split", "content_hash", "camera_kind", "camera_matrix", "confidence", "cycle", "true_unit"),
    4: ("source_dataset", "source_quality"),
    5: ("mask",),
}
VERSION_KEY = b"dp3d.schema_version"
TABLE_KEY = b"dp3d.table"
FIELDS_KEY = b"dp3d.fields"


# Shards hold multiples of these steps; the largest change is half a step. Runs hold what was measured.
PIXEL_STEP = 1 / 64
TRUTH_STEP = 1 / 65536


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, unit, meaning, whether it may be null, how files encode it, and its step in shards.

    Attributes:
        encoding: of the Parquet pages: PLAIN, DICTIONARY, BYTE_STREAM_SPLIT or DELTA_BINARY_PACKED.
        step: values in shards are multiples of this power of two; 0 keeps them as they are.
    """

    name: str
    type: pa.DataType
    text: str
    unit: str = ""
    nullable: bool = False
    encoding: str = "PLAIN"
    step: float = 0.0

    @property
    def is_list(self) -> bool:
        return pa.types.is_list(self.type)

    @property
    def path(self) -> str:
        """The name of its values inside a Parquet file."""
        return f"{self.name}.list.element" if self.is_list else self.name

    @property
    def notes(self) -> dict[str, str]:
        """What the file says about it."""
        step = {"step": f"1/{round(1 / self.step)}"} if self.step else {}
        return {"description": self.text, "unit": self.unit, **step}


def _list(value: pa.DataType) -> pa.DataType:
    """A list whose entries are never null, which reads faster."""
    return pa.list_(pa.field("element", value, nullable=False))


_STRING, _INT, _FLOAT = pa.string(), pa.int32(), pa.float32()
_INTS, _FLOATS = _list(pa.int32()), _list(pa.float32())
_DICTIONARY, _SPLIT, _DELTA = "DICTIONARY", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"
_PIXELS = "image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5)"


def _text(name: str, text: str, **rest: Any) -> Column:
    return Column(name, _STRING, text, **rest)


def _label(name: str, text: str, **rest: Any) -> Column:
    """A text that many rows share."""
    return Column(name, _STRING, text, encoding=_DICTIONARY, **rest)


def _numbers(name: str, text: str, unit: str, **rest: Any) -> Column:
    return Column(name, _FLOATS, text, unit, encoding=_SPLIT, **rest)


INSTANCE_COLUMNS = (
    _text("instance_id", "Unique name of the instance."),
    _text("image_id", "Name of the image inside its source."),
    _text("image_path", "Where the image was read; null where no image was made.", nullable=True),
    _text("image_hash", "SHA-256 of the image file's bytes, hex; null where no image was made.", nullable=True),
    Column("image_width", _INT, "Width of the image.", "pixels"),
    Column("image_height", _INT, "Height of the image.", "pixels"),
    _label("source", "Kind of source: folder, synth, ..."),
    _label("category", "Category of the object."),
    _label("template", "Name of the template whose vertices the ids are."),
    _label("template_hash", "Content hash of the template: 16 hex digits of SHA-256 over vertices and faces."),
    _label("model", 'Network that made the correspondences; "truth" for a synthetic world.'),
    _label("group", "What stays on one side of a split: video, breed, subject; null where unknown.", nullable=True),
    _label("source_split", "Side that the source itself gives; null where it gives none.", nullable=True),
    _label(
        "source_dataset",
        'Where the source says that the image comes from, such as "mpii 17" of UP-3D; null where it says nothing.',
        nullable=True,
    ),
    _label(
        "source_quality",
        "What the source says of how good its annotation is; null where it says nothing.",
        nullable=True,
    ),
    _label("split", "Side of the split; null until shards are built.", nullable=True),
    _text(
        "content_hash",
        "16 hex digits of SHA-256 over template_hash, vertex_ids and keypoints as stored; null until shards are built.",
        nullable=True,
    ),
    Column("box_x0", _FLOAT, "Left edge of the box.", "image pixels"),
    Column("box_y0", _FLOAT, "Top edge of the box.", "image pixels"),
    Column("box_x1", _FLOAT, "Right edge of the box.", "image pixels"),
    Column("box_y1", _FLOAT, "Bottom edge of the box.", "image pixels"),
    Column("score", _FLOAT, "Score of the detection; 1 where the box was given.", "0..1"),
    Column("mask_area", _INT, "Number of pixels of the object; null where no mask was made.", "pixels", nullable=True),
    _text(
        "mask",
        "The object's pixels, as COCO's run-length text of an image of this size; null where no mask was made.",
        nullable=True,
    ),
    Column("visible_area", _FLOAT, "Visible share of the template's surface area.", "0..1"),
    Column(
        "visible_area_posed",
        _FLOAT,
        "Visible share of the posed surface's own area; null where the shape is unknown.",
        "0..1",
        nullable=True,
    ),
    _label("camera_kind", "Kind of the known camera: orthographic or perspective; null where unknown.", nullable=True),
    _numbers(
        "camera_matrix",
        "Projection P [3, 4], row by row: P @ (x, y, z, 1) of a true vertex is (u w, v w, w) with "
        "(u, v) in the image; null where unknown.",
        "image pixels from template units",
        nullable=True,
    ),
    Column(
        "vertex_ids", _INTS, "Visible template vertices, ascending; all other vertices are invisible.", encoding=_DELTA
    ),
    _numbers("keypoints_x", "x of the mean pixel of each visible vertex.", _PIXELS, step=PIXEL_STEP),
    _numbers("keypoints_y", "y of the mean pixel of each visible vertex.", _PIXELS, step=PIXEL_STEP),
    Column("pixel_counts", _INTS, "Number of pixels matched to each visible vertex.", "pixels", encoding=_DICTIONARY),
    _numbers("spread", "Root mean square distance of these pixels to their mean.", "image pixels", step=PIXEL_STEP),
    _numbers(
        "confidence",
        "How sure the network is of each visible vertex; null where it does not say.",
        "0..1",
        nullable=True,
        step=PIXEL_STEP / 4,
    ),
    _numbers(
        "cycle",
        "Mean forward-backward weight (pixel, vertex, pixel) of these pixels; null where no embeddings were compared.",
        "0..1",
        nullable=True,
        step=PIXEL_STEP / 4,
    ),
    _numbers(
        "true_vertices",
        "True position of every template vertex, x0 y0 z0 x1 ...; null where unknown.",
        "template units, camera frame: x right, y down, z away from the viewer",
        nullable=True,
        step=TRUTH_STEP,
    ),
    Column(
        "true_scale",
        _FLOAT,
        "True scale of the orthographic projection; null where unknown.",
        "image pixels per template unit",
        nullable=True,
    ),
    Column("true_unit", _FLOAT, "Length of one template unit; null where unknown.", "metres", nullable=True),
)

FAILURE_COLUMNS = (
    _text("image_id", "Name of the input that could not be processed."),
    _text("path", "Where it lies.", nullable=True),
    _label("stage", "Step that failed: read, detect, match, ..."),
    _label("error", "Class of the error."),
    _text("message", "What the error says."),
)

REJECT_COLUMNS = (
    _text("instance_id", "Name of the instance that was left out."),
    _text("image_id", "Name of its image."),
    _label("reason", 'Named reason, for example "few vertices".'),
    Column("value", pa.float64(), "The measured value that decided; null where the reason has none.", nullable=True),
)

# Lists that hold one entry per visible vertex, in the order of vertex_ids.
PER_VERTEX = ("vertex_ids", "keypoints_x", "keypoints_y", "pixel_counts", "spread", "confidence", "cycle")
# Every column by its name; what instances say of a name that other tables share goes before.
COLUMNS = {column.name: column for column in (*REJECT_COLUMNS, *FAILURE_COLUMNS, *INSTANCE_COLUMNS)}


def make_schema(table: str, columns: tuple[Column, ...]) -> pa.Schema:
    """An Arrow schema whose fields carry their documentation, and whose metadata repeat it as JSON."""
    fields = [pa.field(c.name, c.type, nullable=c.nullable, metadata=c.notes) for c in columns]
    texts = {c.name: c.notes for c in columns}
    metadata = {
        TABLE_KEY: table.encode(),
        VERSION_KEY: str(SCHEMA_VERSION).encode(),
        FIELDS_KEY: json.dumps(texts, ensure_ascii=False, sort_keys=True).encode(),
    }
    return pa.schema(fields, metadata=metadata)


INSTANCE_SCHEMA = make_schema("instances", INSTANCE_COLUMNS)
FAILURE_SCHEMA = make_schema("failures", FAILURE_COLUMNS)
REJECT_SCHEMA = make_schema("rejects", REJECT_COLUMNS)
SCHEMAS = {"instances": INSTANCE_SCHEMA, "rejects": REJECT_SCHEMA, "failures": FAILURE_SCHEMA}


def schema_problem(found: pa.Schema, expected: pa.Schema) -> str | None:
    """How a file's schema differs from the expected one, in words; None where it is the same or an older version's."""
    metadata = found.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version not in map(str, READABLE):
        return f"schema version {version}, this program reads {', '.join(map(str, READABLE))}"
    absent = {name for added, names in ADDED.items() if added > int(version) for name in names}
    missing = [name for name in expected.names if name not in found.names and name not in absent]
    if missing:
        return "columns missing: " + ", ".join(missing)
    extra = [name for name in found.names if name not in expected.names]
    if extra:
        return "unknown columns: " + ", ".join(extra)
    wrong = []
    for field in (field for field in expected if field.name in found.names):
        kind, other = field.type, found.field(field.name).type
        # Lists of older versions allow null entries, though none was ever written.
        lists = pa.types.is_list(kind) and pa.types.is_list(other)
        if kind != other and not (lists and kind.value_type == other.value_type):
            wrong.append(f"{field.name} is {other}, not {kind}")
    return "; ".join(wrong) or None


def current(table: pa.Table, columns: list[str] | None = None) -> pa.Table:
    """A table of instances of any readable version with today's columns, or those named; what it lacks is null."""
    fields = [INSTANCE_SCHEMA.field(name) for name in columns or INSTANCE_SCHEMA.names]
    for field in fields:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    arrays = [table.column(field.name).cast(field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=INSTANCE_SCHEMA.metadata))
