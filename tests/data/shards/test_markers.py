"""run.json and manifest.json: nothing missing, nothing of another kind, no name that leads out of the folder, no
flipped bit."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dp3d_data.errors import Dp3dError, ShardError
from dp3d_data.files import json_digest, read_json, write_json
from dp3d_data.shards import Run, RunWriter, ShardReader, verify
from pipelines.cli.data import main
from tests.data.loader.samples import shards_in
from tests.data.shards.samples import row, run
from tests.shared import shared


@pytest.fixture
def made(tmp_path):
    return run(tmp_path / "run", [row(0), row(1)], part=1)


def rewritten(path, **changes):
    """The marker with other values and the right hash of them; a value of None leaves a key out."""
    content = json.loads(path.read_text()) | changes
    write_json(path, {key: value for key, value in content.items() if value is not None and key != "sha256"})


@pytest.mark.parametrize(
    "key", ["kind", "recipe", "category", "config", "counts", "schema_version", "files", "extra", "template"]
)
def test_a_marker_without_a_key_is_refused_by_every_reader(made, key):
    rewritten(made.folder / "run.json", **{key: None})
    words = "unknown schema version" if key == "schema_version" else f"'{key}' is missing"
    with pytest.raises(ShardError, match=words):
        Run.open(made.folder)
    with pytest.raises(ShardError, match=words):
        RunWriter(made.folder, kind="extract", fingerprint="0123456789ab")
    assert [file for file, _ in verify(made.folder)] == ["run.json"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": []}, "'files' is of another kind"),
        ({"files": {}}, "'failures.parquet' is missing"),
        ({"counts": {}}, "'inputs' is missing"),
        ({"counts": {"inputs": "2", "instances": 2, "rejects": 0, "failures": 0}}, "'inputs' is of another kind"),
        ({"template": {"file": "template.npz"}}, "'name' is missing"),
        ({"kind": 3}, "'kind' is of another kind"),
        ({"colour": "red"}, "unknown keys: colour"),
    ],
)
def test_a_marker_with_wrong_values_is_refused(made, changes, words):
    rewritten(made.folder / "run.json", **changes)
    with pytest.raises(ShardError, match=words):
        Run.open(made.folder)


NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "a/b.parquet",
    "a\\b",
    "",
    ".hidden",
    "x\0y",
    "c:x",
    "memory://x",
    "x\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_of_the_folder_are_refused_before_anything_is_read(made, tmp_path, name):
    marker = json.loads((made.folder / "run.json").read_text())
    rewritten(made.folder / "run.json", files=marker["files"] | {name: "0" * 64})
    with pytest.raises(ShardError, match="leads out of the folder"):
        Run.open(made.folder)
    path = shards_in(tmp_path) / "manifest.json"
    whole = path.read_text()
    for place in ("files", "shards"):
        content = json.loads(whole)
        if place == "files":
            content["files"][name] = "0" * 64
        else:
            content["shards"][0]["name"] = name
        path.write_text(json.dumps(content | {"manifest_sha256": json_digest(content, "manifest_sha256")}))
        with pytest.raises(ShardError, match="leads out of the folder"):
            ShardReader(path.parent)
        [(file, text)] = verify(path.parent)
        assert file == "manifest.json" and "leads out" in text


@pytest.mark.parametrize("key", ["recipe", "files", "shards", "splits", "template", "account", "inputs", "statistics"])
def test_a_manifest_without_a_key_is_refused(tmp_path, key):
    path = shards_in(tmp_path) / "manifest.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content | {"manifest_sha256": json_digest(content, "manifest_sha256")}))
    with pytest.raises(ShardError, match=f"'{key}' is missing"):
        ShardReader(path.parent)


def test_no_flipped_bit_of_a_marker_passes(made):
    path, rng = made.folder / "run.json", np.random.default_rng(0)
    data = path.read_bytes()
    for place in rng.integers(0, len(data), 150):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ShardError):
            Run.open(made.folder)


@pytest.mark.parametrize("name", ["failures.parquet", "rejects.parquet", "instances-00000.parquet", "template.npz"])
def test_no_flipped_bit_of_a_table_passes_any_reader(made, name):
    read = {"failures.parquet": made.failures, "rejects.parquet": made.rejects, "template.npz": made.template}
    path, rng = made.folder / name, np.random.default_rng(1)
    data = path.read_bytes()
    for place in rng.integers(0, len(data), 30):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ShardError, match=f"{name}: damaged or replaced"):
            read.get(name, lambda: list(made.instances()))()


def test_markers_of_earlier_versions_have_no_hash_of_their_own(made):
    path = made.folder / "run.json"
    content = json.loads(path.read_text())
    assert content.pop("sha256") == json_digest(content)
    path.write_text(json.dumps(content))
    assert Run.open(made.folder).marker == made.marker == read_json(path, "run.json")


@pytest.mark.parametrize("name", ["rj_kind_only", "rj_list_files", "rj_no_counts"])
@pytest.mark.parametrize(
    "words", [["failures"], ["verify"], ["inspect"], ["report", "--input"], ["build-shards", "--input"]]
)
def test_the_markers_that_were_seen_end_in_one_clear_error(tmp_path, name, words):
    out = ["--out", str(tmp_path / "out")] if words[0] in ("report", "build-shards") else []
    result = CliRunner().invoke(main, [*words, str(shared(f"cases/faults/{name}")), *out])
    assert result.exit_code == ShardError.exit_code, (result.output, result.exception)
    assert "run.json" in result.output
    assert result.exception is None or isinstance(result.exception, (SystemExit, Dp3dError))
