"""The training loop: resumable to the step, averaged weights, metrics as lines of JSON."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dp3d_data.config import fingerprint, plain
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.kinds import Kind
from dp3d_data.detection.training.losses import SoftTargets, Start, soft_targets, step_losses
from dp3d_data.detection.training.recipe import MACHINE_SETTINGS, TrainCseConfig
from dp3d_data.detection.training.start import tune_trunk
from dp3d_data.detection.training.stream import Batch, batches
from dp3d_data.errors import CheckpointError, RecipeMismatch, TrainingDiverged
from dp3d_data.files import require_keys
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.logs import append_line, trim_lines
from dp3d_data.ranks import ALONE, Ranks
from dp3d_data.torch_files import read_torch, write_torch

Report = Callable[[int, dict[str, float], float], None]
Score = Callable[[Dp3dDenseRCNN], dict[str, float]]
STATE_KINDS = {"recipe": str, "step": int, "network": dict, "average": dict, "optimiser": dict}


@dataclass
class TrainingState:
    """What a resumed run needs to go on as if it had never stopped."""

    network: Dp3dDenseRCNN
    average: Dp3dDenseRCNN
    optimiser: torch.optim.Optimizer
    step: int = 0


class Means:
    """Means of named numbers, each over the steps that had it: one batch says little."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def values(self) -> dict[str, float]:
        return {name: total / self._counts[name] for name, total in self._sums.items()}


def recipe_of(config: TrainCseConfig, kinds: tuple[Kind, ...], ranks: Ranks = ALONE) -> str:
    """Fingerprint of everything that decides the weights; where it runs does not, but how many processes share a step
    does."""
    decisive = {name: value for name, value in plain(config).items() if name not in MACHINE_SETTINGS}
    if ranks.count > 1:
        decisive["processes"] = ranks.count
    return fingerprint(decisive, [kind.template.content_hash for kind in kinds])


def targets_of(kinds: tuple[Kind, ...], config: TrainCseConfig) -> dict[str, SoftTargets]:
    """The soft targets of every vertex of each template that is matched, by its name."""
    targets = {}
    for template in (kind.template for kind in kinds if kind.matched):
        geodesics = torch.from_numpy(geodesic_distances(template)).to(config.device)
        own = soft_targets(geodesics, config.geodesic_sigma, config.geodesic_kernel)
        if template.symmetry is not None:
            own = replace(own, mirror=torch.from_numpy(np.asarray(template.symmetry, dtype=np.int64)).to(config.device))
        targets[template.name] = own
    return targets


