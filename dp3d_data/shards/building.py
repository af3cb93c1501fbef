"""A build under way: a hidden folder with all that a killed build goes on from."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError
from dp3d_data.files import read_json, sweep, write_json
from dp3d_data.shards.basis import BASIS
from dp3d_data.shards.manifest import MANIFEST, REJECTS
from dp3d_data.shards.runs import TEMPLATE
from dp3d_data.shards.splits import SIDES
from dp3d_data.shards.writer import ShardEntry

BUILDING = ".building"
_RECIPE = "recipe.json"
_SHARD = re.compile(rf"({'|'.join(SIDES)})-\d{{5,}}\.parquet")


class Building:
    """What one recipe has finished in a folder; pieces and shards are whole files, written by any number of processes."""

    def __init__(self, out: Path, recipe: str) -> None:
        self.out, self.recipe, self.folder = out, recipe, out / BUILDING

    def begin(self) -> None:
        """Go on with this recipe, or discard what another one left unfinished."""
        if self.folder.exists() and self._found() != self.recipe:
            discard_shards(self.out)
        write_json(self.folder / _RECIPE, {"recipe": self.recipe})

    def _found(self) -> str | None:
        try:
            return read_json(self.folder / _RECIPE, "mark of a build").get("recipe")
        except Dp3dError:
            return None

    def index_path(self, piece: int) -> Path:
        return self.folder / f"index-{piece:05d}.arrow"

    def rows_path(self, piece: int) -> Path:
        return self.folder / f"rows-{piece:05d}.arrow"

    def places_path(self, piece: int) -> Path:
        return self.folder / f"places-{piece:05d}.arrow"

    def note(self, entry: ShardEntry, statistics: dict[str, Any]) -> None:
        """Keep that a shard is finished."""
        write_json(self._entry_path(entry.name), {"entry": asdict(entry), "statistics": statistics})

    def noted(self, name: str) -> tuple[ShardEntry, dict[str, Any]] | None:
        """A finished shard, if its file is still what was written."""
        try:
            content = read_json(self._entry_path(name), "note of a shard")
            entry = ShardEntry(**content["entry"])
            whole = (self.out / name).is_file() and file_digest(self.out / name) == entry.sha256
            return (entry, content["statistics"]) if whole else None
        except (Dp3dError, KeyError, TypeError):
            return None

    def _entry_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def end(self) -> None:
        """Drop the traces; the manifest is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        sweep(self.out)


def discard_shards(out: Path) -> None:
    """Delete the files of an earlier build, manifest first, and nothing else."""
    (out / MANIFEST).unlink(missing_ok=True)
    for path in out.glob("*.parquet"):
        if _SHARD.fullmatch(path.name):
            path.unlink()
    for name in (REJECTS, TEMPLATE, BASIS):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / BUILDING, ignore_errors=True)
    sweep(out)
