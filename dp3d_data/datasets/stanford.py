"""Stanford Dogs and StanfordExtra: photographs in folders of breeds; boxes, masks, keypoints, lists; SMAL fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dp3d_data.datasets import BadInstance, Dataset
from dp3d_data.datasets.annotations import (
    Annotations,
    box_of,
    in_words,
    keypoints_of,
    reading,
    segmentation_mask,
    size_of_image,
)
from dp3d_data.datasets.fits import (
    Fit,
    attempt,
    failure,
    fit_camera,
    read_fields,
    smal_numbers,
)
from dp3d_data.datasets.folder import names_below
from dp3d_data.datasets.locations import (
    SPLITS,
    existing,
    find_image,
    read_json,
    require_images,
    require_tree,
    split_lists,
    subfolder,
)
from dp3d_data.errors import InputCorrupt
from dp3d_data.files import DAMAGE
from dp3d_data.records import GivenObject, ImageRecord

IMAGES = (
    "Images/nNNNNNNNN-Breed/NAME.jpg, and beside Images/: Annotation/nNNNNNNNN-Breed/NAME and train_list.mat,"
    " test_list.mat"
)
DOGS_HINT = "Stanford Dogs comes from its authors: http://vision.stanford.edu/aditya86/ImageNetDogs/"
FITS = "fits/BREED/NAME.npz (or .pkl, .json) and Images/BREED/NAME.jpg"
FITS_HINT = (
    "the photographs: http://vision.stanford.edu/aditya86/ImageNetDogs; write fits of yours in the neutral json:"
    " --dataset neutral"
)
ENDINGS = (".json", ".npz", ".pkl")
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


class StanfordDogs(Dataset):
    """The folder that holds `Images/` (or `images/`), or that folder itself.

    Boxes come from `Annotation/` where it is there (an image without a file there has none), else dogs are detected.
    The official lists `train_list.mat` and `test_list.mat` (or `lists/`) give the split; a dog's breed, the folder's
    name, is its group.

    Fits lie below `fits/`, masks below `masks/` as NAME.png. `fits/BREED/NAME.*` belongs to `Images/BREED/NAME.jpg`;
    the flat form of WLDO, `fits/BREED_NAME.npz`, is understood. Optional lists train.txt, val.txt and test.txt name
    photographs, BREED/NAME.jpg a line.
    """

    name = "stanford-dogs"

    def records(self) -> list[ImageRecord]:
        root = self.root(IMAGES)
        folder = images_folder(root)
        names = [name for name in names_below(folder) if name.count("/") == 1]
        require_tree(names, root, IMAGES, DOGS_HINT, "no Stanford Dogs here")
        notes, splits = folder.parent / "Annotation", official_splits(folder.parent)
        records = [ImageRecord(name, str(folder / name), self.name, breed(name), splits.get(name)) for name in names]
        if not notes.is_dir():
            return records
        return [_annotations(notes / Path(record.image_id).with_suffix("")).of(record) for record in records]

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(FITS)
        below = [path for path in (root / "fits").rglob("*") if path.suffix in ENDINGS]
        paths = sorted((_image_of(path.relative_to(root / "fits")), path) for path in below)
        require_tree(paths, root, FITS, FITS_HINT)
        folder, splits, seen = images_folder(root), split_lists(root), set[str]()
        for image, path in paths:
            if image in seen:
                yield failure(f"{image}#0", image, path, InputCorrupt("a second fit of the same photograph"))
                continue
            seen.add(image)
            known: dict[str, Any] = {"split": splits.get(image), "image_path": existing(folder / image)}
            known["mask_path"] = existing((root / "masks" / image).with_suffix(".png"))
            yield attempt(f"{image}#0", image, path, _fit, path, known)


def images_folder(root: Path) -> Path:
    """The folder of the breeds."""
    return subfolder(root, "Images", "images")


def breed(image: str) -> str:
    """n02085620-Chihuahua/n02085620_10074.jpg -> n02085620-Chihuahua."""
    return image.partition("/")[0]


def official_splits(root: Path) -> dict[str, str]:
    """Photograph -> train or test, of the lists of MATLAB that are there."""
    splits: dict[str, str] = {}
    for split, name in LISTS.items():
        path = existing(root / name) or existing(root / "lists" / name)
        if path is not None:
            splits |= dict.fromkeys(_listed(path), split)
    return splits


def _listed(path: Path) -> list[str]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    expected = "a MATLAB file with file_list, names such as n02085620-Chihuahua/n02085620_10074.jpg"
    with reading("not a list of Stanford Dogs", expected, DOGS_HINT, path, (MatReadError, *DAMAGE)):
        cells = loadmat(path, variable_names=["file_list"])["file_list"]
        return [str(np.ravel(cell)[0]) for cell in np.ravel(cells)]


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
        found.add(f"object {number}", _dog, node)
    if not found.objects and not found.faults:
        found.faults.append(f"{path.name}: no object, expected {expected}")
    return found


def _dog(node: ElementTree.Element) -> GivenObject:
    return GivenObject(box_of([node.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]))


def _image_of(path: Path) -> str:
    """BREED/NAME.npz, or BREED_NAME.npz where NAME begins with the number of the breed -> BREED/NAME.jpg."""
    name = PurePosixPath(path.with_suffix("").as_posix())
    number, dash, _ = name.name.partition("-")
    if len(name.parts) == 1 and dash and (cut := name.name.find(f"_{number}_")) > 0:
        return f"{name.name[:cut]}/{name.name[cut + 1 :]}.jpg"
    return f"{name}.jpg"


def _fit(path: Path, known: dict[str, Any], **names: Any) -> Fit:
    fields = read_fields(path)
    return Fit(
        **names,
        **known,
        group=breed(names["image_id"]),
        **smal_numbers(fields),
        image_size=fields.get("image_size"),
        body="smal",
        camera=fit_camera(fields),
        box=None if fields.get("box") is None else tuple(np.ravel(fields["box"])),
    )


EXTRA = "a list of objects with img_path, img_width, img_height, img_bbox [x, y, width, height] and seg"
EXTRA_HINT = "StanfordExtra's json comes from its authors: https://github.com/benjiebob/StanfordExtra"
EXTRA_IMAGES = "name the folder of Stanford Dogs' breeds: --images Images/"
NO_IMAGE = "entries without img_path"


class StanfordExtra(Dataset):
    """The json, and the photographs below --images, or in `Images/` or `images/` beside it.

    A dog's breed is its group. The official lists beside the json (train_*.npy, val_*.npy, test_*.npy: numbers of
    entries) give the split.
    """

    name = "stanford-extra"

    def records(self) -> list[ImageRecord]:
        path = self.path(EXTRA)
        entries = read_json(path, EXTRA, EXTRA_HINT)
        if not isinstance(entries, list):
            got = f"a json {type(entries).__name__}"
            raise InputCorrupt("not StanfordExtra's json", got=got, expected=EXTRA, hint=EXTRA_HINT, path=path)
        folders = [str(images_folder(Path(folder))) for folder in self.options.images or (path.parent,)]
        official = _splits_of_entries(path, len(entries))
        dogs: dict[str, Annotations] = {}
        splits: dict[str, str | None] = {}
        for number, entry in enumerate(entries):
            image = str(entry.get("img_path") or NO_IMAGE) if isinstance(entry, dict) else NO_IMAGE
            dogs.setdefault(image, Annotations()).join(_entry(entry, number, self.options.masks))
            splits.setdefault(image, official.get(number))
        records = []
        for image, dog in dogs.items():
            place = find_image([image], folders) if image != NO_IMAGE else ""
            records.append(dog.of(ImageRecord(image, place, self.name, breed(image), splits[image])))
        if records and not any(record.objects for record in records):
            what, got = "not StanfordExtra's json: no entry of it can be used", records[0].faults[0]
            raise InputCorrupt(what, got=got, expected=EXTRA, hint=EXTRA_HINT, path=path)
        require_images([record for record in records if record.path], folders, EXTRA_IMAGES)
        return records


def _entry(entry: Any, number: int, masks: bool) -> Annotations:
    found = Annotations()

    def make() -> GivenObject:
        found.size = size_of_image(entry["img_width"], entry["img_height"])
        if found.size is None:
            raise KeyError("img_width")
        if not entry["img_path"]:
            raise KeyError("img_path")
        mask = segmentation_mask({"counts": entry["seg"]}, found.size) if masks else None  # run lengths as COCO's text
        return GivenObject(box_of(entry["img_bbox"], sized=True), mask=mask, keypoints=keypoints_of(entry["joints"]))

    found.add(f"entry {number}", make)
    return found


def _splits_of_entries(path: Path, count: int) -> dict[int, str]:
    """Number of an entry -> split, of the lists that are there."""
    splits: dict[int, str] = {}
    for split in SPLITS:
        for place in sorted(path.parent.glob(f"{split}_*.npy")):
            with reading("not a list of entries", "whole numbers", path=place, errors=DAMAGE):
                numbers = np.load(place, allow_pickle=False).ravel()
                if numbers.dtype.kind not in "iu" and (numbers != np.floor(numbers)).any():
                    raise ValueError(f"{numbers.dtype} numbers that are not whole")
                numbers = numbers.astype(np.int64)
            if len(numbers) and not (0 <= numbers.min() and numbers.max() < count):
                got, expected = f"up to {numbers.max()}", f"below {count}"
                raise InputCorrupt("a list of other entries", got=got, expected=expected, path=place)
            splits |= dict.fromkeys(numbers.tolist(), split)
    return splits
