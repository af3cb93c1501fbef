"""Plain arrays of keypoints, of any annotator: .npz files with keypoints, visibility, and what else is known."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from dp3d_data.config import file_digest, fingerprint_of
from dp3d_data.datasets import BadInstance, Dataset, InstanceReader, ReadyInstance
from dp3d_data.datasets.annotations import instance_of, reading, size_of_image
from dp3d_data.datasets.locations import find_image, is_file, require_tree
from dp3d_data.errors import InputCorrupt, NothingToDo, TemplateError
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE, read_arrays
from dp3d_data.records import Box, ImageRecord, VertexView

EXPECTED = (
    "an .npz (or a folder of them) with keypoints [N, V, 2] and visible [N, V]; xyz [N, V, 3], image, group, split"
    " [N], size [N, 2], box [N, 4] and score [N] where known"
)
HINT = "write it with numpy: np.savez_compressed('keypoints.npz', keypoints=..., visible=...)"
# Field -> its shape after N; V is the template's number of vertices.
SHAPES: dict[str, tuple[Any, ...]] = {
    "keypoints": ("V", 2), "visible": ("V",), "xyz": ("V", 3), "image": (), "group": (), "split": (),
    "size": (2,), "box": (4,), "score": (),
}  # fmt: skip
NEEDED, TEXTS = ("keypoints", "visible"), ("image", "group", "split")
Arrays = dict[str, np.ndarray]


class KeypointArrays(Dataset):
    """Keypoints in image pixels (the top left pixel has its centre at (0.5, 0.5)) of the vertices of a template.

    `visible` is true, or above 0. Instances that name the same `image` are of one image; without `image` each is of its
    own, which nobody has. A photograph is looked for below --images, or beside the file; one that is not there is no
    harm: its size is taken from `size`, else from the keypoints. `xyz` are the true places in the camera frame (x
    right, y down, z away from the viewer), in the unit of the template's file.
    """

    name = "keypoints"
    model = "given"

    def records(self) -> list[ImageRecord]:
        root = self.root(EXPECTED)
        folder = root if root.is_dir() else root.parent
        folders = [*self.options.images, str(folder)]
        records: dict[str, ImageRecord] = {}
        for path in self.files():
            texts, sizes = _texts(path), _sizes(path)
            for row, image in enumerate(texts["image"]):
                place = find_image([image], folders) if image else ""
                group, split = (str(texts[key][row]) or None if key in texts else None for key in ("group", "split"))
                name = image or f"{path.stem}/{row:07d}"
                path_of_image = place if place and is_file(place) else ""
                size = sizes[row] if path_of_image else None
                records.setdefault(name, ImageRecord(name, path_of_image, self.name, group, split, size=size))
        if not records:
            raise NothingToDo("no keypoints in these files", path=self.options.path)
        return list(records.values())

    def digest(self) -> str:
        return fingerprint_of([file_digest(path) for path in self.files()])

    def reader(self, num_vertices: int, index: object = None) -> InstanceReader:
        """What reads the arrays, which holds those of one file at a time; see `Dataset.reader`."""
        for path in self.files():
            vertices = _shapes(path)["keypoints"][1]
            if vertices != num_vertices:
                got, expected = f"{vertices} vertices", f"{num_vertices}, as the template has"
                raise TemplateError("keypoints of another template", got=got, expected=expected, path=path)

        def instances(record: ImageRecord, size: tuple[int, int]) -> list[ReadyInstance | BadInstance]:
            rows = enumerate(self._rows[record.image_id])
            return [instance_of(str(n), _instance, self._arrays(path), path, row, size) for n, (path, row) in rows]

        return instances

    def size_of(self, record: ImageRecord) -> tuple[int, int]:
        """As the file of its first row says, else so that keypoints and boxes end one pixel before the edge."""
        ends = [np.zeros(2)]
        for number, (path, row) in enumerate(self._rows[record.image_id]):
            arrays = self._arrays(path)
            told = _told(arrays, row) if number == 0 else None
            if told is not None:
                return told
            keypoints = _keypoints(arrays, row)[1]
            x0, y0, x1, y1 = _box(arrays, row, keypoints)
            ends += [keypoints.max(axis=0, initial=0), np.array([x1, y1] if x0 < x1 and y0 < y1 else [0.0, 0.0])]
        width, height = np.ceil(np.max(np.where(np.isfinite(ends), ends, 0), axis=0)) + 1
        return cast(tuple[int, int], size_of_image(width, height))

    @cached_property
    def _rows(self) -> dict[str, list[tuple[Path, int]]]:
        rows: dict[str, list[tuple[Path, int]]] = {}
        for path in self.files():
            for row, image in enumerate(_texts(path)["image"]):
                rows.setdefault(image or f"{path.stem}/{row:07d}", []).append((path, row))
        return rows

    @cached_property
    def _held(self) -> dict[Path, Arrays]:
        return {}

    def _arrays(self, path: Path) -> Arrays:
        if path not in self._held:
            self._held.clear()  # the memory of one file is given back before the next is read
            self._held[path] = _read(path, [name for name in _shapes(path) if name not in TEXTS])
        return self._held[path]

    def files(self) -> list[Path]:
        """The .npz files by name."""
        root = self.root(EXPECTED)
        paths = sorted(root.glob("*.npz")) if root.is_dir() else [root]
        require_tree(paths, root, EXPECTED, HINT, "no arrays of keypoints here")
        return paths


def _told(arrays: Arrays, row: int) -> tuple[int, int] | None:
    return size_of_image(*arrays["size"][row].tolist()) if "size" in arrays else None


def _keypoints(arrays: Arrays, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The visible vertices of a row [V], and their keypoints [V, 2]."""
    ids = np.flatnonzero(arrays["visible"][row] > 0)
    return ids, arrays["keypoints"][row][ids].astype(np.float64)


