"""Arrays to rows of the instance table: one dictionary per instance, one record batch per list of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from dp3d_data.errors import ShapeError, readable
from dp3d_data.records import Box, RunLength, VertexView
from dp3d_data.run_lengths import area
from dp3d_data.shards.schema import INSTANCE_SCHEMA

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


@dataclass(frozen=True)
class ImageInfo:
    """What the rows keep of an image: path and content hash are None where no image was made; split, dataset (its
    origin) and quality (of the annotation) where the source does not say them."""

    image_id: str
    width: int
    height: int
    path: str | None = None
    content_hash: str | None = None
    source: str = "folder"
    group: str | None = None
    split: str | None = None
    dataset: str | None = None
    quality: str | None = None


# "orthographic" or "perspective", and the matrix [3, 4] that brings (x, y, z, 1) of the camera frame, template units,
# to (u w, v w, w) in image pixels.
KnownCamera = tuple[str, Float[np.ndarray, "3 4"]]


def orthographic_camera(scale: float, translation: Float[np.ndarray, "2"]) -> KnownCamera:
    """(u, v) = scale * (x, y) + translation."""
    tx, ty = translation
    return "orthographic", np.array([[scale, 0, 0, tx], [0, scale, 0, ty], [0, 0, 0, 1]])


def perspective_camera(
    focal: tuple[float, float], centre: tuple[float, float], unit: float, origin: Float[np.ndarray, "3"]
) -> KnownCamera:
    """(u, v) = focal * X[:2] / X[2] + centre of X = unit * (x, y, z) + origin, in any one length."""
    intrinsic = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    return "perspective", intrinsic @ np.column_stack([unit * np.eye(3), origin])


@dataclass(frozen=True)
class Truth:
    """Known geometry.

    Attributes:
        vertices: [K, 3] in the camera frame and template units.
        scale: image pixels per template unit.
        unit: metres in one template unit; None where unknown.
        camera: None where unknown.
    """

    vertices: Float[np.ndarray, "K 3"]
    scale: float
    unit: float | None = None
    camera: KnownCamera | None = None


def instance_row(
    instance_id: str,
    image: ImageInfo,
    view: VertexView,
    template: Template,
    model: str,
    *,
    box: Box,
    score: float,
    category: str,
    visible_area: float,
    visible_area_posed: float | None = None,
    mask: RunLength | None = None,
    truth: Truth | None = None,
) -> dict[str, Any]:
    """One row of the instance table; lists stay numpy arrays.

    Args:
        template, model: whose vertices the ids are, and what found them ("truth" in a synthetic world).
        box: xyxy in image pixels (x right, y down, (0, 0) the image's corner).
        score: of the detection, 0..1.
        visible_area: share of the template's surface area that is visible, 0..1.
        visible_area_posed, mask: the same of the posed surface's own area, and the object's pixels, where known.

    Raises:
        ShapeError: ids, keypoints, counts and spread differ in length, or ids do not ascend.
    """
    check_view(view)
    return {
        "instance_id": instance_id,
        "image_id": image.image_id,
        "image_path": image.path,
        "image_hash": image.content_hash,
        "image_width": int(image.width),
        "image_height": int(image.height),
        "source": image.source,
        "category": category,
        "template": template.name,
        "template_hash": template.content_hash,
        "model": model,
        "group": image.group,
        "source_split": image.split,
        "source_dataset": image.dataset,
        "source_quality": image.quality,
        **dict.fromkeys(("split", "content_hash")),  # a build fills them in
        **dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), map(float, box), strict=True)),
        "score": float(score),
        "mask_area": None if mask is None else area(mask),
        "mask": None if mask is None else mask.counts.decode(),
        "visible_area": float(visible_area),
        "visible_area_posed": None if visible_area_posed is None else float(visible_area_posed),
        **truth_columns(truth),
        "vertex_ids": np.asarray(view.ids, dtype=np.int32),
        "keypoints_x": np.asarray(view.keypoints[:, 0], dtype=np.float32),
        "keypoints_y": np.asarray(view.keypoints[:, 1], dtype=np.float32),
        "pixel_counts": np.asarray(view.counts, dtype=np.int32),
        "spread": np.asarray(view.spread, dtype=np.float32),
        "confidence": None if view.confidence is None else np.asarray(view.confidence, dtype=np.float32),
        "cycle": None if view.cycle is None else np.asarray(view.cycle, dtype=np.float32),
    }


def truth_columns(truth: Truth | None) -> dict[str, Any]:
    """The columns of a row that say what is known of the geometry."""
    kind, matrix = (truth and truth.camera) or (None, None)
    return {
        "camera_kind": kind,
        "camera_matrix": None if matrix is None else np.asarray(matrix, dtype=np.float32).reshape(-1),
        "true_vertices": None if truth is None else np.asarray(truth.vertices, dtype=np.float32).reshape(-1),
        "true_scale": None if truth is None else float(truth.scale),
        "true_unit": None if truth is None else truth.unit,
    }


def check_view(view: VertexView) -> None:
    """Refuse arrays that do not belong together.

    Raises:
        ShapeError: lengths differ, keypoints are not [V, 2], or ids do not strictly ascend.
    """
    count = len(view.ids)
    shapes = (np.shape(view.ids), np.shape(view.keypoints), np.shape(view.counts), np.shape(view.spread))
    if shapes != ((count,), (count, 2), (count,), (count,)):
        expected = "[V], [V, 2], [V], [V]"
        raise ShapeError("a view has one keypoint, count and spread per vertex id", got=shapes, expected=expected)
    for name in ("confidence", "cycle"):
        values = getattr(view, name)
        if values is not None and np.shape(values) != (count,):
            raise ShapeError(f"a view has one {name} per vertex id", got=np.shape(values), expected=(count,))
    if count and (np.diff(view.ids) <= 0).any():
        raise ShapeError("vertex ids ascend, each at most once", got="ids out of order or repeated")


def instance_batch(rows: Iterable[dict[str, Any]]) -> pa.RecordBatch:
    """Rows as one record batch of INSTANCE_SCHEMA; no rows give an empty batch."""
    return rows_batch(rows, INSTANCE_SCHEMA)


def rows_batch(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Dictionaries as one record batch; a key that is missing is null, and what is not UTF-8 in a text is written out.

    Raises:
        ShapeError: a row has a column that the schema does not know, or null where a value is needed.
    """
    rows = list(rows)
    unknown = sorted({key for row in rows for key in row} - set(schema.names))
    if unknown:
        raise ShapeError("unknown columns in a row", got=", ".join(unknown), expected=", ".join(schema.names))
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_string(field.type):
            values = [readable(value) if isinstance(value, str) else value for value in values]
        arrays.append(pa.array(values, type=field.type))
    empty = [field.name for field, array in zip(schema, arrays, strict=True) if array.null_count and not field.nullable]
    if empty:
        raise ShapeError("a column that is always filled holds null", got=", ".join(empty))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
