"""Shards at any fsspec address: a local folder is used as it is, of a remote one only what is read is copied, once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dp3d_data.config import cache_dir, file_digest
from dp3d_data.errors import Asking, DependencyMissing, InputMissing, ShardError
from dp3d_data.files import check_digest, write_whole
from dp3d_data.shards.basis import BASIS
from dp3d_data.shards.manifest import MANIFEST, read_manifest
from dp3d_data.shards.runs import TEMPLATE

_BLOCK = 8 << 20


class ShardFolder:
    """A folder of finished shards whose files are checked against the manifest when they are first read.

    Attributes:
        address: as it was given.
        folder: where its files lie on this machine.
        remote: whether that is a copy of what is read.
        manifest: its content.

    Raises:
        InputMissing: no finished shards at this address.
        ShardError: the manifest is damaged.
        DependencyMissing: the address needs a file system that is not installed.
    """

    def __init__(self, address: str | Path, cache: str | Path | None = None) -> None:
        self.address, self._checked = str(address), set[str]()
        self.remote = is_remote(self.address)
        local = Path(re.sub(r"^(file|local)://", "", self.address))
        self.folder = self._mirror(Path(cache) if cache else cache_dir() / "shards") if self.remote else local
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        for name in (TEMPLATE, BASIS) if self.remote else ():
            self.path(name)

    def path(self, name: str) -> Path:
        """A file of the folder on this machine, with the content that the manifest names.

        Raises:
            ShardError: missing, damaged or replaced; names it.
        """
        path, expected = self.folder / name, self.manifest["files"].get(name)
        if name in self._checked:
            return path
        if expected is None:
            raise ShardError("not listed in the manifest", path=self._place(name))
        if self.remote and not (path.is_file() and file_digest(path) == expected):
            self._fetch(name, path, expected)
        elif not path.is_file():
            raise ShardError("listed in the manifest, but missing", path=self._place(name))
        elif not self.remote:
            check_digest(file_digest(path), expected, self._place(name))
        self._checked.add(name)
        return path

    def _place(self, name: str) -> str:
        """The file as the user knows it."""
        return f"{self.address.rstrip('/')}/{name}" if self.remote else str(self.folder / name)

    def _mirror(self, cache: Path) -> Path:
        """The local folder that stands for a remote one: named by its manifest, so that other shards never mix with it."""
        filesystem, root = open_address(self.address)
        try:
            with Asking():
                data = filesystem.cat_file(f"{root}/{MANIFEST}")
        except (FileNotFoundError, IsADirectoryError) as error:
            hint = "build the shards, or finish a build that was stopped: dp3d-data build-shards"
            raise InputMissing("no manifest.json here, so these are no finished shards", path=self.address, hint=hint) from error
        except OSError as error:
            raise InputMissing("this address cannot be read", got=error, path=self.address) from error
        folder = cache / hashlib.sha256(data).hexdigest()[:16]
        write_whole(folder / MANIFEST, lambda stream: stream.write(data))
        return folder

    def _fetch(self, name: str, path: Path, expected: str) -> None:
        """Copy a file here; it appears whole, with the content that the manifest names, or not at all."""

        def copy(stream: BinaryIO) -> None:
            digest = hashlib.sha256()
            for part in self._parts(name):
                digest.update(part)
                stream.write(part)
            check_digest(digest.hexdigest(), expected, self._place(name))

        write_whole(path, copy)

    def _parts(self, name: str) -> Iterator[bytes]:
        """The content of a file at the address, piece by piece."""
        filesystem, root = open_address(self.address)
        try:
            with Asking(), filesystem.open(f"{root}/{name}", "rb") as source:
                while part := source.read(_BLOCK):
                    yield part
        except FileNotFoundError as error:
            raise ShardError("listed in the manifest, but missing", path=self._place(name)) from error
        except OSError as error:
            raise ShardError("cannot be fetched", got=error, path=self._place(name)) from error


def is_remote(address: str) -> bool:
    """Whether an address names a file system other than the local one: s3://..., memory://..., a chain with ::."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)", address)) and not address.startswith(("file://", "local://"))


def open_address(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it.

    Raises:
        DependencyMissing: its library is not installed.
        InputMissing: the machine refuses the connection.
    """
    import fsspec

    try:
        with Asking():
            filesystem, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        hint = "pip install the library that fsspec names for this protocol, for example s3fs"
        raise DependencyMissing("no file system for this address", got=error, path=address, hint=hint) from error
    except OSError as error:
        raise InputMissing("this address does not answer", got=error, path=address) from error
    return filesystem, root.rstrip("/")
