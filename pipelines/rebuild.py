"""Shards to shards: the same instances, joined or divided anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dp3d_data.errors import InputMissing, UsageError
from dp3d_data.shards.files import MANIFEST, read_manifest
from pipelines.shards import ShardPlan, build


def rebuild(
    folders: Sequence[str], out: str, plan: ShardPlan, *, overwrite: bool, say: Callable[[str], None], workers: int = 1
) -> dict[str, Any]:
    """Build shards from shards and return their manifest.

    Raises:
        UsageError: no folder to write to, or shards of several categories.
        InputMissing, ShardError: a folder holds no finished shards, or damaged ones.
        What `pipelines.shards.build` raises.
    """
    if not out:
        raise UsageError("no folder to write to", expected="a new folder", hint="name one: --out DIR")
    for folder in folders:
        if not (Path(folder) / MANIFEST).is_file():
            hint = "build the shards, or finish a build that was stopped: dp3d-data build-shards"
            raise InputMissing("no manifest.json here, so these are no finished shards", path=folder, hint=hint)
    categories = sorted({read_manifest(folder)["category"] for folder in folders})
    if len(categories) > 1:
        raise UsageError("these shards are of several categories", got=", ".join(categories), expected="one category")
    manifest = build(folders, Path(out), categories[0], plan, overwrite=overwrite, say=say, workers=workers)
    say(f"  written to {out} · next: dp3d-data verify {out}")
    return manifest
