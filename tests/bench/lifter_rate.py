"""Forward passes and training steps of 512 instances: python -m tests.bench.lifter_rate [VERTICES [THREADS]].

The bars with 1,000 vertices and two threads: a forward pass in under 0.5 s; a step with every loss at most 1.5 times
the plain one, without ARAP and canonicalisation. Wall time is the best of a few; ratios are of processor times.
"""

import sys
import tempfile
import time
from collections.abc import Callable

import fast_simplification
import torch

from dp3d_data.loader import KeypointBatch
from dp3d_model.config import TrainConfig, preset
from dp3d_model.geometry.surface import Surface
from dp3d_model.training.trainer import Trainer
from tests.model.toy import blob, functions_of, source_of, toy_instances

COUNT, ROUNDS, BASIS = 512, 4, 64
PLAIN = {"loss.arap": 0.0, "loss.canonical": 0.0}
STEPS = {
    "supplement, plain": ("stanford-dogs", PLAIN),
    "supplement, with ARAP": ("stanford-dogs", {"loss.canonical": 0.0}),
    "supplement, every loss": ("stanford-dogs", {}),
    "supplement, every loss, Psi on 32 instances": ("stanford-dogs", {"loss.canonical_instances": 32}),
    "supplement, every loss on 128 drawn rings": ("stanford-dogs", {"loss.drawn_rings": 128}),
    "supplement, the same, 1 copy": ("stanford-dogs", {"loss.drawn_rings": 128, "loss.canonical_copies": 1}),
    "quick, plain, every vertex": ("quick", PLAIN | {"loss.drawn_rings": 0}),
    "quick, every loss on drawn rings": ("quick", {"loss.canonical": 0.1}),
    "quick, the same, Psi on 32 instances, 4 copies": (
        "quick",
        {"loss.canonical": 0.1, "loss.canonical_instances": 32, "loss.canonical_copies": 4},
    ),
    "quick": ("quick", {}),
}


def surface_of_size(count: int) -> Surface:
    """A lopsided body with about so many vertices."""
    level = next(level for level in range(3, 8) if 10 * 4**level + 2 >= count)
    vertices, faces = blob(level)
    vertices, faces = fast_simplification.simplify(vertices, faces, target_count=2 * count - 4)
    functions = functions_of(vertices, faces, BASIS)
    return Surface(
        "bench", "", torch.tensor(vertices, dtype=torch.float32), torch.tensor(faces), torch.tensor(functions)
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of the quickest round."""
    work()
    wall, busy = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began[0])
        busy.append(time.process_time() - began[1])
    return min(wall), min(busy)


def step_time(surface: Surface, config: TrainConfig, folder: str) -> tuple[float, float]:
    """Of one training step, without the reading of its batch."""
    world = toy_instances(surface, COUNT)
    trainer = Trainer(surface, source_of(world), config, folder)
    batch = KeypointBatch(keypoints=world.keypoints, visible=world.visible)
    trainer.objective.train()
    return timed(lambda: trainer.train_step(batch))


def forward_time(surface: Surface, config: TrainConfig, folder: str) -> tuple[float, float]:
    """Of one forward pass with its closed-form camera."""
    world = toy_instances(surface, COUNT)
    lifter = Trainer(surface, source_of(world), config, folder).objective.lifter.eval()
    with torch.no_grad():
        return timed(lambda: lifter(lifter.normalise(world)).in_camera())


def main(vertices: int, threads: int) -> None:
    """Print seconds, and ratios to the plain step above."""
    torch.set_num_threads(threads)
    surface = surface_of_size(vertices)
    print(f"{COUNT} instances, {len(surface.vertices)} vertices, {threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("stanford-dogs", "quick"):
            wall, busy = forward_time(surface, preset(name), folder)
            print(f"forward, {name}: {wall:.3f} s, {busy:.3f} s of processor")
        plain = 0.0
        for name, (base, changes) in STEPS.items():
            wall, busy = step_time(surface, preset(base, {"optim.batch": COUNT} | changes), folder)
            plain = busy if "plain" in name else plain
            print(f"step, {name}: {wall:.3f} s, {busy:.3f} s of processor, {busy / plain:.2f} times the plain one")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
