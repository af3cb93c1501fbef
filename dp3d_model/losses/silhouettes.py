"""Masks in template units: how far a point lies outside of one, and how far its pixels lie from points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample

from dp3d_data.records import RunLength
from dp3d_data.run_lengths import mask_pixels

GRID, PIXELS = 96, 256
# Side of the square that is looked at, in sides of the mask's box.
WINDOW = 1.8


@dataclass(frozen=True)
class Silhouettes:
    """Masks of N instances, in the units and about the origin of an observation.

    Attributes:
        distance: [N, G, G] of the cells of a square to the mask; 0 inside it and outside of the image, where nobody
            knows.
        corner: [N, 2] top left corner of the square.
        side: [N] of the square.
        pixels: [N, P, 2] well-spread points of the mask.
        known: [N] whether there is a mask.
    """

    distance: Float[Tensor, "n g g"]
    corner: Float[Tensor, "n 2"]
    side: Float[Tensor, "n"]
    pixels: Float[Tensor, "n p 2"]
    known: Bool[Tensor, "n"]

    def outside(self, points: Float[Tensor, "n v 2"]) -> Float[Tensor, "n v"]:
        """The distance of points to the mask; 0 inside, beyond the square as at its edge."""
        places = 2.0 * (points - self.corner[:, None]) / self.side[:, None, None] - 1.0
        return grid_sample(self.distance[:, None], places[:, None], padding_mode="border", align_corners=False)[:, 0, 0]

    def uncovered(self, points: Float[Tensor, "n v 2"]) -> Float[Tensor, "n p"]:
        """The distance of the mask's points to the nearest of these."""
        return torch.cdist(self.pixels, points).amin(2)


def silhouettes_of(
    masks: Sequence[RunLength | None], centre: Float[Tensor, "n 2"], scale: Float[Tensor, "n"]
) -> Silhouettes | None:
    """Masks in units of `scale` pixels about `centre` (image pixels), on its device; None where no instance has one.

    Raises:
        InputCorrupt: runs that do not fill their image.
    """
    if not any(masks):
        return None
    parts = [
        _one(mask, *pair)
        for mask, *pair in zip(masks, centre.double().cpu().numpy(), scale.double().cpu().numpy(), strict=True)
    ]
    distance, corner, side, pixels = (
        torch.tensor(np.stack(part), dtype=torch.float32) for part in zip(*parts, strict=True)
    )
    found = Silhouettes(distance, corner, side, pixels, torch.tensor([mask is not None for mask in masks]))
    return Silhouettes(**{name: values.to(centre.device) for name, values in vars(found).items()})


def _one(runs: RunLength | None, centre: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Distances, corner, side and pixels of one mask; zeros where there is none."""
    mask = np.zeros((1, 1), dtype=bool) if runs is None else mask_pixels(runs)
    if not mask.any():
        return np.zeros((GRID, GRID)), np.zeros(2), 1.0, np.zeros((PIXELS, 2))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
    side = WINDOW * float((high - low).max())
    corner = (low + high - side) / 2
    lines = (np.arange(GRID) + 0.5) * side / GRID
    x, y = (np.floor(corner[axis] + lines).astype(int) for axis in (0, 1))
    inside = ((y >= 0) & (y < mask.shape[0]))[:, None] & ((x >= 0) & (x < mask.shape[1]))
    cells = mask[np.clip(y, 0, mask.shape[0] - 1)[:, None], np.clip(x, 0, mask.shape[1] - 1)] & inside
    if not cells.any():
        return np.zeros((GRID, GRID)), np.zeros(2), 1.0, np.zeros((PIXELS, 2))
    distance = distance_transform_edt(~cells) * (side / GRID) * inside
    found = np.argwhere(cells)[:, ::-1]
    spread = found[np.linspace(0, len(found) - 1, PIXELS).round().astype(int)]
    pixels = corner + (spread + 0.5) * side / GRID
    return distance / scale, (corner - centre) / scale, side / scale, (pixels - centre) / scale
