"""The manifest of a shard folder: written last, it lists every file with its hash, and is itself hashed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.files import bare_name, json_digest, read_json, require_keys, write_json
from dp3d_data.shards.schema import READABLE, SCHEMA_VERSION

MANIFEST = "manifest.json"
REJECTS = "rejects.parquet"
FORMAT = "dp3d-shards"
_OWN_HASH = "manifest_sha256"
# What every version has, and what readers rely on.
_KINDS = {
    "recipe": str, "category": str, "files": dict, "shards": list, "splits": dict, "template": dict, "basis": dict,
    "account": dict, "inputs": list, "settings": dict, "statistics": dict, "normalisation": dict,
}  # fmt: skip
_TEMPLATE_KINDS = {"name": str, "hash": str, "num_vertices": int, "unit": str, "factor": (int, float)}
_SHARD_KINDS = {"name": str, "split": str, "instances": int, "bytes": int, "sha256": str}


def own_hash(content: dict[str, Any]) -> str:
    """SHA-256 of the manifest's canonical JSON without the entry that holds this very hash."""
    return json_digest(content, _OWN_HASH)


def write_manifest(folder: Path, content: dict[str, Any]) -> Path:
    """Write the manifest with its format, schema version and own hash."""
    return write_json(folder / MANIFEST, {"format": FORMAT, "schema_version": SCHEMA_VERSION, **content}, _OWN_HASH)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        InputMissing: no manifest: not a shard folder, or a build that was not finished.
        ShardError: damaged, changed by hand, or of another format or version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        hint = "build the shards, or finish a build that was stopped: dp3d-data build-shards"
        raise InputMissing("no manifest.json here, so these are no finished shards", path=folder, hint=hint)
    return check_manifest(read_json(path, "manifest", seal=""), path)


def check_manifest(content: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The content of a manifest, wherever it was read.

    Raises:
        ShardError: damaged, changed by hand, of another format or version, or with names that lead out of the folder.
    """
    if content.get("format") != FORMAT:
        raise ShardError("not a manifest of shards", got=content.get("format"), expected=FORMAT, path=path)
    if content.get("schema_version") not in READABLE:
        got = content.get("schema_version")
        raise ShardError("shards of another schema version", got=got, expected=READABLE, path=path)
    if content.get(_OWN_HASH) != own_hash(content):
        got, expected = own_hash(content), content.get(_OWN_HASH)
        raise ShardError("the manifest has been changed or damaged", got=got, expected=expected, path=path)
    require_keys(content, _KINDS, "manifest", path)
    require_keys(content["template"], _TEMPLATE_KINDS, "template of the manifest", path)
    for entry in content["shards"]:
        require_keys(entry if isinstance(entry, dict) else {}, _SHARD_KINDS, "list of shards", path)
    for name in (*content["files"], *(entry["name"] for entry in content["shards"])):
        bare_name(name, path)
    return content
