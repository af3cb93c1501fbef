"""What the network says of one animal; specks of its mask cut off, and each animal of a photograph once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import label

from dp3d_data.records import Box

SPECK = 0.02
SAME_MASK, GRID = 0.6, 96  # overlap of two masks of one animal; cells a side that masks are compared on
WITHIN = 0.8  # share of the smaller mask that lies in the other one, where it is a piece of the same animal


@dataclass(frozen=True)
class RawDetection:
    """One object and what the network says of its pixels.

    Attributes:
        box: xyxy in pixels of the photograph.
        score: 0..1; 1 where the box was given.
        class_id: class of the network.
        coarse_segm: [C, S, S] scores, background first.
        embedding: [D, S, S], CSE networks only.
        charts: fine_segm, u, v and confidences [., S, S], chart networks only.
        region: what the maps cover, xyxy in pixels of the photograph: the box, or more of the image around it.
    """

    box: Box
    score: float
    class_id: int
    coarse_segm: Float[np.ndarray, "c side side"]
    embedding: Float[np.ndarray, "d side side"] | None = None
    charts: dict[str, Float[np.ndarray, "c side side"]] = field(default_factory=dict)
    region: Box | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", self.region or self.box)


def tightened(detection: RawDetection) -> RawDetection:
    """The detection without the specks of its mask, and with the box around the rest (ours).

    A second look finds boxes better than the first one. Parts that hang together and hold less than a fiftieth of the
    largest one's cells are specks; without a mask all stays.
    """
    mask = detection.coarse_segm[1] > detection.coarse_segm[0]
    if not mask.any():
        return detection
    parts = label(mask, np.ones((3, 3)))[0]
    sizes = np.bincount(parts[mask])
    kept = mask & (sizes >= SPECK * sizes.max())[parts]
    x0, y0, x1, y1 = detection.region or detection.box
    edges = []
    for axis, start, end in ((0, x0, x1), (1, y0, y1)):
        filled = np.flatnonzero(kept.any(axis=axis))
        step = (end - start) / mask.shape[1 - axis]
        edges.append((start + filled[0] * step, start + (filled[-1] + 1) * step))
    coarse = np.where(mask & ~kept, detection.coarse_segm[::-1], detection.coarse_segm)
    return replace(detection, box=(edges[0][0], edges[1][0], edges[0][1], edges[1][1]), coarse_segm=coarse)


def once(detections: list[RawDetection], within: float = 1.0) -> list[RawDetection]:
    """Detections without those that show an animal again: whose mask overlaps that of a better one (ours).

    A second look at the box of a head finds the whole animal again; boxes alone do not tell that from two animals.

    Args:
        within: one whose mask lies in that of a better one, or around it, by more than this share of the smaller one is
            left out too.
    """
    kept: dict[int, Bool[np.ndarray, "grid grid"]] = {}
    corners = np.array([one.region for one in detections]).reshape(-1, 4)
    low, high = corners[:, :2].min(axis=0, initial=np.inf), corners[:, 2:].max(axis=0, initial=0)
    for place in sorted(range(len(detections)), key=lambda place: -detections[place].score):
        mask = _coarse_mask(detections[place], low, high)
        for other in kept.values():
            common = (mask & other).sum()
            if common > SAME_MASK * (mask | other).sum() or common > within * min(mask.sum(), other.sum()):
                break
        else:
            kept[place] = mask
    return [detections[place] for place in sorted(kept)]


def _coarse_mask(
    detection: RawDetection, low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"]
) -> Bool[np.ndarray, "grid grid"]:
    """The mask on a grid over a part of the photograph; what lies outside the detection's region is none of it."""
    x0, y0, x1, y1 = detection.region or detection.box
    side = detection.coarse_segm.shape[-1]
    share = (np.arange(GRID) + 0.5) / GRID
    columns = (low[0] + share * (high[0] - low[0]) - x0) / max(x1 - x0, 1e-6) * side
    rows = (low[1] + share * (high[1] - low[1]) - y0) / max(y1 - y0, 1e-6) * side
    inside = ((rows >= 0) & (rows < side))[:, None] & ((columns >= 0) & (columns < side))
    object_wins = detection.coarse_segm[1] > detection.coarse_segm[0]
    picked = object_wins[np.clip(rows, 0, side - 1).astype(int)][:, np.clip(columns, 0, side - 1).astype(int)]
    return picked & inside
