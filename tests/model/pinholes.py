"""Bent bodies before pinholes of known intrinsics, and the shards of such a world."""

from pathlib import Path

import numpy as np
import torch

from dp3d_data.filters import FilterConfig
from dp3d_data.geometry.template import make_template
from dp3d_data.geometry.visibility import project_perspective, weak_scale
from dp3d_data.records import VertexView
from dp3d_data.shards import ImageInfo, RunWriter, Truth, instance_row
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.instances import perspective_camera
from pipelines.shards import ShardPlan, build
from tests.model.toy import blob, toy_instances

SIZE = 400


def pinhole_instances(surface, near, far, count=40, seed=0, bend=0.15, aside=0.3, oblong=0.05):
    """The toy's bodies at `near` to `far` body lengths from a pinhole, up to `aside` of the distance off its axis.

    Pixels are up to `oblong` from square. The focal length makes every body about as large in the image. Truth is
    centred, as that of `project` is.
    """
    world = toy_instances(surface, count, seed, bend)
    rng = np.random.default_rng(seed)
    truth, keypoints, scales, cameras = [], [], [], []
    for shape in world.true_vertices.double().numpy():
        distance = rng.uniform(near, far)
        placed = shape - shape.mean(0) + distance * np.append(rng.uniform(-aside, aside, 2), 1.0)
        length, centre = distance * rng.uniform(100, 140), tuple(rng.uniform(180, 220, 2))
        focal = (length, length * (1.0 + rng.uniform(-oblong, oblong)))
        keypoints.append(project_perspective(placed, focal, centre))
        scales.append(weak_scale(placed, focal))
        truth.append(shape - shape.mean(0))
        cameras.append([*focal, *centre])
    as_tensor = lambda values: torch.tensor(np.array(values), dtype=torch.float32)  # noqa: E731
    return KeypointBatch(
        ids=world.ids,
        keypoints=as_tensor(keypoints),
        visible=world.visible,
        true_vertices=as_tensor(truth),
        true_scale=as_tensor(scales),
        boxes=world.boxes,
        groups=world.groups,
        image_paths=world.image_paths,
        intrinsics=as_tensor(cameras),
    )


def pinhole_shards(root: Path, world: KeypointBatch) -> Path:
    """The same through the writer of runs and shards, with the projection that brings the true vertices into the
    image."""
    vertices, faces = blob()
    template = make_template("blob", vertices, faces)
    rows = [_row(world, template, index) for index in range(len(world))]
    writer = RunWriter(root / "run", kind="project", fingerprint="0123456789ab")
    writer.commit(0, rows, inputs=len(rows))
    writer.finish(template=template, category="dog", config={"model": "truth"})
    plan = ShardPlan(
        shard_bytes=40_000, filters=FilterConfig(min_visible_vertices=4, max_edges=4), split_ratio=0.7, seed=0
    )
    build([root / "run"], root / "shards", "dog", plan, overwrite=True, say=lambda line: None)
    return root / "shards"


def _row(world, template, index):
    fx, fy, cx, cy = world.intrinsics[index].double().numpy()
    truth, seen = world.true_vertices[index].double().numpy(), world.visible[index].numpy()
    pixels = world.keypoints[index].double().numpy()
    origin = origin_of(truth, pixels, world.intrinsics[index].double().numpy())
    camera = perspective_camera((fx, fy), (cx, cy), 1.0, origin)
    ids = np.nonzero(seen)[0]
    ones = np.ones(len(ids))
    low, high = pixels[ids].min(0), pixels[ids].max(0)
    return instance_row(
        f"p{index}",
        ImageInfo(f"image{index}", SIZE, SIZE, source="fits", group=f"g{index}"),
        VertexView(ids, pixels[ids].astype(np.float32), ones.astype(int), 0 * ones),
        template,
        "truth",
        box=(*low, *high),
        score=1.0,
        category="dog",
        visible_area=len(ids) / len(seen),
        truth=Truth(truth, float(world.true_scale[index]), 1.0, camera if index % 5 else None),
    )


def origin_of(points, pixels, intrinsics):
    """Where the points' origin lies before the pinhole: linear least squares."""
    rays = (pixels - intrinsics[2:]) / intrinsics[:2]
    rows, right = [], []
    for (x, y, z), ray in zip(points, rays, strict=True):
        rows += [[1.0, 0.0, -ray[0]], [0.0, 1.0, -ray[1]]]
        right += [ray[0] * z - x, ray[1] * z - y]
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
