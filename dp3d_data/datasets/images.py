"""An image file as upright 8-bit RGB pixels; annotations of the stored pixels, turned likewise."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt8

from dp3d_data.datasets import ReadyInstance
from dp3d_data.datasets.locations import is_address, read_bytes
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing
from dp3d_data.files import require_no_pointer
from dp3d_data.records import Box, GivenObject, ImageRecord, VertexView
from dp3d_data.run_lengths import encode_pixels, mask_pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Bits that cameras give a channel.
DEPTHS = (8, 10, 12, 14, 16)
MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
# What a file of ISO's base media format begins with, after four bytes: HEIC, HEIF and AVIF.
BRANDS = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1", b"ftypavif")
NEED_HEIF = (
    "HEIC and HEIF are read once pillow-heif is installed: pip install pillow-heif; AVIF needs a Pillow with AVIF"
)
# EXIF's orientations that exchange width and height; of a stored point (x, y) in an image of w x h pixels they make
# (y, x), (h - y, x), (h - y, w - x), (y, w - x).
TURNS = (5, 6, 7, 8)
MIRRORS = (5, 7)

# What Pillow's decoders raise on damaged files.
_DECODER_ERRORS: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError)
_DECODER_ERRORS += (OverflowError, MemoryError, struct.error, zlib.error)


@dataclass(frozen=True)
class Photograph:
    """A decoded image.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, upright: the rotation written in EXIF is applied. Boxes and keypoints are in these
            pixels.
        content_hash: SHA-256 of the file's bytes, hex.
        orientation: EXIF's, 1 to 8, by which the stored pixels were turned; 1 where it says nothing.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    content_hash: str
    orientation: int = 1

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Read and decode an image of any mode: the first frame, transparent parts on white, 16 bits scaled to 8.

    The content decides the format, not the name. Only pixel formats are decoded (`FORMATS`).

    Raises:
        InputMissing: no such file, or a link to nowhere.
        InputCorrupt: empty, truncated, no image, too large, or it may not be read.
    """
    data = _read_bytes(path)
    with _opened(io.BytesIO(data), path, max_pixels) as image:
        told = _orientation(image) if image.format == "TIFF" else 0  # which Pillow turns as it decodes it
        _load(image, data)
        return Photograph(_upright_rgb(image), hashlib.sha256(data).hexdigest(), told or _orientation(image))


@contextmanager
def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile]:
    """An image as Pillow has it, with the formats and limits of `read_image`; decoded as far as the block does.

    EXIF's rotation is not applied. What decoding raises in the block comes out as InputCorrupt.

    Raises:
        InputMissing: no such file.
        InputCorrupt: as `read_image`.
    """
    if is_address(path):
        source: BinaryIO = io.BytesIO(_read_bytes(path))
    else:
        _check_file(path)
        source = open(path, "rb")
    with source, _opened(source, path, max_pixels) as image:
        yield image


def local_pixels(path: str | None) -> UInt8[np.ndarray, "height width 3"] | None:
    """The pixels of a photograph that a table names, to be shown; None where no such file can be read.

    Tables come from others: only files of this machine are opened, no address, with the formats and limits of
    `read_image`.
    """
    if not path or is_address(path):
        return None
    try:
        return read_image(path).pixels
    except (Dp3dError, ValueError):
        return None


def _read_bytes(path: str | Path) -> bytes:
    if is_address(path):
        data = read_bytes(str(path), MAX_BYTES)
    else:
        _check_file(path)
        data = Path(path).read_bytes()
    if not data:
        raise InputCorrupt("the file is empty", got="0 bytes", path=path)
    return data


def _check_file(path: str | Path) -> None:
    if "\0" in str(path):
        raise InputMissing("no such image", got="a name with a zero byte in it", path=path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder that may not be read" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InputCorrupt("not an image file", got=kind, path=path)
        if status.st_size > MAX_BYTES:
            got, expected = f"{status.st_size} bytes", f"at most {MAX_BYTES}"
            raise InputCorrupt("the file is too large", got=got, expected=expected, path=path)
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise InputMissing("no such image", path=path) from error
    except OSError as error:
        raise InputCorrupt("the file cannot be read", got=error.strerror, path=path) from error


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: HEIF with pillow-heif alone, AVIF where Pillow knows it."""
    from PIL import Image, features

    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    known = set(Image.OPEN) if features.check("avif") else set(Image.OPEN) - {"AVIF"}
    return tuple(name for name in FORMATS if name in known)


