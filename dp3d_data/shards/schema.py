"""The columns of instances, failures and rejects, each documented inside every file that carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 2
READABLE = (1, 2)
# Columns that files of an older version lack, and which are null then.
ADDED = ("visible_area_posed",)
VERSION_KEY = b"dp3d.schema_version"
TABLE_KEY = b"dp3d.table"
FIELDS_KEY = b"dp3d.fields"


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, unit, meaning, and whether it may be null."""

    name: str
    type: pa.DataType
    text: str
    unit: str = ""
    nullable: bool = False

    @property
    def is_list(self) -> bool:
        return pa.types.is_list(self.type)


_STRING, _INT, _FLOAT = pa.string(), pa.int32(), pa.float32()
_INTS, _FLOATS = pa.list_(pa.int32()), pa.list_(pa.float32())
_PIXELS = "image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5)"

INSTANCE_COLUMNS = (
    Column("instance_id", _STRING, "Unique name of the instance."),
    Column("image_id", _STRING, "Name of the image inside its source."),
    Column("image_path", _STRING, "Where the image was read; null where no image was made.", nullable=True),
    Column("image_hash", _STRING, "SHA-256 of the image file's bytes, hex; null where no image was made.", nullable=True),
    Column("image_width", _INT, "Width of the image.", "pixels"),
    Column("image_height", _INT, "Height of the image.", "pixels"),
    Column("source", _STRING, "Kind of source: folder, synth, ..."),
    Column("category", _STRING, "Category of the object."),
    Column("template", _STRING, "Name of the template whose vertices the ids are."),
    Column("template_hash", _STRING, "Content hash of the template: 16 hex digits of SHA-256 over vertices and faces."),
    Column("model", _STRING, "Network that made the correspondences; \"truth\" for a synthetic world."),
    Column("group", _STRING, "What stays on one side of a split: video, breed, subject; null where unknown.", nullable=True),
    Column("split", _STRING, "Side of the split; null until shards are built.", nullable=True),
    Column("box_x0", _FLOAT, "Left edge of the box.", "image pixels"),
    Column("box_y0", _FLOAT, "Top edge of the box.", "image pixels"),
    Column("box_x1", _FLOAT, "Right edge of the box.", "image pixels"),
    Column("box_y1", _FLOAT, "Bottom edge of the box.", "image pixels"),
    Column("score", _FLOAT, "Score of the detection; 1 where the box was given.", "0..1"),
    Column("mask_area", _INT, "Number of pixels of the object; null where no mask was made.", "pixels", nullable=True),
    Column("visible_area", _FLOAT, "Visible share of the template's surface area.", "0..1"),
    Column("visible_area_posed", _FLOAT, "Visible share of the posed surface's own area; null where the shape is unknown.",
           "0..1", nullable=True),
    Column("vertex_ids", _INTS, "Visible template vertices, ascending; all other vertices are invisible."),
    Column("keypoints_x", _FLOATS, "x of the mean pixel of each visible vertex.", _PIXELS),
    Column("keypoints_y", _FLOATS, "y of the mean pixel of each visible vertex.", _PIXELS),
    Column("pixel_counts", _INTS, "Number of pixels matched to each visible vertex.", "pixels"),
    Column("spread", _FLOATS, "Root mean square distance of these pixels to their mean.", "image pixels"),
    Column(
        "true_vertices",
        _FLOATS,
        "True position of every template vertex, x0 y0 z0 x1 ...; null where unknown.",
        "template units, camera frame: x right, y down, z away from the viewer",
        nullable=True,
    ),
    Column("true_scale", _FLOAT, "True scale of the orthographic projection; null where unknown.",
           "image pixels per template unit", nullable=True),
)

FAILURE_COLUMNS = (
    Column("image_id", _STRING, "Name of the input that could not be processed."),
    Column("path", _STRING, "Where it lies.", nullable=True),
    Column("stage", _STRING, "Step that failed: read, detect, match, ..."),
    Column("error", _STRING, "Class of the error."),
    Column("message", _STRING, "What the error says."),
)

REJECT_COLUMNS = (
    Column("instance_id", _STRING, "Name of the instance that was left out."),
    Column("image_id", _STRING, "Name of its image."),
    Column("reason", _STRING, "Named reason, for example \"few vertices\"."),
    Column("value", pa.float64(), "The measured value that decided; null where the reason has none.", nullable=True),
)

# Lists that hold one entry per visible vertex, in the order of vertex_ids.
PER_VERTEX = ("vertex_ids", "keypoints_x", "keypoints_y", "pixel_counts", "spread")


def make_schema(table: str, columns: tuple[Column, ...]) -> pa.Schema:
    """An Arrow schema whose fields carry their documentation, and whose metadata repeat it as JSON."""
    fields = [
        pa.field(c.name, c.type, nullable=c.nullable, metadata={"description": c.text, "unit": c.unit}) for c in columns
    ]
    texts = {c.name: {"description": c.text, "unit": c.unit} for c in columns}
    metadata = {
        TABLE_KEY: table.encode(),
        VERSION_KEY: str(SCHEMA_VERSION).encode(),
        FIELDS_KEY: json.dumps(texts, ensure_ascii=False, sort_keys=True).encode(),
    }
    return pa.schema(fields, metadata=metadata)


INSTANCE_SCHEMA = make_schema("instances", INSTANCE_COLUMNS)
FAILURE_SCHEMA = make_schema("failures", FAILURE_COLUMNS)
REJECT_SCHEMA = make_schema("rejects", REJECT_COLUMNS)


def schema_problem(found: pa.Schema, expected: pa.Schema) -> str | None:
    """How a file's schema differs from the expected one, in words; None where it is the same."""
    metadata = found.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version not in map(str, READABLE):
        return f"schema version {version}, this program reads {' and '.join(map(str, READABLE))}"
    older = version != str(SCHEMA_VERSION)
    missing = [name for name in expected.names if name not in found.names and not (older and name in ADDED)]
    if missing:
        return "columns missing: " + ", ".join(missing)
    extra = [name for name in found.names if name not in expected.names]
    if extra:
        return "unknown columns: " + ", ".join(extra)
    pairs = [(field, found.field(field.name)) for field in expected if field.name in found.names]
    wrong = [f"{field.name} is {other.type}, not {field.type}" for field, other in pairs if other.type != field.type]
    return "; ".join(wrong) or None


def current(table: pa.Table) -> pa.Table:
    """A table of instances of any readable version with today's columns; those that it lacks are null."""
    for name in ADDED:
        if name not in table.column_names:
            field = INSTANCE_SCHEMA.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(INSTANCE_SCHEMA.names).cast(INSTANCE_SCHEMA)


def schema_markdown(columns: tuple[Column, ...]) -> str:
    """The columns as a Markdown table, as docs/shards.md shows them."""
    lines = ["| column | type | null | meaning | unit |", "|---|---|---|---|---|"]
    for c in columns:
        single = c.type.value_type if c.is_list else c.type
        kind = {"float": "float32", "double": "float64"}.get(str(single), str(single))
        kind = f"list of {kind}" if c.is_list else kind
        lines.append(f"| `{c.name}` | {kind} | {'yes' if c.nullable else ''} | {c.text} | {c.unit} |")
    return "\n".join(lines) + "\n"
