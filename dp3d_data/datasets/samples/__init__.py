"""The embedded sample photographs: two with dogs, two without."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dp3d_data.datasets.options import SourceOptions
from dp3d_data.records import ImageRecord


@dataclass(frozen=True)
class SampleSource:
    """The images that are shipped with the package; see LICENSE beside them."""

    options: SourceOptions = field(default_factory=SourceOptions)
    name: ClassVar[str] = "samples"

    def records(self) -> list[ImageRecord]:
        """The sample images by name."""
        paths = sorted(Path(__file__).parent.glob("*.jpg"))
        return [ImageRecord(path.name, str(path), source=self.name) for path in paths]

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""
