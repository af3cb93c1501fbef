"""Stanford Dogs: photographs in folders of breeds, boxes as XML, official lists of train and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from dp3d_data.datasets.annotations import Annotations, box_of, in_words, size_of_image
from dp3d_data.datasets.folder import walk_images
from dp3d_data.datasets.options import SourceOptions, required_path
from dp3d_data.datasets.trees import existing, wrong_tree
from dp3d_data.errors import InputCorrupt
from dp3d_data.records import Box, GivenObject, ImageRecord

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
            InputCorrupt: a list that cannot be read; an XML that cannot be is a fault of its image.
        """
        root = existing(required_path(self.options, self.name, EXPECTED), EXPECTED)
        folder = images_folder(root)
        names = [Path(path).relative_to(folder).as_posix() for path in walk_images(str(folder))]
        names = [name for name in names if name.count("/") == 1]
        if not names:
            raise wrong_tree(root, EXPECTED, HINT, "no Stanford Dogs here")
        notes, splits = folder.parent / "Annotation", official_splits(folder.parent)
        records = [ImageRecord(name, str(folder / name), self.name, breed(name), splits.get(name)) for name in names]
        if not notes.is_dir():
            return records
        return [_annotations(notes / Path(record.image_id).with_suffix("")).of(record) for record in records]

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


def _annotations(path: Path) -> Annotations:
    """The boxes of an XML in PASCAL VOC's form; none where there is no file."""
    found = Annotations()
    if not path.is_file():
        return found
    expected = "XML with size (width, height) and object/bndbox of xmin, ymin, xmax, ymax"
    try:
        tree = ElementTree.fromstring(path.read_bytes())
        found.size = size_of_image(tree.findtext("size/width"), tree.findtext("size/height"))
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        told = InputCorrupt("not an annotation of Stanford Dogs", got=str(error)[:120], expected=expected)
        found.faults.append(f"{path.name}: {in_words(told)}")
        return found
    for number, node in enumerate(tree.iter("object")):
        found.add(f"object {number}", lambda node=node: GivenObject(_box(node)))
    if not found.objects and not found.faults:
        found.faults.append(f"{path.name}: no object, expected {expected}")
    return found


def _box(node: ElementTree.Element) -> Box:
    return box_of([node.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")])
