"""Shards at an fsspec address: the same batches, only what is read is copied, what is damaged is named."""

import fsspec
import pytest

from dp3d_data.errors import DependencyMissing, InputMissing, ShardError
from dp3d_data.loader import Loader, ShardFolder
from dp3d_data.loader.remote import is_remote
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
    assert len(list(Loader(ADDRESS, "val", batch_size=5, cache=tmp_path))) == len(local), "what was copied is not fetched again"


def test_a_damaged_copy_is_fetched_again_and_damage_at_the_source_is_named(bucket, tmp_path):
    folder = ShardFolder(ADDRESS, tmp_path)
    name = next(iter(entry["name"] for entry in folder.manifest["shards"]))
    folder.path(name).write_bytes(b"cut")
    assert ShardFolder(ADDRESS, tmp_path).path(name).stat().st_size > 3
    bucket.pipe_file(f"/bucket/dogs/{name}", b"other")
    folder.path(name).unlink()
    with pytest.raises(ShardError, match="damaged or replaced") as error:
        ShardFolder(ADDRESS, tmp_path).path(name)
    assert f"{ADDRESS}/{name}" in str(error.value)
    bucket.rm(f"/bucket/dogs/{name}")
    with pytest.raises(ShardError, match="listed in the manifest, but missing"):
        ShardFolder(ADDRESS, tmp_path / "empty").path(name)


def test_addresses_without_shards_are_refused(tmp_path):
    with pytest.raises(InputMissing, match="no finished shards"):
        Loader("memory://nothing/here", cache=tmp_path)
    with pytest.raises(InputMissing, match="no finished shards"):
        Loader(tmp_path)
    with pytest.raises(DependencyMissing, match="no file system for this address"):
        Loader("nosuchprotocol://bucket/dogs", cache=tmp_path)


def test_a_local_address_is_used_as_it_is():
    assert ShardFolder(f"file://{small_shards()}").folder == small_shards()


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
