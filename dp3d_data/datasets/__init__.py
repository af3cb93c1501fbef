"""Where images come from: one file per kind of input, all of them give image records."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from dp3d_data.datasets.addresses import is_address, read_bytes, size_of
from dp3d_data.datasets.boxes import BoxFile, read_boxes
from dp3d_data.datasets.folder import FolderSource
from dp3d_data.datasets.images import Photograph, read_image
from dp3d_data.datasets.options import SourceOptions
from dp3d_data.datasets.ready import BadInstance, ReadyInstance, ReadyReader
from dp3d_data.datasets.samples import SampleSource
from dp3d_data.datasets.turning import turn_of, turned_instance, turned_record
from dp3d_data.plugins import load
from dp3d_data.records import ImageRecord


class Source(Protocol):
    """A kind of input, made from `SourceOptions`.

    Attributes:
        name: the word that the user types and that records and tables carry, for example "folder".
    """

    name: ClassVar[str]

    def records(self) -> list[ImageRecord]:
        """Every image once, in a fixed order, with unique ids that do not depend on the working directory; opens no image.

        Raises:
            InputMissing: a path does not exist, or holds another layout; the message shows expected and found.
            InputCorrupt: a file that speaks for many images cannot be read.
            NothingToDo: there is no image.
        """

    def digest(self) -> str:
        """Fingerprint of what shapes the results besides records and images; empty where there is nothing."""


class ReadySource(Source, Protocol):
    """A source that brings correspondences: no network is needed.

    Attributes:
        model: name of what made them, as rows carry it.
    """

    model: str

    def reader(self, num_vertices: int, index: Any) -> ReadyReader:
        """What reads them; made once in each process.

        Args:
            num_vertices: of the template whose vertices they are.
            index: what pixels are matched to: a `ChartIndex` of --charts, a `VertexIndex` of --weights, else None.

        Raises:
            TemplateError: they are of another template.
        """


GROUP = "dp3d.datasets"  # entry points: classes made from `SourceOptions`
SOURCES: dict[str, str] = {
    "folder": "dp3d_data.datasets.folder:FolderSource",
    "samples": "dp3d_data.datasets.samples:SampleSource",
    "coco": "dp3d_data.datasets.coco:CocoSource",
    "lvis": "dp3d_data.datasets.coco:LvisSource",
    "stanford-dogs": "dp3d_data.datasets.stanford_dogs:StanfordDogsSource",
    "stanford-extra": "dp3d_data.datasets.stanford_extra:StanfordExtraSource",
    "human36m": "dp3d_data.datasets.human36m:Human36MSource",
    "up3d": "dp3d_data.datasets.up3d:Up3dSource",
    "3dpw": "dp3d_data.datasets.threedpw:ThreeDPWSource",
    "iuv-results": "dp3d_data.datasets.iuv:IuvResultsSource",
    "iuv-images": "dp3d_data.datasets.iuv:IuvImagesSource",
    "dump": "dp3d_data.datasets.dump:DumpSource",
    "keypoints": "dp3d_data.datasets.keypoint_arrays:KeypointArraysSource",
}
# Those whose images, or whose objects, depend on the category: they know `records_of` several categories.
BY_CATEGORY = ("coco", "lvis")


def open_source(name: str, options: SourceOptions) -> Any:
    """The source of a name: one of the project's, or one that another package adds.

    Raises:
        UsageError: no such source, with the near match; or options that it needs are missing.
        DependencyMissing: the package that adds it cannot be imported.
    """
    return load(GROUP, name, SOURCES)(options)


def is_ready(source: Any) -> bool:
    """Whether a source brings correspondences."""
    return hasattr(source, "reader")


__all__ = [
    "BY_CATEGORY",
    "SOURCES",
    "BadInstance",
    "BoxFile",
    "FolderSource",
    "Photograph",
    "ReadyInstance",
    "ReadyReader",
    "ReadySource",
    "SampleSource",
    "Source",
    "SourceOptions",
    "is_address",
    "is_ready",
    "open_source",
    "read_boxes",
    "read_bytes",
    "read_image",
    "size_of",
    "turn_of",
    "turned_instance",
    "turned_record",
]
