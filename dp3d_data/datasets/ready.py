"""Correspondences that others have made: what a source without a network gives for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dp3d_data.datasets.annotations import MALFORMED
from dp3d_data.datasets.options import SourceOptions
from dp3d_data.errors import UsageError
from dp3d_data.records import Box, DensePrediction, ImageRecord, VertexView

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class ReadyInstance:
    """One instance with its correspondences: the vertex of every pixel, or the visible vertices themselves.

    Attributes:
        name: unique in its image; the instance id is image id, #, name.
        box: xyxy in image pixels.
        score: 0..1.
        found: a template vertex for each pixel of the box, or the visible vertices with their keypoints.
        points: [K, 3] the true place of every template vertex, in the camera frame and the unit of the template's file; None
            where unknown.
    """

    name: str
    box: Box
    score: float
    found: DensePrediction | VertexView
    points: Float[np.ndarray, "K 3"] | None = None


@dataclass(frozen=True)
class BadInstance:
    """An instance that cannot be read, with the reason; the others of its image can."""

    name: str
    error: Exception


def instance_of(name: str, make: Callable[[], ReadyInstance]) -> ReadyInstance | BadInstance:
    """The instance that `make` gives, or what is wrong with it."""
    try:
        return make()
    except MALFORMED as error:
        return BadInstance(name, error)


class ReadyReader(Protocol):
    """Reads the correspondences of a source; lives as long as a process."""

    def instances(self, record: ImageRecord, size: tuple[int, int]) -> Sequence[ReadyInstance | BadInstance]:
        """The instances of one image, in a fixed order.

        Args:
            size: (width, height) of the upright image in pixels.

        Raises:
            InputCorrupt: what the source has for this image cannot be read; a row of the failures table.
        """

    def size(self, record: ImageRecord) -> tuple[int, int]:
        """(width, height) in pixels of an image that is not there."""


def required_charts(options: SourceOptions, name: str) -> None:
    """Refuse charts of anything but people, and people without their charts.

    Raises:
        UsageError: another category, or no file of charts.
    """
    if options.category != "person":
        raise UsageError("charts are of people", got=f"--category {options.category}", expected="--category person")
    if not options.charts:
        hint = "say which body vertex lies where: --charts UV_Processed.mat"
        raise UsageError(f"the source {name!r} needs the charts of the body", hint=hint)
