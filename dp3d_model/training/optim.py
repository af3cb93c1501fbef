"""Optimiser, learning rate over the steps, and the running average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dp3d_model.config import TrainConfig


def make_optimiser(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum (supplement) or AdamW; the rigid template has nothing to learn, and an optimiser of nothing."""
    parameters = list(module.parameters()) or [nn.Parameter(torch.zeros(0))]
    if config.optim.optimiser == "sgd":
        optim = config.optim
        return torch.optim.SGD(
            parameters, lr=optim.learning_rate, momentum=optim.momentum, weight_decay=optim.weight_decay
        )
    return torch.optim.AdamW(parameters, lr=config.optim.learning_rate, weight_decay=config.optim.weight_decay)


def make_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, which float16 needs so that small gradients do not vanish; it does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.optim.precision == "float16")


def clip_gradients(module: nn.Module, largest: float) -> float:
    """Shorten the gradient to the largest norm, 0 for any; its norm before."""
    return float(nn.utils.clip_grad_norm_(module.parameters(), largest or math.inf))


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up, then a cosine to 0, or a tenth after 80 % of the steps
    (supplement)."""
    warm = min(1.0, (step + 1) / (config.optim.warmup + 1))
    if config.optim.schedule == "step":
        shape = 0.1 if step >= 0.8 * steps else 1.0
    else:
        shape = 0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1))
    return config.optim.learning_rate * warm * shape


def update_average(average: dict[str, Tensor], module: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the parameters towards their present values; short memory in the first steps."""
    present = dict(module.named_parameters())
    keep = min(decay, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for name, value in average.items():
            value.lerp_(present[name], 1.0 - keep)


def start_average(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters to average from."""
    return {name: value.detach().clone() for name, value in module.named_parameters()}
