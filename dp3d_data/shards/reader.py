"""Finished shards, in a folder or at an fsspec address; each file is checked against the manifest when it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import cache_dir, file_digest
from dp3d_data.datasets.locations import file_system, is_address
from dp3d_data.errors import Asking, InputMissing, ShardError, UsageError
from dp3d_data.files import check_digest, growing, write_whole
from dp3d_data.shards.files import BASIS, MANIFEST, Basis, no_shards, read_basis, read_instances, read_manifest, reading
from dp3d_data.shards.runs import TEMPLATE, stored_template
from dp3d_data.shards.table import FIELDS, InstanceTable

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template
    from dp3d_data.shards.batch import KeypointBatch

ALL = "all"
_BLOCK = 8 << 20


class ShardReader:
    """Finished shards. Of a remote address only the files that are read are copied here, once.

    Args:
        address: a folder, or an fsspec address.
        cache: where files of a remote address are kept.

    Attributes:
        address: as it was given.
        folder: where the files lie on this machine.
        remote: whether that is a copy of what is read.
        manifest: its content.

    Raises:
        InputMissing: no finished shards here.
        ShardError: the manifest, the template or the basis is damaged or missing.
        DependencyMissing: the address needs a file system that is not installed.
    """

    def __init__(self, address: str | Path, cache: str | Path | None = None) -> None:
        self.address, self._checked = str(address), set[str]()
        self._footers: dict[str, pq.FileMetaData] = {}
        self.remote = is_remote(self.address)
        local = Path(re.sub(r"^(file|local)://", "", self.address))
        self.folder = self._mirror(Path(cache) if cache else cache_dir() / "shards") if self.remote else local
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        for name in (TEMPLATE, BASIS):
            self.path(name)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that hold instances."""
        return sorted({entry["split"] for entry in self.manifest["shards"]})

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the inputs and settings that made these shards."""
        return self.manifest["recipe"]

    @property
    def num_vertices(self) -> int:
        """K of the template."""
        return int(self.manifest["template"]["num_vertices"])

    @cached_property
    def template(self) -> Template:
        """The template whose vertices the ids are."""
        return stored_template(self.folder, self.manifest["template"], self.manifest["files"][TEMPLATE])

    @cached_property
    def basis(self) -> Basis:
        """Eigenvalues [J] and eigenfunctions [K, J] of the template, as stored beside the shards."""
        return read_basis(self.folder / BASIS)

    def entries(self, split: str) -> list[dict[str, Any]]:
        """What the manifest says of each shard of a split; "all" takes every split.

        Raises:
            UsageError: no such split.
        """
        if entries := [entry for entry in self.manifest["shards"] if split in (ALL, entry["split"])]:
            return entries
        hint = f"--set split={ALL} takes what there is; of few instances a split may stay empty"
        expected = "one of " + ", ".join([*self.splits, ALL])
        raise UsageError(f"no split {split!r} in these shards", expected=expected, hint=hint)

    def tables(self, split: str) -> list[pa.Table]:
        """The tables of a split, shard by shard, each checked against its hash and the schema.

        Raises:
            UsageError: no such split.
            ShardError: a shard is missing, damaged or foreign; names it.
        """
        names = [entry["name"] for entry in self.entries(split)]
        # The bytes that are hashed are those that are decoded.
        return [read_instances(self._present(name), sha256=self.manifest["files"][name]) for name in names]

    def split(self, split: str) -> KeypointBatch:
        """All instances of a split as tensors, with all that is known of them; 13 K bytes an instance, 25 K with truth.

        Raises:
            UsageError: no such split.
            ShardError: a shard is missing, damaged or foreign; names it.
        """
        return whole_batch(self.tables(split), self.num_vertices)

    def path(self, name: str) -> Path:
        """A file on this machine, with the content that the manifest names.

        Raises:
            ShardError: missing, damaged or replaced; names it.
        """
        if name not in self._checked:
            path = self._present(name)
            if not self.remote:
                check_digest(file_digest(path), self.manifest["files"][name], path)
            self._checked.add(name)
        return self.folder / name

    def footer(self, name: str) -> pq.FileMetaData:
        """Where the row groups of a shard lie in its file; read once in each process.

        Raises:
            ShardError: the shard is missing, damaged or replaced; names it.
        """
        if name not in self._footers:
            path = self.path(name)
            with reading(path):
                self._footers[name] = pq.read_metadata(path)
        return self._footers[name]

    def __getstate__(self) -> dict[str, Any]:
        """Footers do not travel between processes."""
        return self.__dict__ | {"_footers": {}}

    def _present(self, name: str) -> Path:
        """A file on this machine; of a remote one a whole copy."""
        path, expected = self.folder / name, self.manifest["files"].get(name)
        place = f"{self.address.rstrip('/')}/{name}" if self.remote else str(path)  # as the user knows it
        if expected is None:
            raise ShardError("not listed in the manifest", path=place)
        if self.remote and not (path.is_file() and file_digest(path) == expected):
            self._fetch(name, place, expected)
        elif not path.is_file():
            raise ShardError("listed in the manifest, but missing", path=place)
        return path

    def _mirror(self, cache: Path) -> Path:
        """The local folder that stands for a remote one, named by its manifest: other shards never mix with it."""
        filesystem, root = file_system(self.address)
        try:
            with Asking():
                data = filesystem.cat_file(f"{root.rstrip('/')}/{MANIFEST}")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise no_shards(self.address) from error
        except OSError as error:
            raise InputMissing("this address cannot be read", got=error, path=self.address) from error
        folder = cache / hashlib.sha256(data).hexdigest()[:16]
        write_whole(folder / MANIFEST, lambda stream: stream.write(data))
        return folder

    def _fetch(self, name: str, place: str, expected: str) -> None:
        """Copy a file here; it appears whole, with the content that the manifest names, or not at all."""

        def blocks() -> Iterator[bytes]:
            filesystem, root = file_system(self.address)
            try:
                with Asking(), filesystem.open(f"{root.rstrip('/')}/{name}", "rb") as source:
                    while block := source.read(_BLOCK):
                        yield block
            except FileNotFoundError as error:
                raise ShardError("listed in the manifest, but missing", path=place) from error
            except OSError as error:
                raise ShardError("cannot be fetched", got=error, path=place) from error

        digest = hashlib.sha256()
        with growing(self.folder / name) as stream:
            for block in blocks():
                digest.update(block)
                stream.write(block)
            check_digest(digest.hexdigest(), expected, place)


def whole_batch(tables: list[pa.Table], num_vertices: int) -> KeypointBatch:
    """Stored tables as one batch, with truth and intrinsics where any instance has them.

    Raises:
        ShardError: a vertex id outside the template, or lists of unequal length.
    """
    from dp3d_data.shards.batch import KeypointBatch

    stored = pa.concat_tables(tables)
    unknown = {name for name in ("truth", "intrinsics") if stored.column(FIELDS[name][0]).null_count == stored.num_rows}
    table = InstanceTable.of(stored, num_vertices, [name for name in FIELDS if name not in unknown])
    batch = KeypointBatch.of(table)
    if table.intrinsics is not None and not np.isfinite(table.intrinsics).any():
        return replace(batch, intrinsics=None)
    return batch


def is_remote(address: str) -> bool:
    """Whether an address names a file system other than the local one: s3://..., memory://..., a chain with ::."""
    return is_address(address) and not address.startswith(("file://", "local://"))
