"""The one writer: whole or not at all, and one error that names the file that was to be."""

import errno
import io
import os

import numpy as np
import pyarrow as pa
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dp3d_data import files
from dp3d_data.datasets.neutral import write_fits
from dp3d_data.errors import Asking, DiskFull, InputMissing, PathUnusable
from dp3d_data.files import growing, write_arrays, write_figure, write_json, write_picture, write_text, write_whole
from dp3d_data.geometry.laplacian import cached_arrays
from dp3d_data.geometry.mesh_files import write_mesh
from dp3d_data.shards.files import write_arrow, write_table
from dp3d_data.torch_files import write_torch
from dp3d_model.export.meshes import prediction_table
from tests.data.project.dogs import dog_fit
from tests.data.shards.samples import grid_template

NOISE = np.random.default_rng(0).normal(size=(200, 300))
WRITERS = {
    "a.txt": lambda path: write_text(path, "a" * 50_000),
    "a.json": lambda path: write_json(path, {"a": "b" * 50_000}),
    "a.pt": lambda path: write_torch(path, {"a": torch.tensor(NOISE)}),
    "a.npz": lambda path: write_arrays(path, a=NOISE),
    "b.npz": lambda path: write_arrays(path, compressed=False, a=NOISE),
    "a.png": lambda path: write_picture(path, Image.fromarray((NOISE * 80 % 256).astype(np.uint8))),
    "a.parquet": lambda path: write_table(path, pa.table({"a": NOISE.ravel()})),
    "a.arrow": lambda path: write_arrow(path, pa.table({"a": NOISE.ravel()})),
    "fits.json": lambda path: write_fits(path, [dog_fit(number) for number in range(20)]),
    "a.obj": lambda path: write_mesh(grid_template(), path),
    "a.ply": lambda path: write_mesh(grid_template(), path),
    "a.glb": lambda path: write_mesh(grid_template(), path),
    "template.npz": lambda path: grid_template(40).save(path),
    "figure.png": lambda path: write_figure(path, figure()),
}


def figure():
    drawn = Figure()
    drawn.subplots().imshow(NOISE)
    return drawn


class Full(io.FileIO):
    """A file on a disk with a thousand bytes left."""

    def write(self, data):
        if self.tell() + len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr(
        files, "open", lambda path, mode: io.BufferedRandom(Full(path, mode.replace("b", "")), 100), raising=False
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fills_while_a_file_is_written(name, tmp_path, full_disk):
    (tmp_path / name).write_text("earlier")
    with pytest.raises(DiskFull) as caught:
        WRITERS[name](tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: the disk is full\n")
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "earlier"


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("way", ["file", "folder"])
def test_what_is_in_the_way_is_named_and_stays(name, way, tmp_path):
    path = tmp_path / "way" / name if way == "file" else tmp_path / name
    if way == "file":
        (tmp_path / "way").write_text("mine")
    else:
        (path / "mine").mkdir(parents=True)
    with pytest.raises(PathUnusable) as caught:
        WRITERS[name](path)
    assert (
        str(caught.value).startswith(f"{path}: ") and ".tmp" not in str(caught.value) and caught.value.exit_code == 19
    )
    assert len(list(tmp_path.rglob("*"))) == (1 if way == "file" else 2)


def test_names_as_long_as_storage_takes_them(tmp_path):
    for name in ("a" * 255, "犬" * 85):
        assert write_text(tmp_path / name, "a").read_text() == "a"
    with pytest.raises(PathUnusable, match="File name too long") as caught:
        write_text(tmp_path / ("a" * 256), "a")
    assert ".tmp" not in str(caught.value) and len(list(tmp_path.iterdir())) == 2


def test_errors_that_are_not_of_the_disk_pass_as_they_are(tmp_path):
    for error in (
        RuntimeError("a mistake"),
        InputMissing("no such shard"),
        OSError("a library's"),
        ValueError("another"),
    ):
        with pytest.raises(type(error)) as caught:
            write_whole(tmp_path / "a", lambda stream, error=error: (_ for _ in ()).throw(error))
        assert caught.value is error and not list(tmp_path.iterdir())


def test_a_growing_table_appears_with_its_end_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), prediction_table(tmp_path / "a.parquet"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with prediction_table(tmp_path / "a.parquet"):
        assert [path.name for path in tmp_path.iterdir()] != ["a.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    (tmp_path / "file").write_text("")
    with pytest.raises(PathUnusable, match="file/a.parquet: "), prediction_table(tmp_path / "file/a.parquet"):
        pass


def test_a_growing_table_on_a_full_disk(tmp_path, full_disk):
    with (
        pytest.raises(DiskFull, match="a.parquet: the disk is full"),
        prediction_table(tmp_path / "a.parquet") as table,
    ):
        table.write_table(pa.table({one.name: pa.nulls(9000, one.type) for one in table.schema}))
    assert not list(tmp_path.iterdir())


def test_what_is_left_by_a_kill_is_swept(tmp_path):
    with pytest.raises(GeneratorExit), growing(tmp_path / ("a" * 200)) as stream:
        stream.write(b"a")
        (left,) = tmp_path.iterdir()
        (tmp_path / f"{left.name}").with_name(left.name.replace(".aaa", ".bbb", 1)).write_text("")
        raise GeneratorExit
    assert len(list(tmp_path.iterdir())) == 1
    files.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/cache", "a" * 300):
        monkeypatch.setenv("DP3D_CACHE", str(tmp_path / place))
        assert cached_arrays("a", {"a": (1,)}, lambda: {"a": np.ones(1)})["a"] == 1


class ClientPayloadError(Exception):
    """As aiohttp has it: no OSError."""


def test_errors_of_libraries_that_ask_other_machines_are_errors_of_the_system():
    with pytest.raises(ConnectionError, match="ClientPayloadError: cut short"), Asking():
        raise ClientPayloadError("cut short")
    for error in (InputMissing("ours"), FileNotFoundError("the system's"), ZeroDivisionError("a mistake")):
        with pytest.raises(type(error)) as caught, Asking():
            raise error
        assert caught.value is error
