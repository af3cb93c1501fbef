"""UP-3D's images: one numbered photograph a person, and lists of the split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dp3d_data.datasets.options import SourceOptions, required_path
from dp3d_data.datasets.trees import existing, split_lists, wrong_tree
from dp3d_data.records import ImageRecord

EXPECTED = "NNNNN_image.png and train.txt, val.txt, test.txt, in this folder or in up-3d/ below it"
HINT = "UP-3D comes from its authors: https://files.is.tue.mpg.de/classner/up"
ENDING = "_image.png"


@dataclass(frozen=True)
class Up3dSource:
    """The folder `up-3d` of the archive, or the one above it; each photograph is its own group."""

    options: SourceOptions
    name: ClassVar[str] = "up3d"

    def records(self) -> list[ImageRecord]:
        """Every NNNNN_image.png by name.

        Raises:
            InputMissing: no such folder, or no image in it.
        """
        folder = images_folder(existing(required_path(self.options, self.name, EXPECTED), EXPECTED))
        names, splits = sorted(path.name for path in folder.glob(f"*{ENDING}")), official_splits(folder)
        if not names:
            raise wrong_tree(folder, EXPECTED, HINT, "no UP-3D here")
        return [ImageRecord(name, str(folder / name), self.name, group=name, split=splits.get(name)) for name in names]

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""


def images_folder(root: Path) -> Path:
    """The folder of the images."""
    return root / "up-3d" if (root / "up-3d").is_dir() else root


def official_splits(folder: Path) -> dict[str, str]:
    """Image -> train, val or test; what stands in trainval.txt alone is train."""
    return dict.fromkeys(split_lists(folder, ("trainval",)), "train") | split_lists(folder)
