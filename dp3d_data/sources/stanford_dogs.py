"""Stanford Dogs: photographs in folders of breeds, boxes as XML, official lists of train and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from dp3d_data.errors import InputCorrupt
from dp3d_data.records import Box, GivenObject, ImageRecord
from dp3d_data.sources.folder import walk_images
from dp3d_data.sources.options import SourceOptions, required_path
from dp3d_data.sources.trees import existing, wrong_tree

EXPECTED = "Images/nNNNNNNNN-Breed/NAME.jpg, and beside Images/: Annotation/nNNNNNNNN-Breed/NAME and train_list.mat, test_list.mat"
HINT = "Stanford Dogs comes from its authors: http://vision.stanford.edu/aditya86/ImageNetDogs/"
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


@dataclass(frozen=True)
class StanfordDogsSource:
    """The folder that holds `Images/` (or `images/`), or that folder itself.

    Boxes come from `Annotation/` where it is there (an image without a file there has none), else dogs are detected. The
    official lists `train_list.mat` and `test_list.mat` (or `lists/`) give the split; a dog's breed, the folder's name, is its group.
    """

    options: SourceOptions
    name: ClassVar[str] = "stanford-dogs"

    def records(self) -> list[ImageRecord]:
        """Every image below the folder of images, by path.

        Raises:
            InputMissing: no such folder, or no photograph in a folder of a breed; shows expected and found.
            InputCorrupt: an XML or list that cannot be read.
        """
        root = existing(required_path(self.options, self.name, EXPECTED), EXPECTED)
        folder = images_folder(root)
        names = [Path(path).relative_to(folder).as_posix() for path in walk_images(str(folder))]
        names = [name for name in names if name.count("/") == 1]
        if not names:
            raise wrong_tree(root, EXPECTED, HINT, "no Stanford Dogs here")
        notes, splits = folder.parent / "Annotation", official_splits(folder.parent)
        return [
            ImageRecord(
                name,
                str(folder / name),
                self.name,
                group=breed(name),
                split=splits.get(name),
                objects=_objects(notes / Path(name).with_suffix("")) if notes.is_dir() else None,
            )
            for name in names
        ]

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""


def images_folder(root: Path) -> Path:
    """The folder of the breeds."""
    return next((root / name for name in ("Images", "images") if (root / name).is_dir()), root)


def breed(image: str) -> str:
    """n02085620-Chihuahua/n02085620_10074.jpg -> n02085620-Chihuahua."""
    return image.partition("/")[0]


def official_splits(root: Path) -> dict[str, str]:
    """Photograph -> train or test, of the lists of MATLAB that are there.

    Raises:
        InputCorrupt: a list that cannot be read.
    """
    splits: dict[str, str] = {}
    for side, name in LISTS.items():
        path = next((place for place in (root / name, root / "lists" / name) if place.is_file()), None)
        if path is not None:
            splits |= dict.fromkeys(_listed(path), side)
    return splits


def _listed(path: Path) -> list[str]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path, variable_names=["file_list"])["file_list"]
        return [str(np.ravel(cell)[0]) for cell in np.ravel(cells)]
    except (MatReadError, KeyError, IndexError, ValueError, TypeError, OSError, NotImplementedError, EOFError) as error:
        expected = "a MATLAB file with file_list, names such as n02085620-Chihuahua/n02085620_10074.jpg"
        raise InputCorrupt("not a list of Stanford Dogs", got=repr(error)[:120], expected=expected, hint=HINT, path=path) from error


def _objects(path: Path) -> tuple[GivenObject, ...]:
    """The boxes of an XML in PASCAL VOC's form; none where there is no file."""
    if not path.is_file():
        return ()
    try:
        boxes = [_box(node) for node in ElementTree.parse(path).iter("bndbox")]
    except (ElementTree.ParseError, ValueError, TypeError, OSError) as error:
        expected = "XML with object/bndbox of xmin, ymin, xmax, ymax"
        raise InputCorrupt("not an annotation of Stanford Dogs", got=str(error)[:120], expected=expected, hint=HINT, path=path) from error
    return tuple(map(GivenObject, boxes))


def _box(node: ElementTree.Element) -> Box:
    x0, y0, x1, y1 = (float(str(node.findtext(name))) for name in ("xmin", "ymin", "xmax", "ymax"))
    return x0, y0, x1, y1

