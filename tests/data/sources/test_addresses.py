"""Photographs behind any address that fsspec reaches: folders, patterns, files, archives."""

import zipfile

import fsspec
import numpy as np
import pytest

from dp3d_data.datasets import DatasetOptions
from dp3d_data.datasets.folder import Folder
from dp3d_data.datasets.images import read_image
from dp3d_data.datasets.locations import fixed_part, is_address, is_file, is_folder, listed, read_bytes, size_of
from dp3d_data.errors import InputCorrupt, InputMissing, NothingToDo, UsageError
from dp3d_data.loader import ShardReader
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.data.extract.world import CLASSES, ball
from tests.data.sources.pictures import photo
from tests.synthetic_predictor import SyntheticPredictor


@pytest.fixture
def memory(tmp_path):
    """A file system in memory with three photographs, one of them hidden."""
    system = fsspec.filesystem("memory")
    data = photo(tmp_path / "a.jpg").read_bytes()
    for name in ("photos/a.jpg", "photos/deep/b.png", "photos/.hidden/c.jpg", "photos/notes.txt"):
        system.pipe(f"/{name}", data)
    yield data
    system.rm("/photos", recursive=True)


def records(*entries):
    return Folder(DatasetOptions(images=entries)).records()


def ids(*entries):
    return [record.image_id for record in records(*entries)]


def test_addresses_are_told_from_paths():
    assert is_address("s3://bucket/a.jpg") and is_address("zip://a.jpg::b.zip") and is_address("memory://a")
    assert not is_address("C:/photos") and not is_address("photos/a.jpg") and not is_address("a:b.jpg")


def test_folders_patterns_and_files(memory):
    assert ids("memory://photos") == ids("memory://photos/") == ["a.jpg", "deep/b.png"]
    assert ids("memory://photos/*.jpg") == ["a.jpg"] and ids("memory://photos/**/*.png") == ["deep/b.png"]
    assert ids("memory://photos/deep/b.png") == ["b.png"]
    found = records("memory://photos")
    assert [read_bytes(record.path, 1 << 20) for record in found] == [memory, memory]
    assert [size_of(record.path) for record in found] == [len(memory)] * 2


def test_files_inside_an_archive(tmp_path, memory):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("x/a.jpg", memory)
        archive.writestr("y/a.jpg", memory)
    address = f"zip://::{tmp_path / 'photos.zip'}"
    assert ids(address) == ["x/a.jpg", "y/a.jpg"]
    assert read_bytes(records(address)[1].path, 1 << 20) == memory


def test_ids_stay_unique_over_disk_and_addresses(tmp_path, memory):
    names = ids("memory://photos", str(tmp_path))
    assert len(set(names)) == len(names) == 3


def test_photographs_behind_an_address_are_read(memory, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", memory)
        archive.writestr("empty.jpg", b"")
    for place in ("memory://photos/a.jpg", f"zip://a.jpg::{tmp_path / 'photos.zip'}"):
        assert np.array_equal(read_image(place).pixels, read_image(tmp_path / "a.jpg").pixels)
        assert read_image(place).content_hash == read_image(tmp_path / "a.jpg").content_hash
    with pytest.raises(InputCorrupt, match="the file is empty"):
        read_image(f"zip://empty.jpg::{tmp_path / 'photos.zip'}")


def test_addresses_that_lead_nowhere(memory):
    with pytest.raises(InputMissing, match="nothing is there"):
        records("memory://nowhere")
    with pytest.raises(UsageError, match="(?s)cannot be read.*fsspec"):
        records("nosuchscheme://photos")
    fsspec.filesystem("memory").pipe("/photos/empty/notes.txt", b"")
    with pytest.raises(NothingToDo, match="no image in memory://photos/empty"):
        records("memory://photos/empty")
    with pytest.raises(InputMissing, match="no such file"):
        read_bytes("memory://photos/gone.jpg", 10)
    with pytest.raises(InputCorrupt, match="too large"):
        read_bytes("memory://photos/a.jpg", 10)
    assert size_of("memory://photos/gone.jpg") == -1


def test_a_refused_connection_is_one_clear_error():
    address = "ftp://127.0.0.1:9/a.jpg"
    for reader in (lambda: read_bytes(address, 10), lambda: listed(address, frozenset({".jpg"}))):
        with pytest.raises(InputMissing, match="does not answer"):
            reader()
    assert not is_file(address) and size_of(address) == -1


class ClientPayloadError(Exception):
    """As aiohttp and botocore have them: no OSError."""


ClientPayloadError.__module__ = "aiohttp.client_exceptions"


@pytest.fixture
def broken(memory, monkeypatch):
    """A machine that stops to answer."""

    def fail(*_, **__):
        raise ClientPayloadError("response was cut short")

    with monkeypatch.context() as patch:
        for name in ("cat_file", "size", "isdir", "isfile", "find", "glob", "open"):
            patch.setattr(fsspec.implementations.memory.MemoryFileSystem, name, fail)
        yield


def test_connections_that_break_are_errors_of_ours(broken, tmp_path):
    address = "memory://photos/a.jpg"
    for ask in (read_image, lambda place: listed(place, frozenset()), lambda place: read_bytes(place, 9)):
        with pytest.raises(InputCorrupt, match="ClientPayloadError: response was cut short"):
            ask(address)
    assert not is_file(address) and not is_folder(address) and size_of(address) == -1
    with pytest.raises(InputMissing, match="does not answer"):
        fixed_part(address)
    with pytest.raises(InputMissing, match="this address cannot be read"):
        ShardReader("memory://photos", tmp_path)


def test_a_photograph_whose_connection_breaks_is_a_row_of_failures(memory, tmp_path, monkeypatch):
    ball().save(tmp_path / "ball.npz")
    places = {"out": str(tmp_path / "out"), "template": str(tmp_path / "ball.npz")}
    config = ExtractConfig(images=("memory://photos/*.jpg", str(tmp_path / "a.jpg")), workers=1, overlays=0, **places)
    plan = make_plan(config, lambda: SyntheticPredictor({}, 162, CLASSES))

    def fail(*_, **__):
        raise ClientPayloadError("response was cut short")

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "cat_file", fail)
    (row,) = extract(plan).run.failures().to_pylist()
    assert row["stage"] == "read" and "ClientPayloadError: response was cut short" in row["message"]
