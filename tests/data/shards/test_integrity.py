"""verify names every bad file; the reader refuses it by name."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from dp3d_data.config import file_digest
from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.errors import UsageError as Usage
from dp3d_data.files import json_digest, read_json
from dp3d_data.filters import FilterConfig
from dp3d_data.shards import ShardReader, instance_batch, require_files, verify
from dp3d_data.shards.files import read_basis, read_manifest, read_table, write_table
from dp3d_data.shards.integrity import COMPANIONS, value_faults
from pipelines.cli.data import main
from pipelines.cli.model import main as model_main
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import grid_template, row, run, two_runs


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    plan = ShardPlan(filters=FilterConfig(), shard_bytes=60_000, split_ratio=0.8, seed=0)
    build(two_runs(root), root / "shards", "dog", plan, overwrite=False, say=lambda line: None)
    return root / "shards"


@pytest.fixture
def shards(built, tmp_path):
    return shutil.copytree(built, tmp_path / "shards")


def files_named(folder):
    return [file for file, _ in verify(folder)]


def test_whole_shards_have_no_fault(shards):
    assert verify(shards) == []
    for companion in COMPANIONS:
        (shards / companion).write_text("read me")
    assert verify(shards) == []
    require_files(shards)


@pytest.mark.parametrize(
    "name", ["train-00000.parquet", "val-00000.parquet", "basis.npz", "template.npz", "rejects.parquet"]
)
def test_one_flipped_bit_is_found_and_refused(shards, name):
    rng = np.random.default_rng(0)
    data = bytearray((shards / name).read_bytes())
    for place in rng.integers(0, len(data), 5):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        (shards / name).write_bytes(flipped)
        assert files_named(shards) == [name]
    if name != "rejects.parquet":
        with pytest.raises(ShardError, match=rf"{name}: damaged or replaced"):
            reader = ShardReader(shards)
            reader.split("train"), reader.split("val")


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_a_shard_is_named_and_training_refuses_it(shards):
    path = shards / "val-00000.parquet"
    data = path.read_bytes()
    for place in [*range(0, len(data), max(len(data) // 40, 1)), len(data) - 1]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert files_named(shards) == ["val-00000.parquet"]
        with pytest.raises(ShardError, match="val-00000.parquet: damaged or replaced"):
            require_files(shards)
    path.write_bytes(data)
    require_files(shards)


def test_the_train_command_refuses_shards_that_are_not_whole(shards, tmp_path):
    data = (shards / "val-00000.parquet").read_bytes()
    words = ["train", "--shards", str(shards), "--out", str(tmp_path / "model"), "--steps", "1"]
    for content, text in ((data[:-1], "damaged or replaced"), (None, "missing")):
        (shards / "val-00000.parquet").unlink(missing_ok=True)
        if content is not None:
            (shards / "val-00000.parquet").write_bytes(content)
        result = CliRunner().invoke(model_main, words)
        assert result.exit_code == ShardError.exit_code and f"val-00000.parquet: {text}" in result.output
    (shards / "val-00000.parquet").write_bytes(data)
    (shards / "val-00077.parquet").write_bytes(data)
    result = CliRunner().invoke(model_main, words)
    assert result.exit_code == ShardError.exit_code and "val-00077.parquet: foreign" in result.output


def test_a_truncated_missing_or_foreign_file_is_named(shards):
    path = shards / "train-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert files_named(shards) == ["train-00001.parquet"]
    path.unlink()
    assert verify(shards) == [("train-00001.parquet", "missing")]
    with pytest.raises(ShardError, match="train-00001.parquet: listed in the manifest, but missing"):
        ShardReader(shards).split("train")
    path.write_bytes(whole)
    (shards / "train-00099.parquet").write_bytes(whole)
    assert files_named(shards) == ["train-00099.parquet"]
    with pytest.raises(ShardError, match=r"train-00099.parquet: foreign"):
        require_files(shards)


def test_a_changed_manifest_is_refused(shards):
    content = json.loads((shards / "manifest.json").read_text())
    content["splits"]["train"]["instances"] += 1
    (shards / "manifest.json").write_text(json.dumps(content))
    assert files_named(shards) == ["manifest.json"]
    with pytest.raises(ShardError, match="changed or damaged"):
        ShardReader(shards)
    for key, value, text in (("schema_version", 99, "another schema version"), ("format", "x", "not a manifest")):
        (shards / "manifest.json").write_text(json.dumps(content | {key: value}))
        with pytest.raises(ShardError, match=text):
            read_manifest(shards)


def test_a_manifest_that_lies_about_the_content_is_found(shards):
    content = read_manifest(shards)
    content["template"]["hash"] = "0" * 16
    content["manifest_sha256"] = json_digest(content, "manifest_sha256")
    (shards / "manifest.json").write_text(json.dumps(content))
    assert "template.npz" in files_named(shards) and "train-00000.parquet" in files_named(shards)
    with pytest.raises(ShardError, match="another template"):
        _ = ShardReader(shards).template


def test_counts_and_content_hashes_that_lie_are_found(shards):
    content = read_manifest(shards)
    content["account"]["kept"] += 1
    content["splits"]["val"]["instances"] += 1
    table = read_table(shards / "val-00000.parquet")
    column = table.schema.get_field_index("content_hash")
    write_table(
        shards / "val-00000.parquet",
        table.set_column(column, table.schema.field(column), pa.array(["0" * 16] * len(table))),
    )
    content["files"]["val-00000.parquet"] = file_digest(shards / "val-00000.parquet")
    content["manifest_sha256"] = json_digest(content, "manifest_sha256")
    (shards / "manifest.json").write_text(json.dumps(content))
    texts = [text for _, text in verify(shards)]
    assert (
        len(texts) == 3
        and "is not what its content_hash says" in texts[0]
        and "kept, the shards listed hold" in texts[2]
    )


def test_faulty_values_are_told():
    def faults(**changes):
        table = pa.Table.from_batches([instance_batch([row(0), row(1) | changes])])
        return " · ".join(value_faults(table, grid_template().num_vertices))

    ids = row(1)["vertex_ids"]
    assert faults() == ""
    assert "outside the template" in faults(vertex_ids=ids + 1000)
    assert "do not ascend" in faults(vertex_ids=ids[::-1])
    assert "spread and vertex_ids differ" in faults(spread=row(1)["spread"][1:])
    assert "keypoints_x holds a number that is not finite" in faults(keypoints_x=np.full(len(ids), np.nan, np.float32))
    assert "camera_matrix hold 3 numbers" in faults(camera_matrix=np.zeros(3, np.float32))
    assert "confidence and vertex_ids differ" in faults(confidence=np.ones(3, np.float32))
    assert faults(confidence=np.ones(len(ids), np.float32)) == ""
    assert "true_vertices hold 5 numbers" in faults(true_vertices=np.zeros(5, np.float32))


def test_folders_that_are_no_shards_are_told(tmp_path):
    with pytest.raises(InputMissing, match="no finished shards"):
        ShardReader(tmp_path)
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ShardError, match="expected: a JSON object"):
        read_json(tmp_path / "a.json", "note")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ShardError, match="damaged note"):
        read_json(tmp_path / "a.json", "note")
    with pytest.raises(ShardError, match="cannot be read as Parquet"):
        read_table(tmp_path / "a.json")
    with pytest.raises(ShardError, match="damaged basis"):
        read_basis(tmp_path / "a.json")


def test_an_unknown_split_names_the_known_ones(shards):
    with pytest.raises(Usage, match="one of train, val"):
        ShardReader(shards).split("test")


def test_runs_can_be_verified_too(tmp_path):
    done = run(tmp_path, [row(i) for i in range(4)])
    assert verify(tmp_path) == []
    (tmp_path / "instances-00000.parquet").write_bytes(b"x")
    assert files_named(done.folder) == ["instances-00000.parquet"]


def test_the_command_names_files_and_ends_with_the_errors_code(shards):
    (shards / "val-00000.parquet").unlink()
    result = CliRunner().invoke(main, ["verify", str(shards)])
    assert result.exit_code == ShardError.exit_code and "val-00000.parquet: missing" in result.output
    missing = CliRunner().invoke(main, ["verify", str(shards / "nowhere")])
    assert missing.exit_code == InputMissing.exit_code
