"""Shards at an fsspec address: the same batches, only what is read is copied, what is damaged is named."""

import errno
import hashlib
import json
import os

import fsspec
import pytest

from dp3d_data.errors import DiskFull, InputMissing, PathUnusable, ShardError, UsageError
from dp3d_data.files import json_digest
from dp3d_data.loader import Loader, ShardReader
from dp3d_data.shards.reader import is_remote
from tests.data.loader.samples import small_shards

ADDRESS = "memory://bucket/dogs"


@pytest.fixture
def bucket():
    """The small shards in fsspec's memory."""
    filesystem = fsspec.filesystem("memory")
    for path in small_shards().iterdir():
        filesystem.pipe_file(f"/bucket/dogs/{path.name}", path.read_bytes())
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


def test_batches_are_those_of_the_local_folder(bucket, tmp_path):
    remote = Loader(ADDRESS, "val", batch_size=5, cache=tmp_path)
    local = Loader(small_shards(), "val", batch_size=5)
    assert [batch.index.tolist() for batch in remote] == [batch.index.tolist() for batch in local]
    copied = {path.name for path in tmp_path.rglob("*.parquet")}
    assert copied and all(name.startswith("val-") for name in copied), "the other split is not fetched"
    bucket.rm([path for path in bucket.ls("/bucket/dogs", detail=False) if path.endswith(".parquet")])
    assert len(list(Loader(ADDRESS, "val", batch_size=5, cache=tmp_path))) == len(local), (
        "what was copied is not fetched again"
    )


def test_a_damaged_copy_is_fetched_again_and_damage_at_the_source_is_named(bucket, tmp_path):
    folder = ShardReader(ADDRESS, tmp_path)
    name = next(iter(entry["name"] for entry in folder.manifest["shards"]))
    folder.path(name).write_bytes(b"cut")
    assert ShardReader(ADDRESS, tmp_path).path(name).stat().st_size > 3
    bucket.pipe_file(f"/bucket/dogs/{name}", b"other")
    folder.path(name).unlink()
    with pytest.raises(ShardError, match="damaged or replaced") as error:
        ShardReader(ADDRESS, tmp_path).path(name)
    assert f"{ADDRESS}/{name}" in str(error.value) and not (folder.folder / name).exists()
    bucket.rm(f"/bucket/dogs/{name}")
    with pytest.raises(ShardError, match="listed in the manifest, but missing"):
        ShardReader(ADDRESS, tmp_path / "empty").path(name)


@pytest.mark.parametrize("name", ["../../../X", "/elsewhere/dp3d-X", "a/../../X", "..", "x\\y"])
@pytest.mark.parametrize("place", ["files", "shards"])
def test_a_manifest_that_names_files_elsewhere_writes_nothing(bucket, tmp_path, name, place):
    content = json.loads(bucket.cat_file("/bucket/dogs/manifest.json"))
    digest = hashlib.sha256(b"hostile").hexdigest()
    content["files"][name] = digest
    if place == "shards":
        content["shards"][0] |= {"name": name, "sha256": digest}
    bucket.pipe_file(
        "/bucket/dogs/manifest.json",
        json.dumps(content | {"manifest_sha256": json_digest(content, "manifest_sha256")}).encode(),
    )
    for path in ("/bucket/dogs/X", "/X", "/elsewhere/dp3d-X", f"/bucket/dogs/{name}"):
        bucket.pipe_file(path, b"hostile")
    cache = tmp_path / "a" / "b" / "c"
    with pytest.raises(ShardError, match="leads out of the folder"):
        next(iter(Loader(ADDRESS, "all", cache=cache)))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"manifest.json"}


def test_addresses_without_shards_are_refused(tmp_path):
    with pytest.raises(InputMissing, match="no finished shards"):
        Loader("memory://nothing/here", cache=tmp_path)
    with pytest.raises(InputMissing, match="no finished shards"):
        Loader(tmp_path)
    with pytest.raises(UsageError, match="this address cannot be read"):
        Loader("nosuchprotocol://bucket/dogs", cache=tmp_path)


def test_a_local_address_is_used_as_it_is():
    assert ShardReader(f"file://{small_shards()}").folder == small_shards()


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("s3://b/x", True),
        ("zip://x::s3://b/y.zip", True),
        ("memory://x", True),
        ("dogs/shards", False),
        ("file:///x", False),
        ("C:/x", False),
    ],
)
def test_what_is_remote(address, answer):
    assert is_remote(address) is answer


def test_a_copy_that_cannot_be_kept_is_an_error_of_its_place(bucket, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("DP3D_CACHE", str(tmp_path / "file"))
    with pytest.raises(PathUnusable, match=f"{tmp_path}/file/shards/.*: Not a directory"):
        ShardReader(ADDRESS)
    folder = ShardReader(ADDRESS, tmp_path / "kept")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dp3d_data.files.os.fsync", full)
    with pytest.raises(DiskFull, match="the disk is full"):
        folder.path(folder.manifest["shards"][0]["name"])


def test_a_connection_that_breaks_in_a_shard_names_the_shard(bucket, tmp_path, monkeypatch):
    class Cut(Exception):
        """As aiohttp's errors: no OSError."""

    def fail(*_, **__):
        raise Cut("response was cut short")

    folder = ShardReader(ADDRESS, tmp_path)
    name = folder.manifest["shards"][0]["name"]
    monkeypatch.setattr(type(bucket), "open", fail)
    with pytest.raises(ShardError, match="cannot be fetched\n  got: Cut: response was cut short") as caught:
        folder.path(name)
    assert f"{ADDRESS}/{name}" in str(caught.value) and not (folder.folder / name).exists()
