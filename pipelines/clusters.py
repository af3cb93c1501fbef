"""Clusters that can be started: a TOML file says which kind, how many workers, and the options of its Dask class."""

from __future__ import annotations

import difflib
import importlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dp3d_data.config import read_toml
from dp3d_data.errors import ConfigError, DependencyMissing, InputMissing

FOLDER = Path(__file__).with_name("recipes")
# kind -> module, class
KINDS = {
    "cuda": ("dask_cuda", "LocalCUDACluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
}
# Recipes that come with the project, by name.
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem in KINDS))


def read_recipe(name: str) -> tuple[str, int, dict[str, Any]]:
    """A recipe by the name of a shipped one, or by its file.

    Returns:
        Its kind, one of KINDS; the workers (of a batch system: jobs) to start, 0 to leave it to the class; and the
        options of the class.

    Raises:
        InputMissing: neither.
        ConfigError: not TOML, an unknown kind or key.
    """
    path = FOLDER / f"{name}.toml" if name in SHIPPED else Path(name)
    if not path.is_file():
        hint = f"copy {FOLDER / 'slurm.toml'} and fit it to your cluster"
        raise InputMissing(
            "no such cluster recipe", got=name, expected=f"a TOML file, or one of {', '.join(SHIPPED)}", hint=hint
        )
    values = read_toml(path)
    unknown = sorted(set(values) - {"kind", "workers", "options"})
    if unknown:
        raise ConfigError(
            f"unknown setting {unknown[0]!r}", expected="kind, workers and the table [options]", path=path
        )
    kind, workers, options = values.get("kind"), values.get("workers", 0), values.get("options", {})
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            "unknown kind of cluster", got=repr(kind), expected="one of " + ", ".join(KINDS), hint=hint, path=path
        )
    if type(workers) is not int or workers < 0 or not isinstance(options, dict):
        got = f"workers {workers!r}, options {options!r}"
        raise ConfigError("a cluster has a number of workers and a table of options", got=got, path=path)
    return kind, workers, options


def start_cluster(name: str, workers: int = 0) -> AbstractContextManager[Any]:
    """Start the cluster of a recipe; it ends with the block.

    Args:
        workers: instead of the recipe's number; 0 keeps it.

    Raises:
        InputMissing, ConfigError: see `read_recipe`; options that the class does not know.
        DependencyMissing: the class's package is not installed.
    """
    kind, count, options = read_recipe(name)
    module, attribute = KINDS[kind]
    try:
        make = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        hint = "pip install 'dp3d[cluster]'"
        raise DependencyMissing(f"{kind} clusters need {module}", got=error, hint=hint) from error
    count = workers or count
    own = {"n_workers": count} if count and kind == "cuda" else {}
    try:
        cluster = make(**(options | own))
    except (TypeError, ValueError) as error:
        hint = f"the options are those of {module}.{attribute}"
        raise ConfigError(
            "the cluster cannot be started with these options", got=error, hint=hint, path=name
        ) from error
    if count and kind != "cuda":
        cluster.scale(jobs=count)
    return cluster
