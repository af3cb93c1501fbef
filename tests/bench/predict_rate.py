"""How many instances a second `dp3d-model predict` lifts: the core, and with the table or a file for each.

    python -m tests.bench.predict_rate [--count 2000] [--vertices 1000] [--threads 2]

The core is everything from keypoints in memory to predictions in memory: camera fit, network, body, image translation,
with the network of the preset and without refinement. Not in it: reading shards, drawing, writing; the two rows below
it add the writing.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import preset
from dp3d_model.export.gallery import write_predictions
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.prediction import lift_to_keep, predict
from dp3d_model.networks.lifter import Lifter


def sphere(count: int) -> Surface:
    """A well-spread sphere of that many vertices, as a body; its functions are at random, since only their number costs
    time."""
    from scipy.spatial import ConvexHull

    steps = torch.arange(count) + 0.5
    z, turn = 1 - 2 * steps / count, steps * 2.399963
    flat = (1 - z.square()).sqrt()
    vertices = 0.5 * torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=1)
    faces = torch.from_numpy(ConvexHull(vertices.numpy()).simplices.astype("int32"))
    return Surface(
        "sphere", "0" * 16, vertices, faces, torch.randn(count, 64, generator=torch.Generator().manual_seed(0))
    )


def world(surface: Surface, count: int) -> KeypointBatch:
    """Spheres seen from everywhere, half of them visible."""
    generator = torch.Generator().manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    placed = surface.vertices @ (rotation * torch.linalg.det(rotation)[:, None, None]).transpose(1, 2)
    return KeypointBatch(100 * placed[..., :2] + 200, placed[..., 2] < 0, ids=tuple(map(str, range(count))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--vertices", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", default="quick")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    surface = sphere(given.vertices)
    lifter = Lifter(surface, preset(given.preset, {"refine.steps": 0})).eval()
    instances = world(surface, given.count)
    few = instances.take(range(min(given.count, 300)))
    list(predict(lifter, few))

    def rate(title: str, some: KeypointBatch, work) -> None:
        began = time.perf_counter()
        work(some)
        print(f"{title:28} {len(some) / (time.perf_counter() - began):8.0f} instances a second")

    with tempfile.TemporaryDirectory() as folder:
        rate("core", instances, lambda some: [None for _ in predict(lifter, some)])
        for kind, some in (("table", instances), ("npz", few)):
            title = {"table": "with one table of all", "npz": "with an npz for each"}[kind]
            rate(
                title,
                some,
                lambda some, kind=kind: write_predictions(
                    lifter, some, *lift_to_keep(lifter, some), Path(folder) / kind, formats=(kind,), pictures=False
                ),
            )


if __name__ == "__main__":
    main()