def learning_rate(config: TrainCseConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to zero at the last step."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def fresh_state(network: Dp3dDenseRCNN, config: TrainCseConfig) -> TrainingState:
    """A state at step 0; biases and norms are not decayed, and the trunk learns at a rate of its own."""
    trunk = {id(one) for one in network.backbone.bottom_up.parameters()}
    groups = [
        {
            "params": [
                p
                for p in network.parameters()
                if p.requires_grad and (id(p) in trunk) == inside and (p.ndim > 1) == matrix
            ],
            "weight_decay": config.weight_decay * matrix,
            "share": config.trunk_rate if inside else 1.0,
        }
        for inside in (False, True)
        for matrix in (True, False)
    ]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return TrainingState(network, average, torch.optim.AdamW(groups, lr=config.learning_rate))


def train(
    start: Start,
    kinds: tuple[Kind, ...],
    targets: dict[str, SoftTargets],
    config: TrainCseConfig,
    out: Path,
    report: Report,
    score: Score | None = None,
    ranks: Ranks = ALONE,
) -> TrainingState:
    """Train until the last step, or from where the run in `out` stopped.

    Args:
        targets: soft targets of the templates' vertices.
        report: called with step, losses and seconds every 50 steps.
        score: measures of a network on held-out images, every `config.evaluate_every` steps.
        ranks: this process among those that share each step: every one has a batch of its own, and the gradients are
            averaged. The first one reports, scores and saves.

    Raises:
        RecipeMismatch: `out` holds a run with other settings or another template.
        TrainingDiverged: a loss became NaN or infinite; the last saved state is kept.
    """
    state = fresh_state(start.network.to(config.device), config)
    recipe = recipe_of(config, kinds, ranks)
    load_state(state, out, recipe)
    ranks.wait()
    state.network.train()
    started, recent = time.perf_counter(), Means()
    for batch in batches(kinds, config, state.step, again=start.spec.crop_side > 0, ranks=ranks):
        losses = one_step(state, _on(batch, config.device), targets, start, config, out, ranks)
        state.step += 1
        if not ranks.writes:
            continue
        recent.add(losses)
        if state.step % 50 == 0 or state.step == config.steps:
            losses, recent = recent.values(), Means()
            log_metrics(out, state.step, losses)
            report(state.step, losses, time.perf_counter() - started)
        if state.step % config.save_every == 0 or state.step == config.steps:
            save_state(state, out, recipe)
        if (
            score is not None
            and config.evaluate_every
            and (state.step % config.evaluate_every == 0 or state.step == config.steps)
        ):
            log_metrics(out, state.step, score(state.average))
    return state


def one_step(
    state: TrainingState,
    batch: Batch,
    targets: dict[str, SoftTargets],
    start: Start,
    config: TrainCseConfig,
    out: Path,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """One optimiser step; returns the losses by name."""
    for group in state.optimiser.param_groups:
        group["lr"] = group["share"] * learning_rate(config, state.step)
    tune_trunk(state.network, config.freeze, state.step >= config.thaw)
    number = config.seed * 1_000_003 + state.step * ranks.count + ranks.rank
    torch.manual_seed(number)  # detectron2 draws proposals from the global generator
    rng = torch.Generator().manual_seed(number)
    with_boxes = state.step % config.box_every == 0
    losses = step_losses(state.network, batch, targets, start, config, rng, with_boxes=with_boxes)
    total = sum(losses.values(), torch.zeros(()))
    values = {name: float(value.detach()) for name, value in losses.items()} | {"total": float(total.detach())}
    if not math.isfinite(values["total"]):
        raise TrainingDiverged(f"the loss is not finite at step {state.step}", got=values, path=out)
    state.optimiser.zero_grad(set_to_none=True)
    (total / ranks.count).backward()
    ranks.sum_gradients(state.network.parameters())
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimiser.step()
    update_average(state, config.ema_decay)
    return values


@torch.no_grad()
def update_average(state: TrainingState, decay: float) -> None:
    """Move the averaged weights; early on the average follows faster, so that it forgets the random start."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for mean, value in zip(state.average.state_dict().values(), state.network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def save_state(state: TrainingState, out: Path, recipe: str) -> None:
    """Write the state, whole or not at all: a killed run keeps the last whole one."""
    content = {
        "recipe": recipe,
        "step": state.step,
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
    }
    write_torch(out / "state.pth", content)


def load_state(state: TrainingState, out: Path, recipe: str) -> None:
    """Continue the run in `out`, if there is one; its metrics end where the state does.

    Raises:
        RecipeMismatch: it was started with other settings.
        CheckpointError: the state is damaged.
    """
    path = out / "state.pth"
    if path.is_file():
        hint = "train anew in another folder: --out"
        content = read_torch(path, "state of a training", expected="what dp3d-data train-cse saves", hint=hint)
        require_keys(content, STATE_KINDS, "state of a training", path, CheckpointError)
        if content["recipe"] != recipe:
            raise RecipeMismatch(
                "this folder holds another training", got=content["recipe"], expected=recipe, path=path
            )
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.step = content["step"]
    trim_lines(out / "metrics.jsonl", state.step)


def log_metrics(out: Path, step: int, losses: dict[str, float]) -> None:
    """Append one line to metrics.jsonl."""
    append_line(out / "metrics.jsonl", {"step": step, **{name: round(value, 6) for name, value in losses.items()}})


def _on(batch: Batch, device: str) -> Batch:
    moved = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    crops = (
        None
        if batch.crops is None
        else replace(batch.crops, **{name: value.to(device) for name, value in vars(batch.crops).items()})
    )
    return replace(batch, **moved, crops=crops)
