"""A folder of images as they come: good ones in every mode, and files that are broken in every way."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

# Names of the files that decode, and of those that must not.
GOOD = (
    "plain.jpg",
    "sixteen.png",
    "sixteen_rgb.png",
    "cmyk.jpg",
    "alpha.png",
    "palette.png",
    "palette_transparent.png",
    "grey.png",
    "grey_alpha.png",
    "one_bit.png",
    "float.tif",
    "turned.jpg",
    "animated.gif",
    "animated.webp",
    "wrong_extension.png",
    "broken_exif.jpg",
    "name with spaces.jpg",
    "Hündchen 犬 🐕.jpg",
    "deep/er/photo.jpg",
    "one_pixel.png",
    "upper.JPG",
    "[brackets].jpg",
)
BAD = (
    "truncated.jpg",
    "text.jpg",
    "empty.jpg",
    "html.png",
    "bomb.png",
    "wide.png",
    "half_header.png",
    "postscript.jpg",
    "nowhere.jpg",
    "zeros.jpg",
    "random.webp",
    "pipe.jpg",
    "bad_checksum.png",
)


def gradient(width=64, height=48):
    """A picture whose every part differs: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8))


def png_header(width, height):
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def make_good(folder: Path) -> None:
    image, wide = gradient(), np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    (folder / "deep/er").mkdir(parents=True)
    for name in ("plain.jpg", "name with spaces.jpg", "Hündchen 犬 🐕.jpg", "deep/er/photo.jpg", "[brackets].jpg"):
        image.save(folder / name)
    image.save(folder / "upper.JPG", format="JPEG")
    Image.fromarray(wide.astype(np.uint16)).save(folder / "sixteen.png")
    (folder / "sixteen_rgb.png").write_bytes(sixteen_bit_rgb())
    image.convert("CMYK").save(folder / "cmyk.jpg")
    layered = image.copy()
    layered.putalpha(Image.linear_gradient("L").resize(image.size))
    layered.save(folder / "alpha.png")
    layered.convert("LA").save(folder / "grey_alpha.png")
    image.quantize(16).save(folder / "palette.png")
    image.quantize(16).save(folder / "palette_transparent.png", transparency=3)
    image.convert("L").save(folder / "grey.png")
    image.convert("1").save(folder / "one_bit.png")
    Image.fromarray((wide / 65535).astype(np.float32)).save(folder / "float.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.save(folder / "broken_exif.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for name in ("animated.gif", "animated.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    image.save(folder / "wrong_extension.png", format="JPEG")
    image.resize((1, 1)).save(folder / "one_pixel.png")


def sixteen_bit_rgb():
    """Pillow writes no 16-bit RGB, so by hand: 64 x 48, all samples 0x8000."""
    rows = (b"\0" + b"\x80\x00" * 3 * 64) * 48

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_bad(folder: Path) -> None:
    whole = (folder / "plain.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("this is not an image")
    (folder / "empty.jpg").touch()
    (folder / "html.png").write_text("<html><body>404 Not Found</body></html>")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (folder / "wide.png").write_bytes(png_header(12_000, 12_000))
    (folder / "half_header.png").write_bytes(png_header(64, 48)[:20])
    (folder / "postscript.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    (folder / "nowhere.jpg").symlink_to(folder / "deleted.jpg")
    (folder / "zeros.jpg").write_bytes(bytes(5000))
    (folder / "random.webp").write_bytes(np.random.default_rng(0).bytes(5000))
    os.mkfifo(folder / "pipe.jpg")
    png = bytearray((folder / "grey.png").read_bytes())
    png[-20] ^= 0xFF
    (folder / "bad_checksum.png").write_bytes(png)


def make_hostile(folder: Path) -> Path:
    """All of GOOD and BAD, things that are to be ignored, and folders linked in a circle."""
    folder.mkdir(parents=True)
    make_good(folder)
    make_bad(folder)
    (folder / "notes.txt").write_text("not meant to be read")
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    (folder / ".git").mkdir()
    gradient().save(folder / ".git/inside.jpg")
    (folder / "deep/back").symlink_to(folder, target_is_directory=True)
    (folder / "deep/self").symlink_to(folder / "deep", target_is_directory=True)
    return folder
