"""Files of weights, read without running anything in them: .pkl of the published models, .pth of torch."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE, described
from dp3d_data.torch_files import check_archive, refused_global
from dp3d_data.unpickling import read_pickle

EXPECTED = "a .pkl or .pth file with a state dict, bare or under the key 'model'"


@dataclass(frozen=True)
class Checkpoint:
    """Weights by state name in single precision, and what this project notes beside them (empty for others' files)."""

    state: dict[str, torch.Tensor]
    notes: dict[str, Any]

    def template_hash(self, mesh: str) -> str:
        """Content hash of the template of a mesh; empty where it is not noted."""
        return template_hash(self.notes, mesh)


def template_hash(notes: Mapping[str, Any], mesh: str) -> str:
    """Content hash that notes give for the template of a mesh; those of a single mesh may give one for all. Empty where
    there is none."""
    hashes = notes.get("template_hashes")
    return str((hashes.get(mesh) if isinstance(hashes, Mapping) else "") or notes.get("template_hash", ""))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of weights; its content decides how, not its name.

    Raises:
        InputMissing: no such file.
        InputCorrupt: a pointer in its place.
        UnsafePickle: it asks for more than arrays; nothing of it was run.
        CheckpointError: empty, cut short, or without a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such file of weights", path=path)
    require_no_pointer(path)
    content = _read_torch(path) if _is_torch(path) else read_pickle(path)
    state = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError("no state dict in this file", got=type(content).__name__, expected=EXPECTED, path=path)
    notes = content.get("dp3d", {}) if isinstance(content, Mapping) else {}
    return Checkpoint({str(name): _tensor(str(name), value, path) for name, value in state.items()}, dict(notes))


def _is_torch(path: Path) -> bool:
    """A zip, or an old torch file: a pickle whose first object is torch's magic number."""
    with open(path, "rb") as stream:
        start = stream.read(4)
    if start == b"PK\x03\x04":
        return True
    if start[:1] != b"\x80":
        raise CheckpointError("not a checkpoint", got=described(path), expected=EXPECTED, path=path)
    with open(path, "rb") as stream:
        return b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in stream.read(32)


def _read_torch(path: Path) -> Any:
    check_archive(path, "file of weights")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "weights_only" in str(error).lower():
            reason = refused_global(error) or str(error).splitlines()[0]
            expected = "tensors and plain containers"
            raise UnsafePickle(
                "this file asks for more than tensors", got=reason, expected=expected, path=path
            ) from None
        raise CheckpointError(
            "not a whole file of weights", got=described(path), expected=EXPECTED, path=path
        ) from error
    except DAMAGE as error:
        raise CheckpointError(
            "not a whole file of weights", got=described(path), expected=EXPECTED, path=path
        ) from error


def _tensor(name: str, value: Any, path: Path) -> torch.Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))
    elif isinstance(value, (int, float, np.number)):
        value = torch.tensor(value)
    if not isinstance(value, torch.Tensor):
        raise CheckpointError(
            "a state dict holds arrays only", got=f"{name}: {type(value).__name__}", expected=EXPECTED, path=path
        )
    return value.float() if value.is_floating_point() else value
