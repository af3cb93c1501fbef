"""Peak memory of a training step of 512 with every loss on all vertices: python -m tests.bench.lifter_memory [VERTICES
[MICRO_BATCH]].

The supplement's preset of dogs on 7,000 vertices, and how much `micro_batch` saves. The bar is 16 GB.
"""

import resource
import sys
import tempfile

import fast_simplification
import torch

from dp3d_data.loader import KeypointBatch
from dp3d_model.config import preset
from dp3d_model.geometry.surface import Surface
from dp3d_model.training.trainer import Trainer
from tests.model.toy import blob, source_of, toy_instances

COUNT = 512


def gigabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(vertices: int, micro_batch: int) -> None:
    """Print the peak before and after one step."""
    torch.set_num_threads(1)
    points, faces = fast_simplification.simplify(*blob(6 if vertices > 10_000 else 5), target_count=2 * vertices - 4)
    functions = torch.randn(len(points), 64)  # what they are does not change the memory
    surface = Surface("bench", "", torch.tensor(points, dtype=torch.float32), torch.tensor(faces), functions)
    world = toy_instances(surface, COUNT)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            surface, source_of(world), preset("stanford-dogs", {"optim.micro_batch": micro_batch}), folder
        )
        trainer.objective.train()
        before = gigabytes()
        trainer.train_step(KeypointBatch(keypoints=world.keypoints, visible=world.visible))
    parts = f"{micro_batch} at a time" if micro_batch else "all at once"
    print(
        f"{COUNT} instances, {len(points)} vertices, {parts}: {gigabytes():.2f} GB at most ({before:.2f} before the"
        " step)"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
