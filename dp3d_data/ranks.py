"""Processes that train one model together, as torchrun starts them: each does its part of every step."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from dp3d_data.device import require_device
from dp3d_data.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training.

    Attributes:
        rank, count: which one of how many.
    """

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the files; the others only compute."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes its sum over all processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = self.sum(torch.cat([gradient.ravel() for gradient in gradients]))
        for gradient, part in zip(gradients, total.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.reshape(gradient.shape))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def share(self, batch: int) -> int:
        """Instances of a batch that fall to each process.

        Raises:
            UsageError: the batch cannot be dealt evenly.
        """
        if batch % self.count or batch // self.count < 2:
            hint = f"give a batch that is a multiple of {self.count}, at least {2 * self.count}: --batch"
            raise UsageError(f"a batch of {batch} cannot be dealt to {self.count} processes", got=batch, hint=hint)
        return batch // self.count


ALONE = Ranks()


def join_ranks(device: str) -> tuple[Ranks, str]:
    """Join the processes that torchrun started, over NCCL on GPUs and gloo else; alone without torchrun.

    Returns:
        This process's place, and its device: "cuda" becomes the GPU of its own.

    Raises:
        UsageError: no such device here.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if device == "cuda" and not alone:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    require_device(device)
    if alone:
        return Ranks(), device
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Ranks(distributed.get_rank(), distributed.get_world_size()), device


def leave_ranks() -> None:
    """End what join_ranks began."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