@contextmanager
def _opened(source: BinaryIO, path: str | Path, max_pixels: int) -> Iterator[ImageFile]:
    """An image whose header is read; what is wrong with it, also later in the block, is one of our errors."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(source, formats=readable_formats()) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(f"{width} x {height} pixels", max_pixels, path)
                yield image
        except Image.DecompressionBombError as error:
            raise _too_large(error, max_pixels, path) from error
        except UnidentifiedImageError as error:
            if not is_address(path):
                require_no_pointer(path)
            expected = "an image file: " + ", ".join(readable_formats())
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            start = source.read(16)
            hint = NEED_HEIF if start[4:].startswith(BRANDS) else None
            got = f"{size} bytes that start with {start!r}"
            raise InputCorrupt("not an image", got=got, expected=expected, hint=hint, path=path) from error
        except Dp3dError:
            raise
        except _DECODER_ERRORS as error:
            got, expected = f"{type(error).__name__}: {error}", "an image that decodes to its end"
            raise InputCorrupt("the image is damaged", got=got, expected=expected, path=path) from error


def _too_large(got: object, max_pixels: int, path: str | Path) -> InputCorrupt:
    hint = "make a smaller copy, or raise the limit: --set max_pixels=N"
    return InputCorrupt("too many pixels", got=got, expected=f"at most {max_pixels}", hint=hint, path=path)


def _load(image: ImageFile, data: bytes) -> None:
    """Decode; Pillow keeps the high bytes of 16 bits alone; where these are nearly black, all 16 are scaled."""
    from PIL import Image as pillow

    wide = image.mode in ("RGB", "RGBA") and bool(image.tile) and all(";16" in str(tile.args) for tile in image.tile)
    image.load()
    high = np.asarray(image) if wide else None
    if high is None or high[..., :3].max(initial=0) >= 64:
        return
    with pillow.open(io.BytesIO(data), formats=readable_formats()) as other:
        other.tile = [tile._replace(args=_other_byte(tile.args)) for tile in other.tile]
        values = high[..., :3].astype(np.uint16) * 256 + np.asarray(other)[..., :3]
    image.paste(pillow.fromarray(np.concatenate([_to_eight_bits(values), high[..., 3:]], axis=2)))


def _other_byte(args: Any) -> Any:
    """The arguments of a Pillow decoder that keep the other byte of each number of 16 bits."""
    if isinstance(args, tuple):
        return (_other_byte(args[0]), *args[1:])
    return args[:-1] + {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[args[-1]]


def _upright_rgb(image: Image) -> np.ndarray:
    """The pixels, turned as EXIF says, where it can be parsed."""
    from PIL import Image as pillow
    from PIL import ImageOps

    upright = image
    with suppress(*_DECODER_ERRORS):
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        upright = pillow.fromarray(_to_eight_bits(np.asarray(upright)))
    elif upright.mode in ("P", "PA", "LA", "RGBA", "RGBa", "La") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))


def _orientation(image: Image) -> int:
    """EXIF's orientation, 1 to 8; EXIF that cannot be parsed says nothing."""
    from PIL import ExifTags

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Wide integers have as many bits as their largest value needs: 8, 10, 12, 14 or 16, since cameras of 12 bits write
    files of 16; floats are 0..1 where none exceeds 1, else the same."""
    values = np.nan_to_num(values.astype(np.float64))
    top = values.max(initial=0)
    white = next((2**bits - 1 for bits in DEPTHS if top < 2**bits), 65535) if top > 1 else 1
    return np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8)


def turn_of(size: tuple[int, int] | None, photograph: Photograph) -> int:
    """How annotations of an image of (width, height) fit the upright photograph: EXIF's orientation, or 0.

    Raises:
        InputCorrupt: they are of another image.
    """
    upright = photograph.width, photograph.height
    if size in (None, upright):
        return 0
    if size == upright[::-1] and photograph.orientation in TURNS:
        return photograph.orientation
    got, expected = f"{size[0]} x {size[1]}", f"{upright[0]} x {upright[1]} pixels, as the photograph has"
    hint = "name the folder of the annotated photographs: --images FOLDER; or detect instead: --set given_boxes=false"
    raise InputCorrupt("the annotations are of an image of another size", got=got, expected=expected, hint=hint)


def turned_record(record: ImageRecord, photograph: Photograph) -> ImageRecord:
    """The record with its objects in pixels of the upright photograph.

    Raises:
        InputCorrupt: its annotations are of another image.
    """
    orientation = turn_of(record.size, photograph)
    if not orientation or record.size is None:
        return record
    objects = tuple(_turned_object(one, orientation, record.size) for one in record.objects or ())
    return replace(record, objects=objects, size=record.size[::-1])


def turned_instance(one: ReadyInstance, orientation: int, size: tuple[int, int]) -> ReadyInstance:
    """An instance with its box, keypoints and true points turned.

    Raises:
        InputCorrupt: a photograph that EXIF mirrors, in which left and right of the body were exchanged; pixels of a
            dense prediction.
    """
    if orientation in MIRRORS or not isinstance(one.found, VertexView):
        expected = "keypoints of the upright photograph"
        raise InputCorrupt("keypoints of a photograph that EXIF mirrors", expected=expected)
    view = replace(one.found, keypoints=turned_points(one.found.keypoints, orientation, size))
    points = None
    if one.points is not None:
        points = np.concatenate([turned_points(one.points[:, :2], orientation, (0, 0)), one.points[:, 2:]], axis=1)
    return replace(one, box=_turned_box(one.box, orientation, size), found=view, points=points)


def turned_points(
    points: Float[np.ndarray, "N 2"], orientation: int, size: tuple[int, int]
) -> Float[np.ndarray, "N 2"]:
    """Points of the stored image, in pixels of the upright one.

    Args:
        size: (width, height) of the stored image.
    """
    x = size[1] - points[:, 1] if orientation in (6, 7) else points[:, 1]
    y = size[0] - points[:, 0] if orientation in (7, 8) else points[:, 0]
    return np.stack([x, y], axis=1)


def _turned_box(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    ends = turned_points(np.array(box, dtype=np.float64).reshape(2, 2), orientation, size)
    (x0, y0), (x1, y1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
    return x0, y0, x1, y1


def _turned_object(one: GivenObject, orientation: int, size: tuple[int, int]) -> GivenObject:
    mask, keypoints = one.mask, one.keypoints
    if mask is not None:
        pixels = mask_pixels(mask).T
        mask = encode_pixels(pixels[:: -1 if orientation in (7, 8) else 1, :: -1 if orientation in (6, 7) else 1])
    if keypoints is not None:
        places = turned_points(np.array(keypoints)[:, :2], orientation, size).tolist()
        keypoints = tuple((x, y, seen) for (x, y), (_, _, seen) in zip(places, keypoints, strict=True))
    return replace(one, box=_turned_box(one.box, orientation, size), mask=mask, keypoints=keypoints)
