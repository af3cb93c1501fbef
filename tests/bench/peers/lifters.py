"""Our lifter beside other ways to lift, equal seconds of a core: python -m tests.bench.peers.lifters --train SHARDS
--test SHARDS [--seconds 240] [--row NAME ...].

All read the same keypoints of some well-spread vertices, symmetric about the body's middle plane, hidden and shaken
alike, and are measured on these vertices of the test shards: MPJPE in extents of the template, scale given, as
`dp3d-model evaluate` does. Rows "with truth" are also told the true shapes of the training shards. One row, "every
vertex", is our preset as it is, which reads all vertices. Run the rows at once on a quiet machine, or in any number of
processes: time is that of the process's own processor.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dp3d_data.loader import InstanceTable, KeypointBatch, Loader, ShardReader, Source, shard_source
from dp3d_model.config import preset
from dp3d_model.evaluation.evaluator import lift, score_shapes
from dp3d_model.geometry.perspective import in_units_of, normalise
from dp3d_model.geometry.surface import Surface, farthest_points, surface_of
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.augmentation import hide_at_random, mirrored, shake, warp
from dp3d_model.training.trainer import Trainer, fields_of
from tests.bench.peers import versions
from tests.bench.peers.lifting_networks import C3DPO, LocalSubsets, Peer, Tokens, centred, reprojection

BATCH, HIDDEN, JITTER, RATE, TRUTH = 128, 0.5, 0.05, 1e-3, 10.0
FIGURES = ("mpjpe", "mpjpe_flip", "pa_mpjpe", "stress")
# Settings that make our presets read what the peers read, and answer in one pass.
ALIKE = {"data.keypoint_dropout": HIDDEN, "model.keypoint_weights": False, "refine.steps": 0}
ALONE = {"loss.truth": 0.0, "loss.cycle": 1.0}


@dataclass(frozen=True)
class World:
    """Instances to learn from and to measure on, at some vertices of the template."""

    surface: Surface
    points: Tensor
    symmetry: Tensor
    train: KeypointBatch
    test: KeypointBatch

    @property
    def small(self) -> Surface:
        """The chosen vertices and their Laplace-Beltrami functions; no faces belong to them."""
        own = {"vertices": self.surface.vertices[self.points], "functions": self.surface.functions[self.points]}
        return replace(self.surface, **own)


def thinned(source: Source, points: Tensor) -> Source:
    """Instances of a source of which some vertices alone are seen."""
    seen = np.zeros(source.num_vertices, dtype=bool)
    seen[points.numpy()] = True

    def read(group: int) -> InstanceTable:
        table = source.read(group)
        kept = seen[table.vertex_ids]
        owner = np.repeat(np.arange(len(table)), np.diff(table.offsets))[kept]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(table)))])
        weights = None if table.weights is None else table.weights[kept]
        own = {"vertex_ids": table.vertex_ids[kept], "keypoints": np.ascontiguousarray(table.keypoints[kept])}
        return replace(table, offsets=offsets, weights=weights, **own)

    return replace(source, identity=source.identity + "-thinned", read=read)


def symmetric_points(surface: Surface, count: int) -> tuple[Tensor, Tensor]:
    """Well-spread vertices with their partners on the other side, and the place of each one's partner among them."""
    some = farthest_points(surface.vertices, count // 2)
    points = torch.cat([some, surface.symmetry[some]]).unique()
    points = points[torch.isin(surface.symmetry[points], points)]
    return points, torch.searchsorted(points, surface.symmetry[points])


def dense(shards: str, split: str, points: Tensor) -> KeypointBatch:
    """All instances with truth of a split, at some vertices."""
    loader = Loader(shards, split, batch_size=256, shuffle=False, fields=["truth"], memory=False)
    found = KeypointBatch.joined([batch.at_vertices(points) for batch in loader]).with_truth()
    return found.take((found.visible.sum(1) >= 4).nonzero()[:, 0])


def open_world(train: str, test: str, count: int) -> World:
    reader = ShardReader(train)
    surface = surface_of(reader.template, reader.basis.functions, preset("photographs").model.basis)
    points, symmetry = symmetric_points(surface, count)
    return World(surface, points, symmetry, dense(train, "train", points), dense(test, "all", points))


def scores(world: World, shapes: Tensor, scale: Tensor, test: KeypointBatch) -> dict[str, float]:
    """Means of the figures of shapes in the camera frame."""
    found = score_shapes(shapes, scale, test, torch.arange(len(world.points))).means()["given"]
    return {name: found[name] for name in FIGURES}


def seen_of(world: World, batch: KeypointBatch, generator: torch.Generator) -> tuple[KeypointBatch, KeypointBatch]:
    """Inputs and targets of a training batch, augmented as our trainer does, normalised."""
    targets = mirrored(batch, world.symmetry, torch.rand(len(batch), generator=generator) < 0.5)
    inputs = hide_at_random(replace(targets, true_vertices=None, true_scale=None), HIDDEN, generator)
    inputs = shake(warp(inputs, JITTER, world.small.functions, generator), JITTER, generator)
    inputs = normalise(world.small, inputs)
    return inputs, in_units_of(inputs, targets)


def train_peer(world: World, network: Peer, truth: bool, seconds: float) -> tuple[Peer, int]:
    """Train a peer for some processor seconds, AdamW with a cosine; the network and its steps."""
    rate = RATE if truth else network.rate
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    generator, step, began = torch.Generator().manual_seed(0), 0, time.process_time()
    while (share := (time.process_time() - began) / seconds) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = rate * min((step + 1) / 50, 0.5 + 0.5 * float(np.cos(np.pi * share)))
        rows = torch.randint(len(world.train), (BATCH,), generator=generator)
        inputs, targets = seen_of(world, world.train.take(rows), generator)
        if truth:
            found = network(inputs)
            gone = centred(found, inputs.visible) - centred(targets.true_vertices, inputs.visible)
            loss = reprojection(found, targets) + TRUTH * gone.norm(dim=2).mean()
        else:
            loss = network.own_loss(inputs, targets, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
    return network.eval(), step


def peer_row(
    world: World, make: Callable[[Tensor], Peer], truth: bool, seconds: float, options: argparse.Namespace
) -> dict[str, float]:
    torch.manual_seed(0)
    network, steps = train_peer(world, make(world.small.vertices), truth, seconds)
    with torch.no_grad():
        inputs = normalise(world.small, replace(world.test, true_vertices=None, true_scale=None))
        shapes = torch.cat([network(inputs.take(rows)) for rows in torch.arange(len(inputs)).split(256)])
    return {"steps": steps} | scores(world, shapes, inputs.camera.scale, world.test)


def rigid_row(world: World, *_: object) -> dict[str, float]:
    inputs = normalise(world.small, world.test)
    shapes = torch.einsum("nca,sa->nsc", inputs.camera.rotation, world.small.vertices)
    return {"steps": 0} | scores(world, shapes, inputs.camera.scale, world.test)


def our_row(
    world: World, settings: dict, every_vertex: bool, seconds: float, options: argparse.Namespace
) -> dict[str, float]:
    """Our lifter: a first guess of the pace decides on the steps, whose schedule needs to know them."""
    config = preset("photographs", settings)
    source: Source = shard_source(ShardReader(options.train), "train", fields_of(config))
    source = source if every_vertex else thinned(source, world.points)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trainer(world.surface, source, config, folder)
        batches = trial.loader.from_step(0)
        trial.objective.train()
        trial.train_step(next(batches))
        began = time.process_time()
        for _ in range(4):
            trial.train_step(next(batches))
        steps = max(int(4 * seconds / (time.process_time() - began)), 10)
        batches.close()
        trainer = Trainer(world.surface, source, preset("photographs", settings | {"optim.steps": steps}), folder)
        lifter = trainer.run()
    return {"steps": steps} | our_scores(world, lifter, every_vertex, options)


def our_scores(world: World, lifter: Lifter, every_vertex: bool, options: argparse.Namespace) -> dict[str, float]:
    """Our answer at the chosen vertices, on the same test instances."""
    parts, scales = [], []
    for batch in Loader(options.test, "all", batch_size=256, shuffle=False, fields=["truth", "weights"], memory=False):
        own = batch.visible[:, world.points]
        batch = batch.take((batch.has_truth & (own.sum(1) >= 4)).nonzero()[:, 0])
        if not every_vertex:
            seen = torch.zeros_like(batch.visible)
            seen[:, world.points] = batch.visible[:, world.points]
            batch = replace(batch, visible=seen)
        weights = batch.weights if lifter.config.model.keypoint_weights else None
        batch = replace(batch, true_vertices=None, true_scale=None, weights=weights)
        inputs, lifted = lift(lifter, batch)
        parts.append(lifted.in_camera()[:, world.points])
        scales.append(lifted.scale(inputs))
    return scores(world, torch.cat(parts), torch.cat(scales), world.test)


ROWS: dict[str, tuple] = {
    "rigid template": (rigid_row,),
    "keypoints alone: ours": (our_row, ALIKE | ALONE, False),
    "keypoints alone: C3DPO": (peer_row, C3DPO, False),
    "keypoints alone: local subsets (ALLRAP)": (peer_row, LocalSubsets, False),
    "keypoints alone: tokens (2D-LFM), bottleneck of 16": (peer_row, lambda rest: Tokens(rest, code=16), False),
    "with truth: ours": (our_row, ALIKE, False),
    "with truth: ours, every vertex": (our_row, {"refine.steps": 0}, True),
    "with truth: ours, attention encoder": (our_row, ALIKE | {"model.encoder": "attention"}, False),
    "with truth: MLP without low rank (ALLRAP's network)": (peer_row, LocalSubsets, True),
    "with truth: tokens (2D-LFM)": (peer_row, Tokens, True),
    "with truth: tokens named in the first layer alone": (
        peer_row,
        lambda rest: Tokens(rest, every_layer=False),
        True,
    ),
}


def main() -> None:
    """Train and measure the rows that are asked for; one line of a Markdown table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="shards with truth, split train")
    parser.add_argument("--test", required=True, help="shards with truth, every split")
    parser.add_argument("--seconds", type=float, default=240.0, help="of the processor for each row")
    parser.add_argument("--points", type=int, default=128)
    parser.add_argument("--row", action="append", help="a part of a row's name; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = open_world(options.train, options.test, options.points)
    print(f"{versions('torch', 'numpy')}; {len(world.train)} instances to learn from, {len(world.test)} to measure on,")
    print(f"{len(world.points)} vertices, {options.seconds:.0f} s of the processor a row\n", flush=True)
    print(f"| | steps | {' | '.join(FIGURES)} |\n|---|---:|{'---:|' * len(FIGURES)}", flush=True)
    for name, (step, *given) in ROWS.items():
        if not options.row or any(part in name for part in options.row):
            found = step(world, *given, options.seconds, options)
            figures = " | ".join(f"{found[figure]:.4f}" for figure in FIGURES)
            print(f"| {name} | {found['steps']} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
