"""A run folder: what extract, synth and project leave behind, and the chunks of one that is not finished yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dp3d_data.config import file_digest, fingerprint_of
from dp3d_data.errors import Dp3dError, InputMissing, ShardError
from dp3d_data.files import bare_name, read_json, require_keys, write_json
from dp3d_data.shards.files import checked_file, read_instances, read_table
from dp3d_data.shards.schema import READABLE

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


MARKER = "run.json"
START = "start.json"
TEMPLATE = "template.npz"
OVERLAYS = "overlays"
START_KINDS = {"kind": str, "recipe": str, "retries": bool}
_MARKER_KINDS = {
    "kind": str, "recipe": str, "category": str, "config": dict, "counts": dict, "schema_version": int,
    "template": (dict, type(None)), "files": dict, "extra": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run folder, and the content of its run.json."""

    folder: Path
    marker: dict[str, Any] = field(repr=False)

    @staticmethod
    def open(folder: str | Path) -> Run:
        """Open a finished run.

        Raises:
            InputMissing: no run.json here: not a run, or one that was not finished.
            ShardError: run.json is damaged, lacks something, or is of another schema version.
        """
        folder = Path(folder)
        if not (folder / MARKER).is_file():
            if (folder / CHUNKS).is_dir():
                hint = "run the same command again: it goes on where it stopped"
                raise InputMissing("this run was not finished", path=folder, hint=hint)
            what = "no run.json here, so this is no folder of extract, synth or project"
            raise InputMissing(what, path=folder, hint="dp3d-data extract --help")
        return Run(folder, read_marker(folder / MARKER))

    @property
    def kind(self) -> str:
        return self.marker["kind"]

    @property
    def counts(self) -> dict[str, int]:
        """inputs (images), instances, rejects, failures."""
        return self.marker["counts"]

    @property
    def fingerprint(self) -> str:
        """A hash of what made it."""
        return self.marker["recipe"]

    @property
    def subset(self) -> dict[str, Any] | None:
        """The vertices to which keypoints are restricted; None where all are kept."""
        return self.marker["extra"].get("subset")

    @property
    def template_notes(self) -> dict[str, Any]:
        """Name and hash of the template; empty where only vertex ids are known."""
        return self.marker["template"] or {}

    @property
    def instance_hashes(self) -> dict[str, str]:
        """SHA-256 of each file of instances, in order."""
        other = ("failures.parquet", "rejects.parquet", TEMPLATE)
        return {name: digest for name, digest in sorted(self.marker["files"].items()) if name not in other}

    @property
    def instance_files(self) -> list[Path]:
        return [self.folder / name for name in self.instance_hashes]

    @cached_property
    def digest(self) -> str:
        """Fingerprint of its instances, wherever it lies."""
        return fingerprint_of(self.kind, self.fingerprint, self.instance_hashes)

    def instances(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The instance tables, file by file, in order.

        Raises:
            InputMissing: a file of the run is gone.
            ShardError: a file is damaged or of another schema; names it.
        """
        for path in self.instance_files:
            yield read_instances(path, columns, self.marker["files"][path.name])

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One of its tables, once its bytes are what run.json says; see `read_table`."""
        return read_table(self.folder / name, columns, sha256=self.marker["files"][name])

    def failures(self) -> pa.Table:
        return self.table("failures.parquet")

    def rejects(self) -> pa.Table:
        return self.table("rejects.parquet")

    def check(self, name: str) -> Path:
        """The path of a file, once its bytes are what run.json says.

        Raises:
            InputMissing, ShardError: it is gone or damaged; names it.
        """
        gone, hint = "a file of this run is gone", "make the run anew: --overwrite"
        return checked_file(self.folder / name, self.marker["files"].get(name), gone, hint)

    def template(self) -> Template:
        """The template whose vertices the ids are; see `stored_template`."""
        return stored_template(self.folder, self.template_notes, self.marker["files"].get(TEMPLATE))

    @property
    def overlays(self) -> list[Path]:
        """Pictures of instances with their keypoints, in order of name."""
        return sorted(p for p in (self.folder / OVERLAYS).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def stored_template(folder: Path, notes: dict[str, Any], sha256: str | None) -> Template:
    """The template beside instances, once it is what their marker says.

    Args:
        notes: its "hash"; none where only vertex ids are known.
        sha256: of its file.

    Raises:
        InputMissing: only vertex ids are known, or the file is gone.
        InputCorrupt, ShardError: damaged, or another template than the marker says.
    """
    from dp3d_data.geometry.template import Template

    if not notes:
        hint = "import the mesh and extract again: dp3d-data template import MESH --name NAME"
        raise InputMissing("this run has vertex ids but no template geometry", path=folder, hint=hint)
    gone, hint = "the template of these instances is gone", "make them anew: --overwrite"
    path = checked_file(folder / TEMPLATE, sha256, gone, hint)
    template = Template.load(path)
    if template.content_hash != notes["hash"]:
        raise ShardError("another template", got=template.content_hash, expected=notes["hash"], path=path)
    return template


def read_marker(path: Path) -> dict[str, Any]:
    """The content of a run.json.

    Raises:
        InputMissing: no such file.
        ShardError: damaged, of another schema version, with keys missing or wrong, or with names that lead out of the
            folder.
    """
    version = read_json(path, "run.json").get("schema_version")
    if version not in READABLE:
        raise ShardError("unknown schema version", got=version, expected=READABLE, path=path)
    marker = read_json(path, "run.json", _MARKER_KINDS)
    require_keys(marker["counts"], COUNTS, "counts of run.json", path)
    require_keys(marker["files"], {"failures.parquet": str, "rejects.parquet": str}, "list of files of run.json", path)
    if marker["template"] is not None:
        require_keys(marker["template"], {"file": str, "name": str, "hash": str}, "template of run.json", path)
        require_keys(marker["files"], {TEMPLATE: str}, "list of files of run.json", path)
    for name in marker["files"]:
        bare_name(name, path)
    return marker


def found_run(folder: Path) -> tuple[str, str] | None:
    """Kind and fingerprint of the run, finished or not, that a folder holds; None where it holds none.

    Raises:
        ShardError: what says so is damaged.
    """
    if (folder / MARKER).is_file():
        content = read_marker(folder / MARKER)
    elif (folder / CHUNKS / START).is_file():
        content = read_json(folder / CHUNKS / START, "run marker", START_KINDS)
    else:
        return None
    return content["kind"], content["recipe"]


CHUNKS = ".parts"
HASHED = ["image_id", "image_hash"]
COUNTS = {"inputs": int, "instances": int, "rejects": int, "failures": int}


def chunk_path(folder: Path, table: str, index: int) -> Path:
    """Where the instances of a chunk lie, and its failures or rejects until the run is finished."""
    return Path(folder) / ("" if table == "instances" else CHUNKS) / f"{table}-{index:05d}.parquet"


def done_chunks(folder: Path) -> set[int]:
    """Indices of the chunks of an unfinished run that are whole."""
    return {int(path.stem) for path in (folder / CHUNKS).glob("[0-9]*.json")}


def marker_path(folder: Path, index: int) -> Path:
    """Where the marker of a finished chunk lies until the run is finished."""
    return Path(folder) / CHUNKS / f"{index:05d}.json"


def chunk_files(folder: Path, index: int) -> dict[str, Path]:
    """The tables of a chunk, failures last."""
    return {name: chunk_path(folder, name, index) for name in ("instances", "rejects", "failures")}


def mark_chunk(folder: Path, index: int, counts: Mapping[str, int]) -> None:
    """Say that the three tables of a chunk are there, and what they are."""
    digests = {path.name: file_digest(path) for path in chunk_files(folder, index).values()}
    write_json(marker_path(folder, index), {**counts, "files": digests})


def check_chunk(folder: Path, index: int) -> dict[str, Any]:
    """The counts of a finished chunk, once its tables are what was written.

    Raises:
        InputMissing, ShardError: a file of it is gone or damaged; names it.
    """
    marker = read_json(marker_path(folder, index), "part marker", {**COUNTS, "files": dict})
    for path in chunk_files(folder, index).values():
        digest = marker["files"].get(path.name)
        checked_file(path, digest, "a table of a chunk is gone", "run the same command again")
    return marker


def is_still_good(folder: Path, index: int, images: Mapping[str, str | Path | None]) -> bool:
    """Whether a finished chunk is what was written, of images that are still what they were."""
    try:
        check_chunk(folder, index)
        table = read_table(chunk_path(folder, "instances", index), HASHED)
    except Dp3dError:
        return False
    return not changed_images(table, images)


def changed_images(table: pa.Table, images: Mapping[str, str | Path | None]) -> list[str]:
    """Images whose file is no longer the one that their rows were made of, by the hash that the rows keep.

    Args:
        table: rows with image_id and image_hash.
        images: where each image lies now; one that is elsewhere than in a local file is not looked at.
    """
    digests = dict(zip(table["image_id"].to_pylist(), table["image_hash"].to_pylist(), strict=True))
    changed = []
    for name, digest in digests.items():
        path = images.get(name)
        if digest is not None and path is not None and Path(path).is_file() and file_digest(Path(path)) != digest:
            changed.append(name)
    return changed
