"""An image file as upright 8-bit RGB pixels and the hash of its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing
from dp3d_data.sources.addresses import is_address, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")

# Pillow's decoders raise these on damaged files, besides its own OSErrors.
_DECODER_ERRORS: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)
_DECODER_ERRORS += (OverflowError, struct.error, zlib.error, MemoryError)


@dataclass(frozen=True)
class Photograph:
    """A decoded image.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, upright: the rotation written in EXIF is applied. Boxes and keypoints are in these pixels.
        content_hash: SHA-256 of the file's bytes, hex.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    content_hash: str

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
    pixels = _decode(data, path, max_pixels)
    return Photograph(pixels, hashlib.sha256(data).hexdigest())


def local_pixels(path: str | None) -> UInt8[np.ndarray, "height width 3"] | None:
    """The pixels of a photograph that a table names, to be shown; None where no such file can be read.

    Tables come from strangers: only files of this machine are opened, no address, with the formats and limits of `read_image`.
    """
    if not path or is_address(path):
        return None
    try:
        return read_image(path).pixels
    except (Dp3dError, ValueError):
        return None


def _read_bytes(path: str | Path) -> bytes:
    if is_address(path):
        return _not_empty(read_bytes(str(path), MAX_BYTES), path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder that may not be read" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InputCorrupt("not an image file", got=kind, path=path)
        if status.st_size > MAX_BYTES:
            raise InputCorrupt("the file is too large", got=f"{status.st_size} bytes", expected=f"at most {MAX_BYTES}", path=path)
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputMissing("no such image", path=path) from error
    except OSError as error:
        raise InputCorrupt("the file cannot be read", got=error.strerror, path=path) from error
    return _not_empty(data, path)


def _not_empty(data: bytes, path: str | Path) -> bytes:
    if not data:
        raise InputCorrupt("the file is empty", got="0 bytes", path=path)
    return data


def _decode(data: bytes, path: str | Path, max_pixels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(f"{width} x {height} pixels", max_pixels, path)
                return _upright_rgb(image)
        except Image.DecompressionBombError as error:
            raise _too_large(error, max_pixels, path) from error
        except UnidentifiedImageError as error:
            expected = "an image file: " + ", ".join(FORMATS)
            raise InputCorrupt("not an image", got=_beginning(data), expected=expected, path=path) from error
        except InputCorrupt:
            raise
        except _DECODER_ERRORS as error:
            got = f"{type(error).__name__}: {error}"
            raise InputCorrupt("the image is damaged", got=got, expected="an image that decodes to its end", path=path) from error


def _too_large(got: object, max_pixels: int, path: str | Path) -> InputCorrupt:
    hint = "make a smaller copy, or raise the limit: --max-pixels N"
    return InputCorrupt("too many pixels", got=got, expected=f"at most {max_pixels}", hint=hint, path=path)


def _beginning(data: bytes) -> str:
    """The first bytes of a file that is no image, so that its nature shows."""
    return f"{len(data)} bytes that start with {data[:16]!r}"


def _upright_rgb(image: Image) -> np.ndarray:
    from PIL import Image as pillow

    image.load()
    upright = _turned(image)
    if upright.mode.startswith(("I", "F")):
        upright = pillow.fromarray(_to_eight_bits(np.asarray(upright)))
    elif upright.mode in ("P", "PA", "LA", "RGBA", "RGBa", "La") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))


def _turned(image: Image) -> Image:
    """The image with EXIF's rotation applied; EXIF that cannot be parsed says nothing."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        return image


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Wide integers are 16-bit where they exceed 255; floats are 0..1 where none exceeds 1, else 0..255."""
    values = np.nan_to_num(values.astype(np.float64))
    top = values.max(initial=0)
    if top > 255:
        values = values / 257
    elif top <= 1:
        values = values * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
