"""IUV results of others, for people: body part I, place U and V on its chart, for pixels of a box or an image."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from dp3d_data.config import file_digest, fingerprint_of
from dp3d_data.datasets import BadInstance, Dataset, InstanceReader, ReadyInstance
from dp3d_data.datasets.annotations import MALFORMED, box_of, in_words, instance_of, reading
from dp3d_data.datasets.folder import extensions, walk_images
from dp3d_data.datasets.images import MAX_PIXELS
from dp3d_data.datasets.locations import find_image, read_json, require_images, require_tree
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.matching import ChartIndex, VertexIndex, chart_prediction, integer_box
from dp3d_data.matching.charts import require_person
from dp3d_data.records import DensePrediction, ImageRecord

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

CHARTS = 24
RESULTS = "DensePose's results: a list of objects with image_id, category_id, score, bbox, uv_shape and uv_data"
IMAGES = (
    "NAME_IUV.png (channels I, U, V in this or in the opposite order), and NAME_INDS.png where several people are in it"
)
HINT = "name the folder of the photographs: --images FOLDER"
ENDING, INDICES = "_IUV.png", "_INDS.png"


class IuvResults(Dataset):
    """A json file in the results format of the DensePose challenge; of COCO's categories the person's (1), or the
    setting category_in_file.

    The photographs are looked for below --images, or beside the file, by COCO's names: 000000000785.jpg,
    COCO_val2014_000000000785.jpg, COCO_train2014_..., 785.jpg, or an image_id that is a name itself.
    """

    name = "iuv-results"
    model = "iuv-results"

    def records(self) -> list[ImageRecord]:
        self.require_charts()
        path = self.path(RESULTS)
        results = self.results()
        folders = self.options.images or (str(Path(path).parent),)
        if not results:
            raise NothingToDo("no result of a person in this file", expected=RESULTS, path=path)
        records = [ImageRecord(names[0], find_image(names, folders), self.name) for names in results if names]
        require_images(records, folders, HINT)
        lost = enumerate(results.get((), ()))
        faults = tuple(f"result {number}: no image_id, got {entry!r}"[:120] for number, entry in lost)
        return [*records, ImageRecord("results of no image", "", self.name, faults=faults)] if faults else records

    def digest(self) -> str:
        return file_digest(self.options.path)

    def results(self) -> dict[tuple[str, ...], list[Any]]:
        """What an image may be called -> its results, in the order of the file; () has those of no image."""
        path, word = self.options.path, self.options.category_in_file or "1"
        if not word.isdecimal():
            got, expected = f"category_in_file {word}", "its category_id; COCO's person is 1"
            raise UsageError("results know the number of a category only", got=got, expected=expected)
        content, number = read_json(path, RESULTS), int(word)
        needed = {"image_id", "bbox", "uv_shape", "uv_data"}
        usable = [isinstance(entry, dict) and needed <= set(entry) for entry in content or ()]
        if not isinstance(content, list) or (content and not any(usable)):
            raise InputCorrupt("not a file of IUV results", got=repr(content)[:120], expected=RESULTS, path=path)
        found: dict[tuple[str, ...], list[Any]] = {}
        for entry in content:
            try:
                if int(entry.get("category_id", number)) != number:
                    continue
                names = tuple(_names(entry["image_id"]))
            except MALFORMED:
                names = ()
            found.setdefault(names, []).append(entry)
        return found

    def reader(self, num_vertices: int, index: VertexIndex | ChartIndex | None) -> InstanceReader:
        require_person(num_vertices)
        results = {names[0]: entries for names, entries in self.results().items() if names}

        def instances(record: ImageRecord, size: tuple[int, int]) -> list[ReadyInstance | BadInstance]:
            entries = enumerate(results[record.image_id])
            return [instance_of(str(number), _result, entry, index) for number, entry in entries]

        return instances


def _result(name: str, entry: Mapping[str, Any], index: ChartIndex) -> ReadyInstance:
    with reading(f"result {name}: not a result", RESULTS):
        box, score = box_of(entry["bbox"], sized=True), finite(entry.get("score", 1.0))
        channels, height, width = (int(value) for value in entry["uv_shape"])
        data = from_text(entry["uv_data"])
    if channels != 3:
        got = f"{channels} channels"
        raise InputCorrupt(f"result {name}: not I, U and V", got=got, expected="3 channels in uv_shape")
    pixels = decode_png(data, f"result {name}", (width, height))
    x, y, _, _ = integer_box(box)
    return ReadyInstance(name, box, score, _prediction((x, y), pixels, index, f"result {name}"))


class IuvImages(Dataset):
    """A folder of NAME_IUV.png, each beside its photograph or with the photographs below --images; without them they
    stand for themselves.

    NAME_INDS.png numbers the people from 1; where it is missing, all pixels of an image are one person.
    """

    name = "iuv-images"
    model = "iuv-images"

    def records(self) -> list[ImageRecord]:
        self.require_charts()
        return [record for record, _ in self.pairs()]

    def pairs(self) -> list[tuple[ImageRecord, str]]:
        """Every record with the path of its IUV image."""
        root = self.root(IMAGES)
        paths = [path for path in walk_images(str(root)) if path.endswith(ENDING)]
        require_tree(paths, root, IMAGES, "IUV images come from DensePose's tools", "no IUV images here")
        return [(self._record(root, path), path) for path in paths]

    def digest(self) -> str:
        """Of the names and sizes of the IUV images and their companions."""
        files = [path for _, place in self.pairs() for path in (place, place.removesuffix(ENDING) + INDICES)]
        root = self.options.path
        there = filter(os.path.isfile, files)
        return fingerprint_of([(os.path.relpath(path, root), os.path.getsize(path)) for path in there])

    def reader(self, num_vertices: int, index: VertexIndex | ChartIndex | None) -> InstanceReader:
        require_person(num_vertices)
        places = {one.image_id: path for one, path in self.pairs()}

        def instances(record: ImageRecord, size: tuple[int, int]) -> list[ReadyInstance]:
            return list(_instances(places[record.image_id], size, index))

        return instances

    def _record(self, root: Path, path: str) -> ImageRecord:
        stem = Path(path).relative_to(root).as_posix().removesuffix(ENDING)
        names = [stem + extension for extension in sorted(extensions())]
        place = find_image([*names, stem + ENDING], [*self.options.images, str(root)])
        return ImageRecord(stem + place.rpartition(stem)[2], place, self.name)


def _instances(path: str, size: tuple[int, int], index: Any) -> Iterator[ReadyInstance]:
    """The people of an IUV image by their numbers, each in the tight box of its pixels."""
    pixels = _in_order(decode_png(Path(path).read_bytes(), path), path)
    if pixels.shape[1::-1] != size:
        got, expected = f"{pixels.shape[1]} x {pixels.shape[0]}", f"{size[0]} x {size[1]} of the photograph"
        raise InputCorrupt("an IUV image of another size", got=got, expected=expected, path=path)
    people = _people(path, pixels[..., 0] > 0)
    for number in np.unique(people[people > 0]).tolist():
        rows, columns = np.nonzero(people == number)
        y0, y1, x0, x1 = int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
        own = np.where((people == number)[..., None], pixels, 0)[y0:y1, x0:x1]
        box = float(x0), float(y0), float(x1), float(y1)
        yield ReadyInstance(str(number - 1), box, 1.0, _prediction((x0, y0), own, index, path))


def from_text(text: str) -> bytes:
    """The bytes of a base64 text, whose lines may be broken.

    Raises:
        ValueError, AttributeError: no such text.
    """
    return base64.b64decode("".join(text.split()), validate=True)


def finite(value: Any) -> float:
    """A number.

    Raises:
        ValueError: none, NaN or infinity.
    """
    if not np.isfinite(number := float(value)):
        raise ValueError(f"{value} is no number")
    return number


def decode_png(data: bytes, what: str, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of a PNG with three channels of 8 bits.

    Args:
        size: (width, height) that it must have, where they are known; seen before anything is decoded.

    Raises:
        InputCorrupt: anything else, or too many pixels.
    """
    with _png(io.BytesIO(data), f"{what}: not a PNG", "a whole PNG of I, U and V") as image:
        if image.mode != "RGB" or image.width * image.height > MAX_PIXELS:
            got = f"{image.mode}, {image.width} x {image.height}"
            expected = f"three channels, at most {MAX_PIXELS} pixels"
            raise InputCorrupt(f"{what}: not an IUV image", got=got, expected=expected)
        if size not in (None, image.size):
            got, expected = f"{image.width} x {image.height}", f"{size[0]} x {size[1]}, as uv_shape says"
            raise InputCorrupt(f"{what}: another size than uv_shape", got=got, expected=expected)
        return np.asarray(image)


