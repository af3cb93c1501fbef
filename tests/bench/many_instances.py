"""Instances by the million without a renderer: a torus of 1,000 vertices, posed at random, about 42 % of it visible."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from dp3d_data.geometry.template import Template, make_template
from dp3d_data.shards import INSTANCE_SCHEMA, RunWriter
from dp3d_data.shards.table import list_values

RINGS, SPLITS = 40, 25
PART = 1000
# Share of the vertices that face the camera and stay visible, so that 42 % of all do.
UNHIDDEN = 0.84
SIZE = 640


@cache
def torus() -> tuple[Template, np.ndarray]:
    """The template, and the outward normals [K, 3] of its vertices."""
    around, along = np.meshgrid(
        np.arange(RINGS) * 2 * np.pi / RINGS, np.arange(SPLITS) * 2 * np.pi / SPLITS, indexing="ij"
    )
    normals = np.stack(
        [np.cos(around) * np.cos(along), np.sin(around) * np.cos(along), np.sin(along)], axis=-1
    ).reshape(-1, 3)
    centres = np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=-1).reshape(-1, 3)
    ring, side = np.divmod(np.arange(RINGS * SPLITS), SPLITS)
    next_ring, next_side = (ring + 1) % RINGS * SPLITS, (side + 1) % SPLITS
    here, right, down, across = ring * SPLITS + side, next_ring + side, ring * SPLITS + next_side, next_ring + next_side
    faces = np.concatenate([np.stack([here, right, across], axis=1), np.stack([here, across, down], axis=1)])
    return make_template("torus", centres + 0.4 * normals, faces), normals


def instances(part: int, count: int) -> pa.RecordBatch:
    """The instances of a part, a function of its number alone; in steps of 1/256 pixel, finer than shards, to spare the
    disk."""
    rng = np.random.default_rng(np.random.SeedSequence([11, part]))
    template, normals = torus()
    rotation, _ = np.linalg.qr(rng.standard_normal((count, 3, 3)))
    scale, centre = rng.uniform(200, 500, (count, 1, 1)), rng.uniform(280, 360, (count, 1, 2))
    stretched = template.vertices * (1 + 0.1 * rng.standard_normal((count, 1, 3)))
    keypoints = (scale * np.einsum("nij,nkj->nki", rotation[:, :2], stretched) + centre).astype(np.float32)
    facing = np.einsum("nj,kj->nk", rotation[:, 2], normals) < 0
    visible = facing & (rng.random(facing.shape) < UNHIDDEN)
    row, ids = np.nonzero(visible)
    pixels = keypoints[row, ids] + rng.normal(0, 0.5, (len(ids), 2)).astype(np.float32)
    counts = 1 + rng.poisson(rng.gamma(2.0, 4.0, len(ids)))
    pixels, spread = (
        np.rint(values * 256) / 256 for values in (pixels, 0.4 * np.sqrt(counts) * rng.uniform(0.7, 1.3, len(ids)))
    )
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    number = PART * part + np.arange(count)
    offsets = np.concatenate([[0], np.cumsum(visible.sum(axis=1))]).astype(np.int32)
    lists = {
        "vertex_ids": ids,
        "keypoints_x": pixels[:, 0],
        "keypoints_y": pixels[:, 1],
        "pixel_counts": counts,
        "spread": spread,
    }
    columns = {
        "instance_id": [f"{n:08d}-0" for n in number],
        "image_id": [f"{n:08d}" for n in number],
        "image_width": np.full(count, SIZE),
        "image_height": np.full(count, SIZE),
        "source": ["synth"] * count,
        "category": ["dog"] * count,
        "template": [template.name] * count,
        "template_hash": [template.content_hash] * count,
        "model": ["truth"] * count,
        "group": [f"animal-{n // 20:06d}" for n in number],
        "box_x0": low[:, 0].clip(0, SIZE),
        "box_y0": low[:, 1].clip(0, SIZE),
        "box_x1": high[:, 0].clip(0, SIZE),
        "box_y1": high[:, 1].clip(0, SIZE),
        "score": np.ones(count),
        "visible_area": visible.mean(axis=1),
    }
    return pa.RecordBatch.from_arrays(
        [_array(field, columns, lists, offsets, count) for field in INSTANCE_SCHEMA], schema=INSTANCE_SCHEMA
    )


def _array(field: pa.Field, columns: dict, lists: dict, offsets: np.ndarray, count: int) -> pa.Array:
    if field.name in lists:
        values = pa.array(np.ascontiguousarray(lists[field.name])).cast(field.type.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=field.type)
    if field.name in columns:
        return pa.array(columns[field.name]).cast(field.type)
    return pa.nulls(count, field.type)


def write_run(folder: Path, count: int) -> int:
    """Write a run of `count` instances; returns the bytes of their lists as uncompressed 4-byte numbers."""
    writer = RunWriter(folder, kind="synth", fingerprint=f"torus-{count}")
    raw = 0
    for part, start in enumerate(range(0, count, PART)):
        batch = instances(part, min(PART, count - start))
        writer.commit(part, batch, inputs=batch.num_rows)
        raw += 5 * 4 * int(list_values(batch.column("vertex_ids"))[0][-1])
    writer.finish(template=torus()[0], category="dog", config={})
    return raw
