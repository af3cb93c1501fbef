"""Training: draws batches, steps, keeps the state, and can go on exactly where it was stopped."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp3d_data.config import fingerprint, plain, to_toml
from dp3d_data.errors import NothingToDo, RecipeMismatch, TrainingDiverged
from dp3d_data.files import locked, sweep, write_text
from dp3d_data.loader import Batch, Loader, Source
from dp3d_data.ranks import Ranks
from dp3d_data.torch_files import write_torch
from dp3d_model.config import TrainConfig, model_fields
from dp3d_model.geometry.perspective import about_the_axis
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.model_file import FORMAT, MODEL_FILE, load_weights, read_content, save_model
from dp3d_model.lifting.test_time import learn_prior
from dp3d_model.losses.objective import Objective, Whole
from dp3d_model.networks.lifter import Lifter
from dp3d_model.networks.mlp import recalibrate, use_precision
from dp3d_model.networks.observation import Observation
from dp3d_model.training.augmentation import angles, half, hide_at_random, mirrored, shake, turned, warp
from dp3d_model.training.log import METRICS_FILE, SPEED_FILE, Clock, TrainingLog
from dp3d_model.training.optim import clip_gradients, learning_rate, make_optimiser, make_scaler, start_average, update_average
from dp3d_model.training.targets import Seen, fields_of, numbers_of, seen_of

STATE_FILE, CONFIG_FILE, PICTURE_FILE = "state.pt", "config.toml", "parts.png"
RECALIBRATION = 2048
# An epoch that no training reaches; its batches recalibrate.
_ASIDE = 1 << 32
# The first steps, whose largest loss is what a loss may be; and the least that counts as exploded, template units.
FIRST_STEPS, LEAST_EXPLOSION = 10, 10.0

Progress = Callable[[int, int, dict[str, float]], None]


class Trainer:
    """Trains one model in one folder: config.toml, metrics.jsonl, speed.jsonl, state.pt while it runs, model.pt at the end.

    The numbers of a step depend on the seed and the step alone, so a run that was killed and taken up again gives the same
    losses to the last bit on the CPU. A step may be made in parts (`micro_batch`) and by several processes: the losses are
    those of the whole batch, but batch normalisation sees each part for itself.

    Args:
        source: the instances to learn from; of a ShardSource only what a step needs is in memory.
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
        self.device, self.ranks, self.threads, self.tensorboard = torch.device(device), ranks or Ranks(), threads, tensorboard
        self.recipe = fingerprint(config, surface.content_hash, source.identity)
        self.batch = min(config.batch, self.instances)
        self.loader = self._loader(self.ranks)
        self.steps = (config.steps or config.epochs * len(self.loader)) if config.network else 0
        self.waited = 0.0
        torch.manual_seed(config.seed)
        self.objective = Objective(surface, config)
        self.objective.to(self.device)
        use_precision(self.objective, config.precision)
        self.optimiser = make_optimiser(self.objective, config)
        self.scaler = make_scaler(config, self.device)
        self.average = start_average(self.objective.lifter) if config.average else {}
        self.step, self.usual = 0, 0.0

    def start_from(self, lifter: Lifter) -> None:
        """Begin with the weights of another model of the same shape, before any step.

        Raises:
            WeightsMismatch: its settings shape another network.
        """
        load_weights(self.objective.lifter, lifter.state_dict(), "--init")
        self.recipe = fingerprint(self.recipe, [value.cpu().double().sum().item() for value in lifter.state_dict().values()])
        self.average = start_average(self.objective.lifter) if self.config.average else {}

    def _loader(self, ranks: Ranks) -> Loader:
        order: dict[str, Any] = {"seed": self.config.seed, "window": self.config.window, "drop_last": True, "threads": self.threads}
        fields = fields_of(self.config)
        return Loader(self.source, fields=fields, batch_size=ranks.share(self.batch), rank=ranks.rank, ranks=ranks.count, **order)

    def resume(self, *, other_settings: bool = False) -> bool:
        """Take up the state in the folder; False where there is none.

        Args:
            other_settings: accept a state of another recipe, as long as the network has the same shape.

        Raises:
            RecipeMismatch: the state belongs to another recipe.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        state = read_content(path, "state")
        if state["recipe"] != self.recipe:
            same_shape = all(state["config"].get(name) == plain(getattr(self.config, name)) for name in model_fields())
            if not (other_settings and same_shape):
                raise RecipeMismatch("this folder holds a run of another recipe", got=state["recipe"], expected=self.recipe, path=path)
        load_weights(self.objective, state["objective"], path)
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.step, self.usual = state["step"], state.get("usual", 0.0)
        return True

    def finished(self) -> bool:
        """Whether the folder already holds this very model, trained to the end."""
        path = self.folder / MODEL_FILE
        return path.is_file() and read_content(path, "model")["recipe"] == self.recipe

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
            TrainingDiverged: a loss or gradient became NaN or infinite, or a loss exploded; state.pt holds the last good state.
        """
        with self._held():
            return self._run(progress)

    def _held(self) -> AbstractContextManager[None]:
        """The folder, for the process that writes."""
        return locked(self.folder) if self.ranks.writes else nullcontext()

    def _run(self, progress: Progress | None) -> Lifter:
        if self.ranks.writes:
            sweep(self.folder)
        log = self._begin()
        batches, clock = self.loader.from_step(self.step), Clock()
        while self.step < self.steps:
            batch = clock.waiting(batches)
            losses = self.train_step(batch)
            clock.stepped()
            if log and (self.step % self.config.log_every == 0 or self.step == self.steps):
                log.write(self.step, {"learning_rate": self.optimiser.param_groups[0]["lr"]} | losses, clock.lap())
            if self.step % self.config.save_every == 0 or self.step == self.steps:
                self.save_state()
            if progress:
                progress(self.step, self.steps, losses)
        batches.close()
        self.waited = clock.share()
        lifter = self.averaged_lifter()
        if log:
            log.close()
            save_model(lifter, self.folder / MODEL_FILE, self.recipe, {"steps": self.step, "instances": self.instances})
        self.ranks.wait()
        return lifter

    def _begin(self) -> TrainingLog | None:
        """The folder made ready, by the process that writes."""
        self.objective.train()
        if not self.ranks.writes:
            return None
        (self.folder / PICTURE_FILE).unlink(missing_ok=True)
        write_text(self.folder / CONFIG_FILE, to_toml(self.config))
        log = TrainingLog(self.folder, self.step, tensorboard=self.tensorboard)
        if self.step == 0:
            self.save_state()
        return log

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; its losses by name, those of the whole batch."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._gradients(batch)
        self.ranks.sum_gradients(self.objective.parameters())
        self.scaler.unscale_(self.optimiser)
        norm = clip_gradients(self.objective, self.config.clip)
        self._check(losses, norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average:
            update_average(self.average, self.objective.lifter, self.config.average, self.step)
        self.step += 1
        return losses

    def _gradients(self, batch: Batch) -> dict[str, float]:
        """The gradients of the batch's losses, made in parts that fit the memory; every part draws the same random numbers."""
        generator, count = self._generator(1, self.step), len(batch.index)
        read, known = self.augmented(batch, generator)
        state, sums = generator.get_state(), dict[str, Tensor]()
        parts = math.ceil(count / (self.config.micro_batch or count))
        whole = Whole(self.ranks.rank * count, self.ranks.count * count, self.ranks.sum(known.visible.sum(0)))
        for rows in torch.arange(count).tensor_split(parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            seen = self._observed(read.at(part), known.at(part))
            share = len(rows) / whole.count
            losses = self.objective(*seen, generator.set_state(state), None if share == 1.0 else whole.after(part.start))
            self.scaler.scale(losses["total"] * share).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + share * value.detach()
        return dict(zip(sums, self.ranks.sum(torch.stack(list(sums.values()))).tolist(), strict=True))

    def augmented(self, batch: Batch, generator: torch.Generator) -> tuple[Seen, Seen]:
        """What the network reads of a batch, and what its answer is compared with, on the device: keypoints, or the truth where known.

        Every process draws for the whole batch, so that their number changes nothing.
        """
        config, given = self.config, seen_of(batch)
        mine = slice(self.ranks.rank * len(given.visible), (self.ranks.rank + 1) * len(given.visible))
        centred, cameras = given.keypoints, given.cameras
        if cameras is not None:
            centred, cameras = about_the_axis(centred, cameras)
        truth = given.truth if config.truth_weight else None
        weights = given.weights if config.keypoint_weights else None
        keypoints, visible = (self._among_all(values, mine) for values in (centred, given.visible))
        if config.turn:
            angle = angles(len(visible), config.turn, generator)
            keypoints = turned(keypoints, angle)
            truth = None if truth is None else turned(truth, angle[mine])
        if config.mirror and self.surface.symmetry is not None:
            chosen, symmetry = half(len(visible), generator), self.surface.symmetry
            truth = None if truth is None else mirrored(truth, given.visible, symmetry, chosen[mine])[0]
            weights = None if weights is None else torch.where(chosen[mine, None], weights[:, symmetry], weights)
            keypoints, visible = mirrored(keypoints, visible, symmetry, chosen)
        own = visible[mine] if truth is None else visible[mine] & ~truth.isfinite().all(2).all(1, keepdim=True)
        known = Seen(keypoints[mine], own, cameras, truth, None if truth is None else given.true_scale).to(self.device)
        if config.hide:
            visible = hide_at_random(visible, config.hide, generator)
        if config.warp:
            keypoints = warp(keypoints, visible, config.warp, self.surface.functions, generator)
        if config.shake:
            keypoints = shake(keypoints, visible, config.shake, generator)
        return Seen(keypoints[mine], visible[mine], cameras, weights=weights).to(self.device), known

    def _among_all(self, values: Tensor, mine: slice) -> Tensor:
        """This process's rows in the place that they have in the whole batch."""
        if self.ranks.count == 1:
            return values
        whole = values.new_zeros(self.ranks.count * len(values), *values.shape[1:])
        whole[mine] = values
        return whole

    def _observed(self, read: Seen, known: Seen) -> tuple[Observation, Observation]:
        """What the network is shown, and what its answer is compared with, in the same units."""
        shown = self.objective.lifter.observe(read.keypoints, read.visible, read.cameras, read.weights)
        same = not (self.config.hide or self.config.shake or self.config.warp or known.truth is not None)
        if same:
            return shown, shown
        seen = shown.with_keypoints(known.keypoints, known.visible, known.cameras)
        return shown, seen if known.truth is None or known.true_scale is None else seen.with_truth(known.truth, known.true_scale)

    def _check(self, losses: dict[str, float], norm: float) -> None:
        """Stop before a step that would spoil the weights."""
        total, path = losses["total"], self.folder / STATE_FILE
        if not math.isfinite(total):
            raise TrainingDiverged(f"the loss is no longer finite at step {self.step}", got=losses, path=path)
        if not math.isfinite(norm) and (not self.scaler.is_enabled() or self.scaler.get_scale() < 1.0):
            raise TrainingDiverged(f"the gradient is no longer finite at step {self.step}", got=losses, path=path)
        if self.step < FIRST_STEPS:
            self.usual = max(self.usual, total)
        limit = max(self.config.explosion * self.usual, LEAST_EXPLOSION)
        if self.config.explosion and total > limit:
            raise TrainingDiverged(f"the loss exploded at step {self.step}", got=losses, expected=f"a total below {limit:.3g}", path=path)

    def averaged_lifter(self) -> Lifter:
        """Phi with the averaged weights and with batch statistics recalibrated for them, on the CPU, ready for evaluation."""
        lifter = copy.deepcopy(self.objective.lifter)
        lifter.load_state_dict(self.average, strict=False)
        use_precision(lifter, "float32")
        loader = self._loader(Ranks())
        count = max(1, min(self.instances, RECALIBRATION) // loader.order.batch)
        drawn = loader.from_step(_ASIDE * len(loader))
        batches = [seen_of(one).to(self.device) for one in islice(drawn, count)]
        drawn.close()
        recalibrate(lifter, lambda seen: numbers_of(lifter, seen), batches)
        if self.config.network and self.config.prior_directions:
            with torch.no_grad():
                learn_prior(lifter, torch.cat([numbers_of(lifter, seen) for seen in batches]))
        return lifter.cpu()

    def save_state(self) -> None:
        """Write everything that resume needs."""
        if not self.ranks.writes:
            return
        state = {
            "format": FORMAT,
            "recipe": self.recipe,
            "config": plain(self.config),
            "step": self.step,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average,
            "usual": self.usual,
        }
        write_torch(self.folder / STATE_FILE, state)

    def _generator(self, stream: int, index: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.config.seed, stream, index]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) & (2**63 - 1))
