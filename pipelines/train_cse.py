"""Train a CSE network on a template's synthetic world and write its weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from dp3d_data.config import to_toml, workspace
from dp3d_data.detection import save_weights
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.held_out import held_out_measures
from dp3d_data.detection.training.kinds import kinds_of
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.start import start_of
from dp3d_data.detection.training.trainer import recipe_of, targets_of, train
from dp3d_data.files import locked, sweep, write_text
from dp3d_data.ranks import Ranks, join_ranks, leave_ranks


def silent(line: str) -> None:
    """What processes other than the first say."""


def run(config: TrainCseConfig, say: Callable[[str], None]) -> Path:
    """Train, or go on training, and write half-precision weights; returns their path.

    Under torchrun every process has a batch of its own in each step, and the first one writes.

    Raises:
        FolderBusy: another process trains in the folder.
    """
    out = Path(config.out) if config.out else workspace(config.category) / "train-cse"
    ranks, device = join_ranks(config.device)
    try:
        with locked(out) if ranks.writes else nullcontext():
            return _trained(config, out, ranks, device, say)
    finally:
        leave_ranks()


def _trained(config: TrainCseConfig, out: Path, ranks: Ranks, device: str, say: Callable[[str], None]) -> Path:
    kinds = kinds_of(config)
    out.mkdir(parents=True, exist_ok=True)
    if ranks.writes:
        sweep(out)
        write_text(out / "config.toml", to_toml(config))
    else:
        say = silent
    config = replace(config, device=device)  # the file keeps what was asked for: "cuda" is another GPU in each process
    targets = targets_of(kinds, config)
    start = start_of(kinds, config, targets)
    meshes = ", ".join(
        f"{kind.template.name} ({kind.template.num_vertices} vertices)" for kind in kinds if kind.matched
    )
    images = config.crops if start.spec.crop_side else config.batch
    say(
        f"{config.category}: {config.steps} steps of {ranks.count * images} · template {meshes}"
        f" · recipe {recipe_of(config, kinds, ranks)}"
    )
    began = time.perf_counter()
    first: list[int] = []

    def report(step: int, losses: dict[str, float], seconds: float) -> None:
        first[:] = first or [step]
        rate = (step - first[0] + 50) / max(seconds, 1e-9)
        parts = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        say(f"step {step}/{config.steps} · {rate:.2f} steps/s · {parts}")

    def score(network: Dp3dDenseRCNN) -> dict[str, float]:
        measures = held_out_measures(network, start, kinds[0].template, config)
        say("held-out images · " + " ".join(f"{name} {value:.3f}" for name, value in measures.items()))
        return measures

    state = train(start, kinds, targets, config, out, report, score, ranks)
    path = out / "weights.pth"
    if ranks.writes:
        hashes = {kind.template.name: kind.template.content_hash for kind in kinds if kind.matched}
        save_weights(state.average, start.spec, path, template_hashes=hashes)
    say(f"trained in {time.perf_counter() - began:.0f} s")
    return path
