"""Decoding: every mode comes out upright and 8-bit RGB, every broken file with its reason."""

import hashlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dp3d_data.datasets import images
from dp3d_data.datasets.images import read_image
from dp3d_data.errors import InputCorrupt, InputMissing
from tests.data.hostile import BAD, GOOD, gradient, make_hostile, png_header
from tests.shared import shared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_hostile(tmp_path_factory.mktemp("images") / "hostile")


@pytest.mark.parametrize("name", GOOD)
def test_good_files_become_rgb(folder, name):
    photograph = read_image(folder / name)
    assert photograph.pixels.dtype == np.uint8 and photograph.pixels.shape[2] == 3
    assert photograph.pixels.flags.c_contiguous
    assert (photograph.height, photograph.width) == photograph.pixels.shape[:2]
    assert photograph.content_hash == hashlib.sha256((folder / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_why(folder, name):
    with pytest.raises((InputCorrupt, InputMissing)) as caught:
        read_image(folder / name)
    assert name in str(caught.value) and len(str(caught.value).splitlines()) >= 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "not an image\n  got: 20 bytes that start with b'this is not"),
        ("truncated.jpg", "the image is damaged"),
        ("bomb.png", "too many pixels"),
        ("wide.png", "12000 x 12000 pixels"),
        ("pipe.jpg", "no regular file"),
        ("nowhere.jpg", "no such image"),
        ("postscript.jpg", "not an image"),
    ],
)
def test_the_reason_is_the_true_one(folder, name, text):
    with pytest.raises((InputCorrupt, InputMissing)) as caught:
        read_image(folder / name)
    assert text in str(caught.value)


PLAIN = np.asarray(gradient()).astype(int)
RAMP = np.linspace(0, 255, 64 * 48).reshape(48, 64, 1).repeat(3, axis=2)
# File -> the picture in it, and the mean error that its compression may make.
MODES = {
    "plain.jpg": (PLAIN, 12),
    "wrong_extension.png": (PLAIN, 12),
    "broken_exif.jpg": (PLAIN, 12),
    "animated.webp": (PLAIN, 12),
    "cmyk.jpg": (PLAIN, 12),
    "sixteen.png": (RAMP, 1),
    "float.tif": (RAMP, 1),
    "sixteen_rgb.png": (np.full((48, 64, 3), 128), 1),
}


@pytest.mark.parametrize("name", MODES)
def test_modes_keep_the_picture(folder, name):
    expected, tolerance = MODES[name]
    found = read_image(folder / name).pixels
    assert found.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < tolerance
    assert np.abs(found[::-1, ::-1].astype(int) - expected).mean() > 5 or np.ptp(expected) == 0, (
        "the tolerance tells pictures apart"
    )


def test_transparent_parts_lie_on_white(folder):
    pixels = read_image(folder / "alpha.png").pixels
    assert pixels[0].min() > 240 and pixels[-1].min() < 200


def test_exif_rotation_is_applied(folder):
    turned = read_image(folder / "turned.jpg").pixels
    upright = np.asarray(gradient().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert turned.shape == upright.shape == (64, 48, 3)
    assert np.abs(turned - upright).mean() < 12


def test_an_animation_gives_its_first_frame(folder):
    red = read_image(folder / "animated.gif").pixels[:, :, 0].astype(int)
    assert red[:, -1].mean() > red[:, 0].mean() + 100


def test_the_limit_of_pixels_is_a_choice(tmp_path):
    (tmp_path / "photo.png").write_bytes(png_header(100, 100))
    with pytest.raises(InputCorrupt, match="--set max_pixels"):
        read_image(tmp_path / "photo.png", max_pixels=9_999)


def test_a_folder_that_may_not_be_read(tmp_path):
    with pytest.raises(InputCorrupt, match="a folder that may not be read"):
        read_image(tmp_path)


def sixteen(path, values):
    """A PNG of 16 bits a channel, grey, RGB or RGBA, with these values [h, w, c]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 3: 2, 4: 6}[values.shape[2]]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    coded = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(coded))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_cameras_of_fewer_bits_are_not_black(bits, channels, tmp_path):
    """12 bits in a file of 16 come out as bright as they were, in grey and in colour."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (20, 30, channels))
    if channels == 4:
        values[..., 3] = 65535
    sixteen(tmp_path / "a.png", values)
    found, expected = read_image(tmp_path / "a.png").pixels.astype(int), values[..., :3] * 255 / (2**bits - 1)
    assert np.abs(found - expected).max() <= (1 if bits < 16 else 2)


def test_the_shared_grey_of_12_bits_is_bright():
    assert read_image(shared("cases/images/g12in16.png")).pixels.mean() > 100


def test_a_png_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(InputCorrupt, match="too many pixels"):
        read_image(shared("cases/faults/bomb.png"))


def test_heic_is_read_where_its_library_is(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(gradient()).save(tmp_path / "a.heic")
    assert read_image(tmp_path / "a.heic").pixels.shape == (48, 64, 3)


def test_heic_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "readable_formats", lambda: ("JPEG", "PNG"))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99)
    with pytest.raises(InputCorrupt, match="(?s)not an image.*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_rotation_is_told_in_every_format(tmp_path, ending):
    """Pillow turns a TIFF as it decodes it and forgets that it did."""
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (6, 8)).save(tmp_path / f"a.{ending}", exif=exif)
    found = read_image(tmp_path / f"a.{ending}")
    assert (found.width, found.height, found.orientation) == (8, 6, 6)


def test_a_name_with_a_zero_byte_is_no_image(tmp_path):
    with pytest.raises(InputMissing, match="no such image"):
        read_image(f"{tmp_path}/a\0.jpg")
