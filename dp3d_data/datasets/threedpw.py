"""3DPW's images: one folder a sequence; the folders of the sequence files tell the split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dp3d_data.datasets.folder import walk_images
from dp3d_data.datasets.options import SourceOptions, required_path
from dp3d_data.datasets.trees import existing, wrong_tree
from dp3d_data.records import ImageRecord

EXPECTED = "imageFiles/NAME/image_00000.jpg beside sequenceFiles/train/NAME.pkl (also validation, test)"
HINT = "3DPW comes from its authors: https://virtualhumans.mpi-inf.mpg.de/3DPW"
SPLITS = {"test": "test", "train": "train", "validation": "val"}


@dataclass(frozen=True)
class ThreeDPWSource:
    """The archive's `imageFiles`; the group of an image is its sequence, its split that of the sequence's file, which is not opened."""

    options: SourceOptions
    name: ClassVar[str] = "3dpw"

    def records(self) -> list[ImageRecord]:
        """Every image by sequence and frame.

        Raises:
            InputMissing: no such folder, or no image in it.
        """
        root = existing(required_path(self.options, self.name, EXPECTED), EXPECTED)
        folder = root / "imageFiles" if (root / "imageFiles").is_dir() else root
        names = [Path(path).relative_to(folder).as_posix() for path in walk_images(str(folder))]
        names = [name for name in names if name.count("/") == 1]
        if not names:
            raise wrong_tree(root, EXPECTED, HINT, "no 3DPW here")
        splits = {name: split for name, split, _ in sequences(folder.parent)}
        groups = [name.partition("/")[0] for name in names]
        pairs = zip(names, groups, strict=True)
        return [ImageRecord(name, str(folder / name), self.name, group=group, split=splits.get(group)) for name, group in pairs]

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""


def sequences(root: Path) -> list[tuple[str, str, Path]]:
    """Name, split and file of every sequence, by name."""
    paths = [(folder, path) for folder in SPLITS for path in (root / "sequenceFiles" / folder).glob("*.pkl")]
    return sorted((path.stem, SPLITS[folder], path) for folder, path in paths)
