"""Where images come from: one file per kind of input, all of them give image records."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from dp3d_data.records import ImageRecord
from dp3d_data.sources.boxes import BoxFile, read_boxes
from dp3d_data.sources.folder import FolderSource
from dp3d_data.sources.images import Photograph, read_image
from dp3d_data.sources.samples import SampleSource


class Source(Protocol):
    """A kind of input.

    Attributes:
        name: the word that records and tables carry, for example "folder".
    """

    name: ClassVar[str]

    def records(self) -> list[ImageRecord]:
        """Every image once, in a fixed order, with unique ids that do not depend on the working directory.

        Raises:
            InputMissing: a path does not exist.
            NothingToDo: there is no image.
        """


SOURCES: dict[str, Callable[..., Source]] = {
    FolderSource.name: FolderSource,
    SampleSource.name: SampleSource,
}

__all__ = ["SOURCES", "BoxFile", "FolderSource", "Photograph", "SampleSource", "Source", "read_boxes", "read_image"]
