"""Text of every origin: byte-order marks, ends of lines, and every reader of what people write."""

import codecs
import re

import numpy as np
import pytest

from dp3d_data.config import read_toml
from dp3d_data.datasets.boxes import read_boxes
from dp3d_data.datasets.locations import read_json, split_lists
from dp3d_data.errors import ConfigError, Dp3dError, InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.geometry.mesh_files import read_mesh
from dp3d_data.geometry.subsets import named_keypoints, read_subset
from dp3d_data.matching.landmarks import read_landmarks
from dp3d_data.shards.plan import read_split_list
from pipelines.lift import _read as read_table
from tests.house.source_tree import modules, short
from tests.shared import shared

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
# Name of the file, what it says, and what its reader makes of it.
READERS = {
    "a.toml": ('category = "dog"\n', read_toml),
    "split.csv": ("dog.jpg,train\nhorses.jpg,val\n", read_split_list),
    "train.txt": ("a.jpg\nb.jpg\n", lambda path: split_lists(path.parent)),
    "boxes.csv": ("image,x0,y0,x1,y1\na.jpg,1,2,3,4\n", lambda path: read_boxes(path)),
    "boxes.json": ('{"a.jpg": [[1, 2, 3, 4]]}', lambda path: read_boxes(path)),
    "a.json": ('{"a": "é"}', lambda path: read_json(path, "json")),
    "subset.txt": ("0 2\n1\n", lambda path: read_subset(path, 3).tolist()),
    "marks.csv": ("vertex,cse_vertex\n1,2\n", lambda path: read_landmarks(path, 3, 3)),
    "keypoints.csv": ("index,vertex\n1,2\n", lambda path: named_keypoints(path)[0].tolist()),
    "table.csv": ("instance,vertex,x,y\na,1,2,3\n", lambda path: read_table(path).to_pylist()),
    "mesh.obj": (TRIANGLE, lambda path: tuple(part.tolist() for part in read_mesh(path))),
}
MARKS = {"utf-8-sig": b"", "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("code", MARKS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_mark_and_the_ends_of_lines_change_nothing(name, code, ends, tmp_path):
    text, reader = READERS[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    plain = reader(path)
    path.write_bytes(MARKS[code] + text.replace("\n", ends).encode(code))
    assert reader(path) == plain and plain


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_text_is_one_error_of_ours(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(InputMissing):
        READERS[name][1](tmp_path / "nowhere" / name) if name != "train.txt" else read_text(path)
    if name not in ("train.txt", "mesh.obj"):  # these take any bytes
        path.write_bytes(b"\x80\xfe\x00" * 9)
        with pytest.raises((InputCorrupt, ConfigError)):
            READERS[name][1](path)


def test_a_list_of_the_split_and_settings_with_a_mark():
    folder = shared("cases/text")
    assert read_split_list(folder / "split_bom.csv") == read_split_list(folder / "split_ok.csv")
    assert read_toml(folder / "c.toml") == {"extract": {"category": "dog"}}


def test_names_with_strange_separators_stay_whole(tmp_path):
    """Only ends of lines end a line: no vertical tab, no line separator of Unicode."""
    path = tmp_path / "split.txt"
    path.write_text("a\x0bb\u2028c.jpg,train\n", encoding="utf-8")
    assert read_split_list(path) == {"a\x0bb\u2028c.jpg": "train"}


def test_settings_nested_without_end(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(Dp3dError, match="not a TOML file"):
        read_toml(path)


def test_text_is_read_by_one_function():
    """No reader of a room of inputs decodes text itself."""
    rooms = [
        path
        for path in modules()
        if path.parent.name in ("datasets", "fits", "geometry", "bodies") or path.name == "config.py"
    ]
    own = re.compile(r"\.read_text\(|open\([^)]*encoding=|utf-8-sig")
    assert not [short(path) for path in rooms if own.search(path.read_text(encoding="utf-8"))]


def test_numbers_of_a_marked_mesh(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text(TRIANGLE, encoding="utf-8-sig")
    assert np.array_equal(read_mesh(path)[0], [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
