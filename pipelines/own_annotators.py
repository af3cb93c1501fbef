"""Annotators that other packages add under the entry points dp3d.annotators: a network or a matcher of one's own in
`extract`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

from dp3d_data.datasets import BadInstance, ReadyInstance
from dp3d_data.datasets.images import Photograph, read_image, turned_record
from dp3d_data.geometry import Template
from dp3d_data.plugins import load
from dp3d_data.records import ImageRecord
from pipelines.annotate import RowMaker
from pipelines.extract_settings import ExtractConfig
from pipelines.ready import ReadyAnnotator

GROUP = "dp3d.annotators"


class OwnAnnotator(Protocol):
    """What an entry point of dp3d.annotators names: a class made from template, category and device, in each process
    once."""

    def __init__(self, template: Template, category: str, device: str) -> None: ...

    def annotate(
        self, image: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "N 4"] | None
    ) -> Sequence[ReadyInstance | BadInstance]:
        """The instances of one upright RGB image, in a fixed order; `boxes`, xyxy in its pixels, where they are
        given."""


def own_version(name: str) -> str:
    """The package that adds an annotator, with its version: blobs@dp3d-example-1.0. Empty if there is none of that
    name."""
    for point in entry_points(group=GROUP, name=name) if name else ():
        return f"{name}@{point.dist.name}-{point.dist.version}" if point.dist else name
    return ""


class OwnRowMaker(ReadyAnnotator):
    """Rows of what an annotator of another package finds.

    Args:
        model: the name that rows carry, as `own_version` gives it.

    Raises:
        UsageError, DependencyMissing: no such annotator, or its package cannot be imported.
    """

    def __init__(self, config: ExtractConfig, template: Template, model: str) -> None:
        RowMaker.__init__(self, config, template, model)
        self.annotator: OwnAnnotator = load(GROUP, config.model, {})(template, config.category, config.device)

    def _read(self, record: ImageRecord) -> Photograph:
        return read_image(record.path, self.config.max_pixels)

    def _instances(self, record: ImageRecord, photograph: Photograph) -> list[ReadyInstance | BadInstance]:
        boxes = turned_record(record, photograph).boxes
        given = None if boxes is None else np.array(boxes, dtype=np.float32).reshape(-1, 4)
        return list(self.annotator.annotate(photograph.pixels, given))