@contextmanager
def _png(source: Any, what: str, expected: str, path: str | None = None) -> Iterator[ImageFile]:
    """A PNG of others, decoded as far as the block does; what is wrong with it is an InputCorrupt that says `what`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source, formats=["PNG"]) as image:
            yield image
    except InputCorrupt:
        raise
    except UnidentifiedImageError as error:  # its text tells where in memory the bytes lie
        raise InputCorrupt(what, expected=expected, path=path) from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputCorrupt(what, got=in_words(error)[:120], expected=expected, path=path) from error


def _in_order(pixels: np.ndarray, what: str) -> np.ndarray:
    """The channels as I, U, V: a file may hold them in the opposite order, as OpenCV writes them."""
    first, last = int(pixels[..., 0].max(initial=0)), int(pixels[..., 2].max(initial=0))
    if first <= CHARTS:
        return pixels
    if last <= CHARTS:
        return pixels[..., ::-1]
    got = f"up to {first} in the first channel, up to {last} in the last"
    raise InputCorrupt("not an IUV image", got=got, expected=f"a channel of parts, 0 to {CHARTS}", path=what)


def _prediction(origin: tuple[int, int], pixels: np.ndarray, index: ChartIndex, what: str) -> DensePrediction:
    labels = pixels[..., 0].astype(np.int64)
    if labels.max(initial=0) > CHARTS:
        raise InputCorrupt(f"{what}: not I, U and V", got=f"part {labels.max()}", expected=f"parts 0 to {CHARTS}")
    return chart_prediction(origin, labels, pixels[..., 1:].transpose(2, 0, 1) / 255, index)


def _people(path: str, body: np.ndarray) -> np.ndarray:
    """The number of the person at each pixel of a body, from 1."""
    place = path.removesuffix(ENDING) + INDICES
    if not os.path.isfile(place):
        return body.astype(np.int64)
    expected = "a PNG of one channel, of the size of the IUV image"
    with _png(place, "not the numbers of the people", expected, place) as image:
        numbers = np.asarray(image).astype(np.int64)
        if numbers.shape != body.shape:
            raise ValueError(f"{image.width} x {image.height} pixels, {image.mode}")
    return np.where(body, numbers, 0)


def _names(image_id: Any) -> list[str]:
    """What COCO calls an image of that number; the first is its id here."""
    if isinstance(image_id, str) and not image_id.isdecimal():
        complete = os.path.splitext(image_id)[1].lower() in extensions()
        return [image_id] if complete else [f"{image_id}.jpg", f"{image_id}.png"]
    long = f"{int(image_id):012d}.jpg"
    return [long, f"COCO_val2014_{long}", f"COCO_train2014_{long}", f"{image_id}.jpg", f"{image_id}.png"]
