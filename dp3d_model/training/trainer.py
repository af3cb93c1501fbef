"""Training: draws batches, steps, keeps the state, and can go on exactly where it was stopped."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dp3d_data.config import fingerprint_of, plain, to_toml
from dp3d_data.errors import FingerprintMismatch, NothingToDo
from dp3d_data.files import locked, sweep, write_text
from dp3d_data.fitting import (
    METRICS_FILE,
    SPEED_FILE,
    FitSettings,
    TrainingLog,
    TrainingState,
    copied,
    fit,
    optimiser_step,
)
from dp3d_data.loader import KeypointBatch, Loader, Source
from dp3d_data.ranks import Ranks
from dp3d_data.torch_files import write_torch
from dp3d_model.config import OptimConfig, TrainConfig
from dp3d_model.geometry.perspective import about_the_axis, in_units_of
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.model_file import FORMAT, MODEL_FILE, load_weights, read_config, read_content, save_model
from dp3d_model.lifting.test_time import learn_prior
from dp3d_model.losses.objective import Objective
from dp3d_model.networks.encoder import use_precision
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.augmentation import hide_at_random, mirrored, shake, turned, warp

STATE_FILE, CONFIG_FILE, PICTURE_FILE = "state.pt", "config.toml", "parts.png"
RECALIBRATION = 2048
# An epoch that no training reaches; its batches recalibrate.
_ASIDE = 1 << 32

Progress = Callable[[int, int, dict[str, float]], None]


class Trainer:
    """Trains one model in one folder: config.toml, metrics.jsonl, speed.jsonl, state.pt, and at the end model.pt.

    The numbers of a step depend on the seed and the step alone, so a run that was killed and taken up again gives the
    same losses to the last bit on the CPU. A step may be made in parts (`micro_batch`) and by several processes: the
    losses are those of the whole batch, but batch normalisation sees each part for itself.

    Args:
        source: the instances to learn from; of shards only what a step needs is in memory.
        threads: that read batches ahead; they change no number.
        device: such as "cpu" or "cuda:0".
        ranks: this process among those that train together; only the first writes.
        tensorboard: write event files too.

    Attributes:
        waited: share of the training's time that was spent waiting for batches.

    Raises:
        NothingToDo: fewer than two instances.
        UsageError: a batch that cannot be dealt to the processes.
    """

    def __init__(
        self,
        surface: Surface,
        source: Source,
        config: TrainConfig,
        folder: str | Path,
        *,
        threads: int = 1,
        device: str = "cpu",
        ranks: Ranks | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.instances = sum(source.sizes)
        if self.instances < 2:
            raise NothingToDo("too few instances to train on", got=self.instances, expected="at least 2")
        self.surface, self.config, self.folder, self.source = surface, config, Path(folder), source
        self.device, self.ranks = torch.device(device), ranks or Ranks()
        self.threads, self.tensorboard = threads, tensorboard
        self.fingerprint = fingerprint_of(config, surface.content_hash, source.identity)
        self.batch = min(config.optim.batch, self.instances)
        self.loader = self._loader(self.ranks)
        self.steps = (config.optim.steps or config.optim.epochs * len(self.loader)) if config.model.network else 0
        self.waited = 0.0
        torch.manual_seed(config.run.seed)
        self.objective = Objective(surface, config)
        self.objective.to(self.device)
        use_precision(self.objective, config.optim.precision)
        scaler = torch.amp.GradScaler(self.device.type, enabled=config.optim.precision == "float16")
        optimiser, average = make_optimiser(self.objective, config.optim), self._fresh_average()
        self.state = TrainingState(self.objective, optimiser, self.objective.lifter, average, scaler)
        self.fit_config = FitSettings(
            steps=self.steps,
            learning_rate=lambda step: learning_rate(config.optim, step, self.steps),
            grad_clip=config.optim.grad_clip,
            ema_decay=config.optim.ema_decay,
            divergence_factor=config.optim.divergence_factor,
            save_every=config.run.save_every,
            log_every=config.run.log_every,
        )

    def _fresh_average(self) -> dict[str, Tensor]:
        return copied(self.objective.lifter.named_parameters()) if self.config.optim.ema_decay else {}

    def start_from(self, lifter: Lifter) -> None:
        """Begin with the weights of another model of the same shape, before any step.

        Raises:
            CheckpointError: its settings shape another network.
        """
        load_weights(self.objective.lifter, lifter.state_dict(), "--init")
        sums = [value.cpu().double().sum().item() for value in lifter.state_dict().values()]
        self.fingerprint = fingerprint_of(self.fingerprint, sums)
        self.state.average = self._fresh_average()

    def _loader(self, ranks: Ranks) -> Loader:
        seed, shuffled = self.config.run.seed, self.config.data.shuffle_buffer
        order: dict[str, Any] = {"seed": seed, "shuffle_buffer": shuffled, "drop_last": True, "threads": self.threads}
        order |= {"fields": fields_of(self.config), "batch_size": ranks.share(self.batch)}
        return Loader(self.source, rank=ranks.rank, ranks=ranks.count, **order)

    def resume(self, *, other_settings: bool = False) -> bool:
        """Take up the state in the folder; False where there is none.

        Args:
            other_settings: accept a state of other settings, as long as the network has the same shape.

        Raises:
            FingerprintMismatch: the state belongs to other settings.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        state = read_content(path, "state")
        if state["recipe"] != self.fingerprint:
            other = read_config(state["config"], path) if other_settings else None
            if other is None or (other.model, other.run.seed) != (self.config.model, self.config.run.seed):
                what, got = "this folder holds a run of other settings", state["recipe"]
                raise FingerprintMismatch(what, got=got, expected=self.fingerprint, path=path)
        load_weights(self.objective, state["objective"], path)
        self.state.restore(state)
        return True

    def finished(self) -> bool:
        """Whether the folder already holds this very model, trained to the end."""
        path = self.folder / MODEL_FILE
        return path.is_file() and read_content(path, "model")["recipe"] == self.fingerprint

    def discard(self) -> None:
        """Remove the state and the model of an earlier run.

        Raises:
            FolderBusy: another process trains here.
        """
        with self._held():
            for name in (STATE_FILE, MODEL_FILE, METRICS_FILE, SPEED_FILE, PICTURE_FILE) if self.ranks.writes else ():
                (self.folder / name).unlink(missing_ok=True)
        self.ranks.wait()

    def run(self, progress: Progress | None = None) -> Lifter:
        """Train to the end and write the model; at once where nothing is to be learned.

        Raises:
            FolderBusy: another process trains here.
            TrainingDiverged: a loss or gradient became NaN or infinite, or a loss exploded; state.pt holds the last
                good state.
        """

        def on_step(step: int, losses: dict[str, float], _: dict[str, float] | None) -> None:
            if progress:
                progress(step, self.steps, losses)

        with self._held():
            self.objective.train()
            log = None
            if self.ranks.writes:
                sweep(self.folder)
                (self.folder / PICTURE_FILE).unlink(missing_ok=True)
                write_text(self.folder / CONFIG_FILE, to_toml(self.config))
                log = TrainingLog(self.folder, self.state.step, tensorboard=self.tensorboard)
            batches = self.loader.from_step(self.state.step)
            self.waited = fit(
                self.state,
                self._gradients,
                batches,
                self.fit_config,
                self.folder / STATE_FILE,
                self.save_state,
                log=log,
                ranks=self.ranks,
                on_step=on_step,
            )
            batches.close()
            lifter = self.averaged_lifter()
            if log:
                log.close()
                trained = {"steps": self.state.step, "instances": self.instances}
                save_model(lifter, self.folder / MODEL_FILE, self.fingerprint, trained)
            self.ranks.wait()
            return lifter

    def _held(self) -> AbstractContextManager[None]:
        """The folder, for the process that writes."""
        return locked(self.folder) if self.ranks.writes else nullcontext()

    def train_step(self, batch: KeypointBatch) -> dict[str, float]:
        """One step of the optimiser; its losses by name, those of the whole batch."""
        return optimiser_step(self.state, self._gradients, batch, self.fit_config, self.folder / STATE_FILE, self.ranks)

    def _gradients(self, batch: KeypointBatch, step: int) -> dict[str, Tensor]:
        """The gradients of the batch's losses, made in parts that fit the memory and draw the same random numbers.

        Returns:
            This process's share of each loss of the global batch.
        """
        seed = np.random.SeedSequence([self.config.run.seed, 1, step]).generate_state(1, np.uint64)[0]
        generator, count = torch.Generator().manual_seed(int(seed) & (2**63 - 1)), len(batch)
        inputs, targets = self.augmented(batch, generator)
        state, sums = generator.get_state(), dict[str, Tensor]()
        parts = math.ceil(count / (self.config.optim.micro_batch or count))
        first, total = self.ranks.rank * count, self.ranks.count * count
        shown = self.ranks.sum(targets.visible.sum(0))
        for rows in torch.arange(count).tensor_split(parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            share = len(rows) / total
            pair, place = self._normalised(inputs.take(part), targets.take(part)), first + part.start
            known = shown if share < 1.0 else None
            losses = self.objective(*pair, generator.set_state(state), place, total, known)
            self.state.scaler.scale(losses["total"] * share).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + share * value.detach()
        return sums

    def augmented(self, batch: KeypointBatch, generator: torch.Generator) -> tuple[KeypointBatch, KeypointBatch]:
        """Inputs of the network and targets of its answer, on the device: keypoints, or the truth where known.

        Every process draws for the global batch, so that their number changes nothing.
        """
        config, symmetry = self.config, self.surface.symmetry
        local = slice(self.ranks.rank * len(batch), (self.ranks.rank + 1) * len(batch))
        targets = self._global(batch)
        if config.data.rotation:
            angles = config.data.rotation * (2.0 * torch.rand(len(targets), generator=generator) - 1.0)
            targets = turned(targets, torch.deg2rad(angles))
        if config.data.mirror and symmetry is not None:
            targets = mirrored(targets, symmetry, torch.rand(len(targets), generator=generator) < 0.5)
        inputs = replace(targets, true_vertices=None, true_scale=None)
        if config.data.keypoint_dropout:
            inputs = hide_at_random(inputs, config.data.keypoint_dropout, generator)
        if config.data.warp:
            inputs = warp(inputs, config.data.warp, self.surface.functions, generator)
        if config.data.keypoint_jitter:
            inputs = shake(inputs, config.data.keypoint_jitter, generator)
        if targets.true_vertices is not None:
            untold = ~targets.true_vertices.isfinite().all(2).all(1, keepdim=True)
            targets = replace(targets, visible=targets.visible & untold)
        return inputs.take(local).to(self.device), targets.take(local).to(self.device)

    def _global(self, batch: KeypointBatch) -> KeypointBatch:
        """What the settings use of the local batch at its place in the global one, whose other instances are empty.

        In square pixels about the principal point, where it can be turned and mirrored.
        """
        unused: dict[str, Any] = {} if self.config.loss.truth else {"true_vertices": None, "true_scale": None}
        unused |= {} if self.config.model.keypoint_weights else {"weights": None}
        batch, ranks = about_the_axis(replace(batch, **unused)), self.ranks
        if ranks.count == 1:
            return batch
        empty = replace(batch, keypoints=torch.zeros_like(batch.keypoints), visible=torch.zeros_like(batch.visible))
        return KeypointBatch.joined([batch if rank == ranks.rank else empty for rank in range(ranks.count)])

    def _normalised(self, inputs: KeypointBatch, targets: KeypointBatch) -> tuple[KeypointBatch, KeypointBatch]:
        """Both in the units of the inputs."""
        inputs = self.objective.lifter.normalise(inputs)
        data = self.config.data
        same = not (data.keypoint_dropout or data.keypoint_jitter or data.warp or targets.true_vertices is not None)
        return inputs, inputs if same else in_units_of(inputs, targets)

    def averaged_lifter(self) -> Lifter:
        """Phi with the averaged weights and batch statistics recalibrated for them, on the CPU, for evaluation."""
        lifter = copy.deepcopy(self.objective.lifter)
        lifter.load_state_dict(self.state.average, strict=False)
        use_precision(lifter, "float32")
        loader = self._loader(Ranks())
        count = max(1, min(self.instances, RECALIBRATION) // loader.order.batch)
        drawn = loader.from_step(_ASIDE * len(loader))
        batches = [cast(KeypointBatch, batch).to(self.device) for batch in islice(drawn, count)]
        drawn.close()
        update_bn(map(lifter.normalise, batches), lifter)
        lifter.eval()
        if self.config.model.network and self.config.model.prior_directions:
            with torch.no_grad():
                learn_prior(lifter, torch.cat([lifter.numbers(lifter.normalise(batch)) for batch in batches]))
        return lifter.cpu()

    def save_state(self) -> None:
        """Write everything that resume needs."""
        content = {"format": FORMAT, "recipe": self.fingerprint, "config": plain(self.config)}
        content |= {"objective": self.objective.state_dict()} | self.state.content()
        write_torch(self.folder / STATE_FILE, content)


def fields_of(config: TrainConfig) -> tuple[str, ...]:
    """What a training needs of its instances beside keypoints, as `loader.FIELDS` names it."""
    model = config.model
    wanted = {
        "intrinsics": model.projection == "perspective",
        "truth": config.loss.truth > 0,
        "weights": model.keypoint_weights,
    }
    return tuple(name for name, needed in wanted.items() if needed)


def make_optimiser(module: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """SGD with momentum (supplement) or AdamW; the rigid template has nothing to learn, and an optimiser of nothing."""
    parameters = list(module.parameters()) or [nn.Parameter(torch.zeros(0))]
    common: dict[str, Any] = {"lr": optim.learning_rate, "weight_decay": optim.weight_decay}
    if optim.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=optim.momentum, **common)
    return torch.optim.AdamW(parameters, **common)


def learning_rate(optim: OptimConfig, step: int, steps: int) -> float:
    """The learning rate: linear warm-up, then a cosine to 0, or a tenth after 80 % of the steps (supplement)."""
    warm = min(1.0, (step + 1) / (optim.warmup + 1))
    if optim.schedule == "step":
        shape = 0.1 if step >= 0.8 * steps else 1.0
    else:
        shape = 0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1))
    return optim.learning_rate * warm * shape
