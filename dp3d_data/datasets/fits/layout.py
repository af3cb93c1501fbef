"""What the readers of fits share: fields by their names, and failures instead of an end."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets.fits.records import Fit, FitFailure, real_numbers
from dp3d_data.datasets.images import open_image
from dp3d_data.datasets.trees import read_json
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing
from dp3d_data.files import require_no_pointer
from dp3d_data.unpickling import read_pickle

MOST_BYTES = 1 << 28
# What values of the wrong form make numpy and the readers' arithmetic raise.
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def attempt(instance_id: str, image_id: str, path: Path, build: Callable[[], Fit]) -> Fit | FitFailure:
    """The fit that `build` makes, or why it makes none."""
    try:
        return build()
    except (Dp3dError, *MALFORMED) as error:
        return failure(instance_id, image_id, path, error)


def failure(instance_id: str, image_id: str, path: Path, error: Exception) -> FitFailure:
    """The row of the failures table for an error."""
    if not isinstance(error, Dp3dError):
        return FitFailure(instance_id, image_id, path, InputCorrupt.__name__, f"not the fields expected: {error!r}"[:200])
    got = "" if error.got in (None, "") else f", got {error.got}"
    return FitFailure(instance_id, image_id, path, type(error).__name__, error.what + got)


def read_fields(path: Path) -> Any:
    """The named numbers of a .pkl, .json or .npz, of the last without object arrays.

    Raises:
        InputMissing, InputCorrupt, UnsafePickle, CheckpointError: no such file, or none of arrays.
    """
    require_no_pointer(path)
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.suffix == ".json":
        return read_json(path, "named numbers of a fit")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_BYTES:
            raise MemoryError(f"{size} bytes of arrays, more than any fit's")
        with np.load(path) as arrays:
            return {name: arrays[name].item() if arrays[name].ndim == 0 else arrays[name] for name in arrays.files}
    except (*MALFORMED, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        expected = "an npz of plain arrays"
        raise InputCorrupt("the file cannot be read", got=str(error)[:120], expected=expected, path=path) from error


def take(fields: Any, *names: str) -> Any:
    """The field that goes by the first of these names.

    Raises:
        InputCorrupt: no mapping, or none of the names is in it.
    """
    if not isinstance(fields, Mapping):
        raise InputCorrupt("not a record with named fields", got=type(fields).__name__, expected=", ".join(names))
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    raise InputCorrupt(f"no field {names[0]!r}", got=", ".join(map(str, sorted(fields, key=str)[:20])), expected=" or ".join(names))


def joints(pose: Any) -> Float[np.ndarray, "joints 3"]:
    """A pose of axis-angles, flat or in rows, as [J, 3].

    Raises:
        InputCorrupt: its length is no multiple of three, or it holds rotation matrices.
    """
    array = real_numbers(pose)
    matrices = array.ndim > 2 and array.shape[-2:] == (3, 3)
    if matrices or array.size == 0 or array.size % 3 or (array.ndim > 1 and array.shape[-1] != 3):
        raise InputCorrupt("pose is no list of axis-angles", got=list(array.shape), expected="3 numbers a joint")
    return array.reshape(-1, 3)


def axis_angle(vector: Any) -> Float[np.ndarray, "3 3"]:
    """The rotation about a vector by its length in radians (Rodrigues)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.asarray(vector, dtype=np.float64).reshape(3)).as_matrix()


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image from its header, before EXIF's rotation.

    Raises:
        InputMissing: no such file.
        InputCorrupt: no image, one of too many pixels, or a pointer in its place.
    """
    if not path.is_file():
        raise InputMissing("no such image", path=path)
    require_no_pointer(path)
    with open_image(path) as image:
        return image.size