def _instance(name: str, arrays: Arrays, path: Path, row: int, size: tuple[int, int]) -> ReadyInstance:
    told = _told(arrays, row)
    if told not in (None, size):
        raise InputCorrupt(f"row {row}: another size than its image", got=told, expected=size, path=path)
    ids, keypoints = _keypoints(arrays, row)
    points = arrays["xyz"][row].astype(np.float64) if "xyz" in arrays else None
    score = float(arrays["score"][row]) if "score" in arrays else 1.0
    if not all(np.isfinite(values).all() for values in (keypoints, points, score) if values is not None):
        raise InputCorrupt(f"row {row}: visible keypoints, xyz or score hold NaN or infinity", path=path)
    view = VertexView(ids.astype(np.int32), keypoints, np.ones(len(ids), np.int32), np.zeros(len(ids)))
    return ReadyInstance(name, _box(arrays, row, keypoints), score, view, points)


def _box(arrays: Arrays, row: int, keypoints: Float[np.ndarray, "V 2"]) -> Box:
    """The box of the file, else that of the visible keypoints."""
    if "box" in arrays:
        corners = arrays["box"][row].astype(np.float64)
    else:
        corners = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)]) if len(keypoints) else np.zeros(4)
    x0, y0, x1, y1 = corners.tolist()
    return x0, y0, x1, y1


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the fields, without reading the arrays."""
    found: dict[str, tuple[int, ...]] = {}
    require_no_pointer(path)
    with reading("not a file of arrays", EXPECTED, HINT, path, DAMAGE), zipfile.ZipFile(path) as archive:
        for name in (name.removesuffix(".npy") for name in archive.namelist()):
            if name in SHAPES:
                with archive.open(f"{name}.npy") as stream:
                    found[name] = _header(stream, name)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        got = "no " + " and no ".join(missing)
        raise InputCorrupt("not an array of keypoints", got=got, expected=EXPECTED, hint=HINT, path=path)
    count, vertices = (*found["keypoints"], 0, 0)[:2]
    for name, shape in found.items():
        has, wanted = list(shape), [count, *(vertices if part == "V" else part for part in SHAPES[name])]
        if has != wanted:
            raise InputCorrupt(f"{name} has another shape", got=has, expected=wanted, hint=HINT, path=path)
    return found


def _header(stream: Any, name: str) -> tuple[int, ...]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    if (kind.kind in "US") != (name in TEXTS) or kind.kind not in "USbiuf":
        raise ValueError(f"{name} of type {kind}")
    return shape


def _sizes(path: Path) -> list[tuple[int, int] | None]:
    """The size (width, height) of the image of each row; None where the file gives none."""
    shapes = _shapes(path)
    sizes: list[tuple[int, int] | None] = [None] * shapes["keypoints"][0]
    if "size" in shapes:
        for row, size in enumerate(_read(path, ["size"])["size"].tolist()):
            with suppress(InputCorrupt):  # its row says so when it is read
                sizes[row] = size_of_image(*size)
    return sizes


def _texts(path: Path) -> dict[str, np.ndarray]:
    """The names of a file, one a row; "" where it names no image."""
    shapes = _shapes(path)
    texts = _read(path, [name for name in TEXTS if name in shapes])
    texts.setdefault("image", np.full(shapes["keypoints"][0], ""))
    with reading("names that are not UTF-8", EXPECTED, HINT, path):
        return {
            name: np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values.astype(str)
            for name, values in texts.items()
        }


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path, names, "not a file of arrays")
    except InputCorrupt as error:
        raise InputCorrupt(error.what, got=error.got, expected=EXPECTED, hint=HINT, path=path) from error
