"""Training of a CSE network: its optimiser, learning rate, gradients and states."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dp3d_data.config import fingerprint_of, plain
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.compose import Batch
from dp3d_data.detection.training.losses import SoftTargets, soft_targets, step_losses
from dp3d_data.detection.training.recipe import MACHINE_SETTINGS, TrainCseConfig
from dp3d_data.detection.training.start import tune_trunk
from dp3d_data.detection.training.stream import Kind, batches
from dp3d_data.errors import CheckpointError, FingerprintMismatch
from dp3d_data.files import require_keys
from dp3d_data.fitting import FitSettings, Gradients, Losses, TrainingLog, TrainingState, copied, fit
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.ranks import ALONE, Ranks
from dp3d_data.torch_files import read_torch, write_torch

Report = Callable[[int, dict[str, float], float], None]
Score = Callable[[Dp3dDenseRCNN], dict[str, float]]
STATE_FILE, GRAD_CLIP, LOG_EVERY = "state.pth", 5.0, 50
STATE_KINDS = {"recipe": str, "step": int, "network": dict, "average": dict, "optimiser": dict}


def run_fingerprint(config: TrainCseConfig, kinds: tuple[Kind, ...], ranks: Ranks = ALONE) -> str:
    """Fingerprint of everything that decides the weights: how many processes share a step, but not where it runs."""
    decisive = {name: value for name, value in plain(config).items() if name not in MACHINE_SETTINGS}
    if ranks.count > 1:
        decisive["processes"] = ranks.count
    return fingerprint_of(decisive, [kind.template.content_hash for kind in kinds])


def targets_of(kinds: tuple[Kind, ...], config: TrainCseConfig) -> dict[str, SoftTargets]:
    """The soft targets of every vertex of each template that is matched, by its name."""
    targets = {}
    for template in (kind.template for kind in kinds if kind.matched):
        geodesics = torch.from_numpy(geodesic_distances(template)).to(config.device)
        own, mirror = soft_targets(geodesics, config.geodesic_sigma, config.geodesic_kernel), None
        if template.symmetry is not None:
            mirror = torch.from_numpy(np.asarray(template.symmetry, dtype=np.int64)).to(config.device)
        targets[template.name] = replace(own, mirror=mirror, mesh=template.name)
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
    learning, groups = [one for one in network.parameters() if one.requires_grad], []
    for inside, share in ((False, 1.0), (True, config.trunk_rate)):
        for matrix in (True, False):
            own = [one for one in learning if (id(one) in trunk) == inside and (one.ndim > 1) == matrix]
            groups.append({"params": own, "weight_decay": config.weight_decay * matrix, "share": share})
    average = copied(network.state_dict().items())
    return TrainingState(network, torch.optim.AdamW(groups, lr=config.learning_rate), network, average)


def fit_config(config: TrainCseConfig) -> FitSettings:
    """The settings of the training loop."""
    return FitSettings(
        steps=config.steps,
        learning_rate=lambda step: learning_rate(config, step),
        grad_clip=GRAD_CLIP,
        ema_decay=config.ema_decay,
        save_every=config.save_every,
        log_every=LOG_EVERY,
        log_means=True,
    )


def train(
    network: Dp3dDenseRCNN,
    kinds: tuple[Kind, ...],
    targets: dict[int, SoftTargets],
    config: TrainCseConfig,
    out: Path,
    report: Report,
    score: Score | None = None,
    ranks: Ranks = ALONE,
) -> Dp3dDenseRCNN:
    """Train until the last step, or from where the run in `out` stopped; the network with the averaged weights.

    Args:
        targets: soft targets of the vertices of each class that is matched.
        report: called with step, losses and seconds every 50 steps.
        score: measures of a network on held-out images, every `config.evaluate_every` steps.
        ranks: this process among those that share each step: every one has a batch of its own, and the gradients are
            averaged. The first one reports, scores and saves.

    Raises:
        FingerprintMismatch: `out` holds a run with other settings or another template.
        TrainingDiverged: a loss or gradient became NaN or infinite; the last saved state is kept.
    """
    state = fresh_state(network.to(config.device), config)
    fingerprint = run_fingerprint(config, kinds, ranks)
    load_state(state, out, fingerprint)
    ranks.wait()
    state.module.train()
    log, started = TrainingLog(out, state.step) if ranks.writes else None, time.perf_counter()

    def on_step(step: int, losses: Losses, row: Losses | None) -> None:
        if log and row:
            report(step, row, time.perf_counter() - started)
        every = config.evaluate_every
        if log and score and every and (step % every == 0 or step == config.steps):
            log.write(step, score(averaged(network, state)))

    fit(
        state,
        gradients_of(network, targets, config, ranks),
        batches(kinds, config, state.step, again=network.spec.crop_side > 0, ranks=ranks),
        fit_config(config),
        out / STATE_FILE,
        lambda: save_state(state, out, fingerprint),
        log=log,
        ranks=ranks,
        on_step=on_step,
    )
    return averaged(network, state)


def gradients_of(
    network: Dp3dDenseRCNN, targets: dict[int, SoftTargets], config: TrainCseConfig, ranks: Ranks = ALONE
) -> Gradients:
    """What a step of the loop does with a batch: the losses of its own process count as one of `ranks.count`."""

    def gradients(batch: Batch, step: int) -> dict[str, torch.Tensor]:
        tune_trunk(network, config.freeze, step >= config.thaw)
        number = config.seed * 1_000_003 + step * ranks.count + ranks.rank
        torch.manual_seed(number)  # detectron2 draws proposals from the global generator
        rng, batch = torch.Generator().manual_seed(number), batch.to(config.device)
        with_boxes = step % config.box_every == 0
        losses = step_losses(network, batch, targets, config, rng, with_boxes=with_boxes)
        losses["total"] = sum(losses.values(), torch.zeros(()))
        shares = {name: value / ranks.count for name, value in losses.items()}
        shares["total"].backward()
        return {name: value.detach() for name, value in shares.items()}

    return gradients


def averaged(network: Dp3dDenseRCNN, state: TrainingState) -> Dp3dDenseRCNN:
    """A copy of the network with the averaged weights, ready for evaluation."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    network.load_state_dict(state.average)
    return network


def save_state(state: TrainingState, out: Path, fingerprint: str) -> None:
    """Write the state, whole or not at all: a killed run keeps the last whole one."""
    write_torch(out / STATE_FILE, {"recipe": fingerprint, "network": state.module.state_dict()} | state.content())


def load_state(state: TrainingState, out: Path, fingerprint: str) -> None:
    """Continue the run in `out`, if there is one.

    Raises:
        FingerprintMismatch: it was started with other settings.
        CheckpointError: the state is damaged.
    """
    path = out / STATE_FILE
    if not path.is_file():
        return
    hint = "train anew in another folder: --out"
    content = read_torch(path, "state of a training", expected="what dp3d-data train-cse saves", hint=hint)
    require_keys(content, STATE_KINDS, "state of a training", path, CheckpointError)
    if content["recipe"] != fingerprint:
        what, got = "this folder holds another training", content["recipe"]
        raise FingerprintMismatch(what, got=got, expected=fingerprint, path=path)
    state.module.load_state_dict(content["network"])
    state.restore(content)
