"""Photographs as a network wants them, and its last pass, which everybody who looks at the same photographs shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

Image = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Prepared:
    """A photograph at the network's size; its own pixels are no longer needed.

    Attributes:
        pixels: [h, w, 3] BGR, 0..255.
        height, width: of the photograph, pixels.
        shape: rows and columns with the padding that the backbone asks for; photographs of one shape can share a pass.
        source: [H, W, 3] BGR, what crops are cut from; None where the network takes no second look.
    """

    pixels: Image
    height: int
    width: int
    shape: tuple[int, int]
    source: Image | None = None

    @property
    def scale(self) -> Float[np.ndarray, "4"]:
        """Pixels of the network's input for one of the photograph: x, y, x, y."""
        rows, columns = self.pixels.shape[:2]
        return np.array([columns / self.width, rows / self.height] * 2, dtype=np.float32)


@dataclass
class Pass:
    """What the whole network says of photographs of one shape, before a category is asked for.

    Attributes:
        photographs: in order.
        score: boxes below it are not looked at.
        inputs: pixels of all of them, as the backbone takes them.
        features: level -> what the backbone says.
        detected: what the box branch says of each; None until it is asked.
    """

    photographs: Sequence[Prepared]
    score: float
    inputs: torch.Tensor
    features: dict[str, torch.Tensor]
    detected: list[Any] | None = None


class LastPass:
    """Holds one pass, so that who asks for one category after the other of the same photographs needs it once."""

    def __init__(self) -> None:
        self._held: Pass | None = None

    def of(self, photographs: Sequence[Prepared], score: float, make: Callable[[], Pass]) -> Pass:
        """The pass that is held where it is of these very photographs, else a new one, which is held."""
        held = self._held
        if held is None or score != held.score or list(map(id, photographs)) != list(map(id, held.photographs)):
            self._held = held = None  # two passes would need twice the memory
            self._held = held = make()
        return held
