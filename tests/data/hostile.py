"""A folder of images as they come: good ones in every mode, and files that are broken in every way."""

import io
import os
import pickle
import stat
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
    "progressive.jpg",
    "animated.png",
    "lab.tif",
    "wide_strip.png",
    "tall_strip.png",
    "two\nlines.jpg",
    "quotes'\".jpg",
    f"{'long' * 60}.jpg",
    "u\u0308mlaut.jpg",
    "\u00fcmlaut.jpg",
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
    "document.jpg",
    "archive.jpg",
    "drawing.png",
    "video.jpg",
    "heic.jpg",
    "pointer.png",
    "wide_text.jpg",
    "objects.png",
    "one_byte.jpg",
    "newline.jpg",
    "sparse.jpg",
    "socket.jpg",
    "loop.jpg",
    "device.jpg",
    "truncated.png",
    "truncated.gif",
    "truncated.webp",
    "truncated.tif",
    "bomb.gif",
    "bomb.bmp",
    "bomb.tif",
    "text_bomb.png",
    "markers_only.jpg",
    "no_scan.jpg",
    "no_frame.gif",
    "no_data.png",
    "no_width.png",
    "half.jp2",
    "one\nline.jpg",
)


def gradient(width=64, height=48):
    """A picture whose every part differs: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8))


def encoded(kind):
    """The picture as a file of some format."""
    buffer = io.BytesIO()
    gradient().save(buffer, kind)
    return buffer.getvalue()


def png(width, height, *chunks, bits=8):
    """A PNG of RGB that claims a size, with chunks as (kind, content)."""
    size = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    parts = [(b"IHDR", size), *chunks, (b"IEND", b"")]
    coded = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(coded)


def png_header(width, height):
    """A PNG that claims a size and holds almost nothing."""
    return png(width, height, (b"IDAT", zlib.compress(b"\0" * 100)))


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
    make_good_and_odd(folder, image, frames)


def make_good_and_odd(folder: Path, image, frames) -> None:
    """Rare encodings, extreme shapes, and names that are legal all the same."""
    image.save(folder / "progressive.jpg", progressive=True)
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    Image.merge("LAB", image.split()).save(folder / "lab.tif")
    image.resize((20_000, 24)).save(folder / "wide_strip.png")
    image.resize((24, 20_000)).save(folder / "tall_strip.png")
    for name in ("two\nlines.jpg", "quotes'\".jpg", f"{'long' * 60}.jpg", "u\u0308mlaut.jpg", "\u00fcmlaut.jpg"):
        image.save(folder / name)


def sixteen_bit_rgb():
    """Pillow writes no 16-bit RGB, so by hand: 64 x 48, all samples 0x8000."""
    rows = (b"\0" + b"\x80\x00" * 3 * 64) * 48
    return png(64, 48, (b"IDAT", zlib.compress(rows)), bits=16)


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
    data = bytearray((folder / "grey.png").read_bytes())
    data[-20] ^= 0xFF
    (folder / "bad_checksum.png").write_bytes(data)
    make_foreign(folder)
    make_damaged(folder)


def make_foreign(folder: Path) -> None:
    """Files of other kinds under an image's name, and things that are no files."""
    contents = {
        "document.jpg": b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n",
        "archive.jpg": b"PK\x03\x04" + bytes(60),
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "video.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(60),
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "wide_text.jpg": "no image".encode("utf-16"),
        "objects.png": pickle.dumps({"pixels": [1, 2, 3]}),
        "one_byte.jpg": b"\xff",
        "newline.jpg": b"\n",
        "one\nline.jpg": b"a name of two lines",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "sparse.jpg").touch()
    os.truncate(folder / "sparse.jpg", 3 << 30)
    os.mknod(folder / "socket.jpg", stat.S_IFSOCK | 0o600)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")


def make_damaged(folder: Path) -> None:
    """Images that are cut, that claim too much, or that lack a part."""
    for kind, name in (("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"), ("TIFF", "tif")):
        data = encoded(kind)
        (folder / f"truncated.{name}").write_bytes(data[: len(data) // 3])
    (folder / "bomb.gif").write_bytes(
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + b"\x2c" + bytes(20)
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (folder / "bomb.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + bitmap + bytes(30))
    tags = [
        (256, 4, 1, 90_000),
        (257, 4, 1, 90_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (279, 4, 1, 1),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    (folder / "bomb.tif").write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4))
    text = b"comment\0\0" + zlib.compress(bytes(8 << 20))
    (folder / "text_bomb.png").write_bytes(png(64, 48, (b"zTXt", text), (b"IDAT", zlib.compress(bytes(193 * 48)))))
    (folder / "markers_only.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (folder / "no_scan.jpg").write_bytes(encoded("JPEG").partition(b"\xff\xda")[0])
    (folder / "no_frame.gif").write_bytes(b"GIF89a" + struct.pack("<HH", 64, 48) + b"\0\0\0;")
    (folder / "no_data.png").write_bytes(png(64, 48))
    (folder / "no_width.png").write_bytes(png_header(0, 48))
    (folder / "half.jp2").write_bytes(encoded("JPEG2000")[:90])


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
