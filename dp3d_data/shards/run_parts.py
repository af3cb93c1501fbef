"""The parts of an unfinished run: where their tables lie, which are whole, and whether their images are what they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError, InputMissing
from dp3d_data.files import check_digest, read_json, write_json
from dp3d_data.shards.files import read_table

PARTS = ".parts"
HASHED = ["image_id", "image_hash"]
COUNTS = {"inputs": int, "instances": int, "rejects": int, "failures": int}


def instance_path(folder: Path, index: int) -> Path:
    return Path(folder) / f"instances-{index:05d}.parquet"


def part_path(folder: Path, table: str, index: int) -> Path:
    """Where the failures or rejects of a part lie until the run is finished."""
    return Path(folder) / PARTS / f"{table}-{index:05d}.parquet"


def done_parts(folder: Path) -> set[int]:
    """Indices of the parts of an unfinished run that are whole."""
    return {int(path.stem) for path in (folder / PARTS).glob("[0-9]*.json")}


def marker_path(folder: Path, index: int) -> Path:
    """Where the marker of a finished part lies until the run is finished."""
    return Path(folder) / PARTS / f"{index:05d}.json"


def part_files(folder: Path, index: int) -> list[Path]:
    return [instance_path(folder, index), *(part_path(folder, name, index) for name in ("rejects", "failures"))]


def mark_part(folder: Path, index: int, counts: Mapping[str, int]) -> None:
    """Say that the three tables of a part are there, and what they are."""
    digests = {path.name: file_digest(path) for path in part_files(folder, index)}
    write_json(marker_path(folder, index), {**counts, "files": digests})


def check_part(folder: Path, index: int) -> dict[str, Any]:
    """The counts of a finished part, once its tables are what was written.

    Raises:
        InputMissing, ShardError: a file of it is gone or damaged; names it.
    """
    marker = read_json(marker_path(folder, index), "part marker", {**COUNTS, "files": dict})
    for path in part_files(folder, index):
        if not path.is_file():
            raise InputMissing("a table of a part is gone", path=path, hint="run the same command again")
        check_digest(file_digest(path), marker["files"].get(path.name), path)
    return marker


def is_still_good(folder: Path, index: int, images: Mapping[str, str | Path | None]) -> bool:
    """Whether a finished part is what was written, of images that are still what they were."""
    try:
        check_part(folder, index)
        table = read_table(instance_path(folder, index), HASHED)
    except Dp3dError:
        return False
    return not changed_images(table, images)


def changed_images(table: pa.Table, images: Mapping[str, str | Path | None]) -> list[str]:
    """Images whose file is no longer the one that their rows were made of, by the hash that the rows keep.

    Args:
        table: rows with image_id and image_hash.
        images: where each image lies now; one that is elsewhere than in a local file is not looked at.
    """
    pairs = dict(zip(table["image_id"].to_pylist(), table["image_hash"].to_pylist(), strict=True))
    known = {name: (Path(path), digest) for name, digest in pairs.items() if digest is not None and (path := images.get(name)) is not None}
    return [name for name, (path, digest) in known.items() if path.is_file() and file_digest(path) != digest]
