"""Time of training steps with attention and in perspective over that of the plain ones: python -m
tests.bench.encoder_rate [INSTANCES]."""

import sys
import time

import fast_simplification
import torch

from dp3d_data.geometry import load_template
from dp3d_data.geometry.template import make_template
from dp3d_data.shards.files import template_basis
from dp3d_model.config import preset
from dp3d_model.geometry.surface import surface_of
from dp3d_model.losses.objective import Objective
from tests.model.pinholes import pinhole_instances

KINDS = {
    "plain": {},
    "attention": {"model.encoder": "attention"},
    "two passes": {"model.passes": 2},
    "attention, two passes": {"model.passes": 2, "model.encoder": "attention"},
    "perspective": {"model.projection": "perspective"},
}
ROUNDS, VERTICES = 5, 1000


def step_time(surface, world, changes) -> float:
    """Seconds of a training step, best of ROUNDS."""
    objective, generator = Objective(surface, preset("best", changes)), torch.Generator().manual_seed(0)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        seen = objective.lifter.normalise(world)
        objective(seen, seen, generator)["total"].backward()
        objective.zero_grad()
        best = min(best, time.perf_counter() - began)
    return best


def main(count: int) -> None:
    """Print each time and its ratio to the plain step."""
    torch.manual_seed(0)
    dog = load_template("dog")
    template = make_template(
        "dog-1000", *fast_simplification.simplify(dog.vertices, dog.faces, 1 - VERTICES / dog.num_vertices)
    )
    surface = surface_of(template, template_basis(template).functions, 64)
    world = pinhole_instances(surface, 2, 4, count)
    print(f"{count} instances, {len(surface.vertices)} vertices, {torch.get_num_threads()} threads")
    plain = step_time(surface, world, {})
    for name, changes in KINDS.items():
        seconds = step_time(surface, world, changes)
        print(f"{seconds:7.3f} s  {seconds / plain:5.2f} of the plain step  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 128)
