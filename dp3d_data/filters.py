"""Keep an instance, or leave it out for a named reason and a value; and the tally that nothing disappears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from dp3d_data.config import rare, setting
from dp3d_data.errors import Unaccounted

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """What an instance must satisfy."""

    min_score: float = rare(
        0.0, "Lowest score of a detection; extract has its own.", group="Filters", minimum=0, maximum=1
    )
    min_visible_vertices: int = setting(50, "Fewest visible vertices.", group="Filters", minimum=0)
    min_visible_area: float = setting(
        0.1,
        "Least visible share of the template's area, where visibility comes from a known shape; exactly so much stays.",
        group="Filters",
        minimum=0,
        maximum=1,
    )
    max_edges: int = rare(2, "Most edges of the image that the box may touch.", group="Filters", minimum=0, maximum=4)
    max_spread: float = rare(
        0.1,
        "Largest mean spread of a vertex's pixels, as a share of the box's longer side.",
        group="Filters",
        minimum=0,
    )
    min_cycle: float = rare(0.0, "Lowest mean cycle weight, where there is one.", group="Filters", minimum=0, maximum=1)
    near_duplicates: float = setting(
        0.0,
        "Instances whose keypoints, up to shift, scale and turn, lie nearer to those of an earlier one; 0: none. 0.1 is"
        " one photograph again, or the next of a burst.",
        group="Filters",
        minimum=0,
        maximum=1,
    )
    min_pixels: int = rare(1, "Vertices with fewer pixels become invisible.", group="Filters of vertices", minimum=1)
    max_vertex_spread: float = rare(
        0.0,
        "Vertices whose pixels spread over more of the box's longer side become invisible; 0: none.",
        group="Filters of vertices",
        minimum=0,
    )
    min_vertex_cycle: float = rare(
        0.0, "Vertices with a lower cycle weight become invisible.", group="Filters of vertices", minimum=0, maximum=1
    )


# What passes every instance whose values are numbers.
KEEP_ALL = FilterConfig(min_score=0, min_visible_vertices=0, min_visible_area=0, max_edges=4, max_spread=1e9)


# What the filters look at, a value of each instance by name. score: 0..1. visible_vertices: their number. visible_area:
# share of the template's area, 0..1. known_shape: whether visibility comes from a known shape (a fit or a synthetic
# world) and not from pixels. edges: number of image edges within half a pixel of the box, 0..4. spread: mean over the
# visible vertices of the pixels' spread, divided by the box's longer side. cycle: mean over the visible vertices of the
# cycle weight, 0..1; 1 where there is none.
MEASURES = ("score", "visible_vertices", "visible_area", "known_shape", "edges", "spread", "cycle")
Measures: TypeAlias = "Mapping[str, np.ndarray]"


def _below(value: Float[np.ndarray, "N"], least: float) -> Bool[np.ndarray, "N"]:
    """Strictly below, in the single precision of the tables: exactly the threshold is kept."""
    import numpy as np

    return np.asarray(value, dtype=np.float32) < np.float32(least)


# Reason -> the measure that is looked at, and whether an instance fails.
FILTERS: dict[str, tuple[str, Callable[[FilterConfig, np.ndarray, Measures], np.ndarray]]] = {
    "score": ("score", lambda c, value, _: value < c.min_score),
    "few vertices": ("visible_vertices", lambda c, value, _: value < c.min_visible_vertices),
    "small visible area": ("visible_area", lambda c, value, m: m["known_shape"] & _below(value, c.min_visible_area)),
    "truncated": ("edges", lambda c, value, _: value > c.max_edges),
    "spread": ("spread", lambda c, value, _: value > c.max_spread),
    "cycle": ("cycle", lambda c, value, _: _below(value, c.min_cycle)),
}
# Why a vertex becomes invisible, in the order of `judge_vertices`.
VERTEX_FILTERS = ("few pixels", "vertex spread", "vertex cycle")

# Reasons that need more than one instance to be seen.
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"
# Reasons of lists.
NOT_LISTED, LISTED_OUT = "not in the list of the split", "in the list to leave out"


def judge(config: FilterConfig, measures: Measures) -> tuple[list[str | None], Float[np.ndarray, "N"]]:
    """The first reason against each instance (None: keep it) and the value that decided (NaN where kept).

    The order of FILTERS is the order of reasons. An instance with a value that is not a number fails its filter.
    """
    import numpy as np

    count = len(measures["score"])
    reasons: list[str | None] = [None] * count
    values = np.full(count, np.nan)
    for reason, (name, fails) in FILTERS.items():
        value = np.asarray(measures[name], dtype=np.float64)
        for index in np.flatnonzero(fails(config, value, measures) | np.isnan(value)):
            if reasons[index] is None:
                reasons[index], values[index] = reason, value[index]
    return reasons, values


def judge_vertices(
    config: FilterConfig, pixels: Int[np.ndarray, "V"], spread: Float[np.ndarray, "V"], cycle: Float[np.ndarray, "V"]
) -> tuple[Bool[np.ndarray, "V"], dict[str, int]]:
    """Which visible vertices stay so, and how many do not, each for the first reason that holds.

    Args:
        pixels: number of pixels of each vertex; those of a known shape are not asked for.
        spread: of the pixels, divided by the box's longer side.
        cycle: weight, 0..1; 1 where there is none.
    """
    import numpy as np

    kept, dropped = np.ones(len(pixels), dtype=bool), {}
    wide = (spread > config.max_vertex_spread) & (config.max_vertex_spread > 0)
    fails = (pixels < config.min_pixels, wide, _below(cycle, config.min_vertex_cycle))
    for reason, failing in zip(VERTEX_FILTERS, fails, strict=True):
        failing = kept & failing
        dropped[reason] = int(failing.sum())
        kept &= ~failing
    return kept, dropped


@dataclass(frozen=True)
class Tally:
    """Where every input went."""

    inputs: int
    kept: int
    rejected: dict[str, int] = field(default_factory=dict)
    failed: int = 0

    def check(self) -> Tally:
        """Return the tally itself.

        Raises:
            Unaccounted: inputs are not kept + rejected + failed.
        """
        total = self.kept + sum(self.rejected.values()) + self.failed
        if total != self.inputs:
            got = f"{self.kept} kept + {sum(self.rejected.values())} rejected + {self.failed} failed = {total}"
            raise Unaccounted("inputs disappeared or appeared from nowhere", got=got, expected=f"{self.inputs} inputs")
        return self

    def line(self) -> str:
        """One line for people: "kept 187 · rejected 31 (score 19, few vertices 12) · failed 2"."""
        parts = ", ".join(f"{reason} {count}" for reason, count in self.rejected.items())
        rejected = f"rejected {sum(self.rejected.values())}" + (f" ({parts})" if parts else "")
        return " · ".join([f"kept {self.kept}", rejected] + ([f"failed {self.failed}"] if self.failed else []))
