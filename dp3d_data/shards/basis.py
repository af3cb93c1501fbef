"""The spectral basis stored beside the shards, so that every model trained on them reads the very same functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from dp3d_data.errors import InputCorrupt, InputMissing, ShardError
from dp3d_data.files import write_whole
from dp3d_data.limits import read_arrays

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template

BASIS = "basis.npz"
COUNT = 64


class Basis(NamedTuple):
    """Laplace-Beltrami eigenfunctions of a template.

    Attributes:
        eigenvalues: [J] ascending, per square template unit.
        functions: [K, J], mass-normalised, signs fixed.
    """

    eigenvalues: Float[np.ndarray, "J"]
    functions: Float[np.ndarray, "K J"]


def template_basis(template: Template, count: int = COUNT) -> Basis:
    """The first eigenfunctions of a template; fewer than `count` where it has few vertices."""
    from dp3d_data.geometry.laplacian import laplace_beltrami

    eigenvalues, functions = laplace_beltrami(template, min(count, template.num_vertices - 2))
    return Basis(np.asarray(eigenvalues, dtype=np.float64), np.asarray(functions, dtype=np.float32))


def write_basis(path: Path, basis: Basis) -> Path:
    """Write an .npz without pickles; same basis, same bytes."""
    return write_whole(path, lambda stream: np.savez(stream, eigenvalues=basis.eigenvalues, functions=basis.functions))


def read_basis(path: str | Path) -> Basis:
    """Read what write_basis wrote.

    Raises:
        InputMissing: no such file.
        ShardError: damaged.
    """
    if not Path(path).is_file():
        raise InputMissing("no basis beside the shards", path=path, hint="build them again: dp3d-data build-shards --overwrite")
    try:
        arrays = read_arrays(path)
        return Basis(arrays["eigenvalues"], arrays["functions"])
    except (InputCorrupt, KeyError) as error:
        raise ShardError("damaged basis", got=getattr(error, "got", f"no {error}"), path=path) from error
