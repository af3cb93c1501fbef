"""Limits before work: bombs, damage, encryption and pointers are told at once, by every reader of arrays, json and
TOML."""

import io
import json
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.bodies.files import load_body_model
from dp3d_data.config import read_toml
from dp3d_data.datasets import DatasetOptions, locations, open_images
from dp3d_data.datasets.boxes import read_boxes
from dp3d_data.errors import ConfigError, InputCorrupt, InputMissing, ShardError
from dp3d_data.files import read_json
from dp3d_data.geometry.laplacian import cached_arrays
from dp3d_data.geometry.template import Template
from dp3d_data.limits import MOST_JSON, parse_json, parse_toml, read_arrays
from dp3d_data.shards.files import read_basis
from tests.data.fits.trees import read_fits

ARRAYS = {
    "keypoints": np.arange(12.0).reshape(2, 3, 2),
    "visible": np.ones((2, 3), bool),
    "image": np.array(["a", "b"]),
}


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def with_header(text: bytes, data: bytes = bytes(64), name: str = "keypoints") -> bytes:
    """An npz whose one array begins with this header."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data)
    return stream.getvalue()


def encrypted(data: bytes) -> bytes:
    """The same archive with every entry said to be encrypted."""
    text = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = text.find(mark)
        while at >= 0:
            text[at + place] |= 1
            at = text.find(mark, at + 1)
    return bytes(text)


WHOLE = npz(**ARRAYS)
DAMAGED = {
    "empty": b"",
    "no zip": b"PK\x03\x04" + bytes(100),
    "cut": WHOLE[: len(WHOLE) // 2],
    "encrypted": encrypted(WHOLE),
    "another method": WHOLE.replace(b"\x08\x00\x00\x00\x21\x00", b"\x63\x00\x00\x00\x21\x00"),
    "no header": with_header(b""),
    "open bracket": with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 2"),
    "indented": with_header(b"  {'descr': '<f8'\n   'x"),
    "nested": with_header(b"(" * 5000),
    "unknown type": with_header(b"{'descr': '<q9', 'fortran_order': False, 'shape': (2,), }"),
    "objects": with_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
    "terabytes": with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
    "2^70": with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1180591620717411303424,), }"),
    "negative": with_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }"),
    "nothing, endlessly": with_header(b"{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,), }", b""),
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
}
READERS = {
    "arrays": read_arrays,
    "template": Template.load,
    "basis": read_basis,
    "body": load_body_model,
    "keypoints": lambda path: open_images("keypoints", DatasetOptions(path=str(path))).records(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_told_by_every_reader_of_arrays(tmp_path, kind, reader):
    path = tmp_path / "a.npz"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises((InputCorrupt, ShardError)) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    if kind == "pointer" and reader != "basis":
        assert "fetch the file" in caught.value.what


@pytest.mark.parametrize("reader", READERS)
def test_arrays_far_larger_than_their_file_are_refused_unread(tmp_path, reader):
    """400 MB of zeros in 0.4 MB, under names that each reader asks for."""
    names = {"body": "v_template", "keypoints": "visible"}
    path, start = tmp_path / "bomb.npz", time.process_time()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"{names.get(reader, 'vertices')}.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|b1", "fortran_order": False, "shape": (2, 200_000_000)}
            )
            for _ in range(400):
                stream.write(bytes(1_000_000))
        if reader == "keypoints":
            for name, values in (("keypoints", np.zeros((2, 200_000_000, 0))), ("image", np.array(["a", "b"]))):
                with archive.open(f"{name}.npy", "w") as stream:
                    np.save(stream, values)
    written = time.process_time() - start
    with pytest.raises((InputCorrupt, ShardError), match="far larger|another shape|damaged basis"):
        READERS[reader](path)
    assert time.process_time() - start < 1 + 2 * written


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for value in (1.0, 2.0):
            with archive.open("a.npy", "w") as stream:
                np.lib.format.write_array(stream, np.full(3, value))
    with pytest.raises(InputCorrupt, match="an array that stands twice"):
        read_arrays(tmp_path / "a.npz")


def test_plain_arrays_come_back(tmp_path):
    (tmp_path / "a.npz").write_bytes(WHOLE)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS) and all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)
    assert list(read_arrays(tmp_path / "a.npz", ("visible", "other"))) == ["visible"]
    masks = np.zeros((200, 100_000), bool)
    (tmp_path / "b.npz").write_bytes(npz(masks=masks))
    assert (tmp_path / "b.npz").stat().st_size < masks.nbytes / 100 and read_arrays(tmp_path / "b.npz")[
        "masks"
    ].shape == masks.shape
    with pytest.raises(InputMissing):
        read_arrays(tmp_path / "none.npz")


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_told(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("changed") / "a.npz"
    path.write_bytes(WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :])
    try:
        read_arrays(path)
    except InputCorrupt as error:
        assert str(path) in str(error)


def test_a_damaged_cache_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_CACHE", str(tmp_path))
    for content in DAMAGED.values():
        (tmp_path / "x.npz").write_bytes(content)
        assert cached_arrays("x", {"a": (2,)}, lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]


DEEP = '{"a": ' * 100_000 + "1" + "}" * 100_000


def test_deep_json_is_refused_wherever_it_is_read(tmp_path):
    path = tmp_path / "deep.json"
    for text in (DEEP, "[" * 100_000, '{"images": ' + "[" * 50_000 + "]" * 50_000 + "}"):
        path.write_text(text)
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(text)
        with pytest.raises(ShardError, match="damaged manifest"):
            read_json(path, "manifest")
        with pytest.raises(InputCorrupt, match="not"):
            read_boxes(path)
        for source in ("coco", "lvis"):
            with pytest.raises(InputCorrupt, match="not"):
                open_images(source, DatasetOptions(path=str(path), images=(str(tmp_path),), category="dog")).records()


def test_names_of_json_stand_once_and_half_characters_are_replaced():
    with pytest.raises(ValueError, match="'a' stands twice in an object"):
        parse_json('{"b": [{"a": 1, "a": 1}]}')
    smile = "\U0001f600"
    text = r'["\ud83d\ude00", "\ud8aa.jpg", "\\ud800", "\udc00\ud83d\ude00"]'
    assert parse_json(text) == [smile, "\ufffd.jpg", r"\ud800", f"\ufffd{smile}"]
    assert parse_json(b'\xef\xbb\xbf["\\ud800"]') == ["\ufffd"]


TOML_BOMBS = (
    *("a = " + "[" * 100_000, "a = " + "{a = " * 50_000, ".".join("a" * 200_000) + " = 1"),
    *('"a"."b" . ' * 40 + "c = 1", "[" + "a." * 40 + "a]"),
)


@pytest.mark.parametrize("text", [*TOML_BOMBS, "#" * 2_000_000], ids=range(len(TOML_BOMBS) + 1))
def test_deep_and_long_toml_is_refused_at_once(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    start = time.process_time()
    with pytest.raises(ConfigError, match="not a TOML file"):
        read_toml(tmp_path / "a.toml")
    assert time.process_time() - start < 5


def test_plain_toml_is_read():
    text = 'a.b = 1.5\npath = "../a.b/c.d/e.f"\nlist = [[1, 2], [3]]\n[x.y]\nz = 1979-05-27T07:32:00Z\n'
    assert parse_toml(text)["x"]["y"]["z"].year == 1979
    assert json.loads(json.dumps(parse_toml(text)["list"])) == [[1, 2], [3]]


JSON_READERS = {
    "a.json": lambda path: locations.read_json(path, "json"),
    "boxes.json": read_boxes,
    "fits.json": lambda path: list(read_fits("neutral", path)),
    "coco.json": lambda path: open_images("coco", DatasetOptions(path=str(path), images=(str(path.parent),))).records(),
    "manifest.json": lambda path: read_json(path, "manifest"),
}


@pytest.mark.parametrize("name", JSON_READERS)
def test_json_too_large_to_be_parsed_is_refused_unread(name, tmp_path):
    with open(tmp_path / name, "wb") as stream:
        stream.truncate(MOST_JSON + 1)  # a hole: it takes no room
    start = time.monotonic()
    with pytest.raises(
        (InputCorrupt, ShardError), match=r"(?s)(too large|damaged).*got: 4,294,967,297 bytes.*expected: at most"
    ):
        JSON_READERS[name](tmp_path / name)
    assert time.monotonic() - start < 1
