"""Runs of extract and synth to shards: filter, remove duplicates, split, write, and account for every instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dp3d_data.config import file_digest, fingerprint, plain
from dp3d_data.errors import NothingToDo, RecipeMismatch, ShardError, UsageError
from dp3d_data.filters import DUPLICATE, Account, FilterConfig, judge
from dp3d_data.shards.basis import BASIS, template_basis, write_basis
from dp3d_data.shards.files import read_table, sweep, write_table
from dp3d_data.shards.index import Index, read_index
from dp3d_data.shards.instances import rows_batch
from dp3d_data.shards.integrity import verify
from dp3d_data.shards.manifest import MANIFEST, read_manifest, write_manifest
from dp3d_data.shards.runs import MARKER, TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_SCHEMA, REJECT_SCHEMA, SCHEMA_VERSION, current
from dp3d_data.shards.splits import assign_splits
from dp3d_data.shards.statistics import Statistics
from dp3d_data.shards.trimming import no_vertices_dropped, trimmed
from dp3d_data.shards.writer import JOURNAL, Journal, ShardEntry, write_split

if TYPE_CHECKING:
    from dp3d_data.bodies.template import Template

Say = Callable[[str], None]
REJECTS = "rejects.parquet"


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What shapes the shards besides the instances themselves."""

    filters: FilterConfig
    shard_bytes: int
    split_ratio: float
    seed: int


@dataclass(frozen=True)
class Decision:
    """What becomes of each instance of an index, in its order.

    Attributes:
        reasons: why it is left out; None where it is kept.
        values: the value that decided, NaN where there is none.
        splits: its side; meaningful where it is kept.
        names: its instance id, made unique over all runs.
    """

    reasons: list[str | None]
    values: np.ndarray
    splits: list[str]
    names: list[str]

    @property
    def kept(self) -> np.ndarray:
        return np.array([reason is None for reason in self.reasons], dtype=bool)


def open_runs(folders: Sequence[Path]) -> list[Run]:
    """Open runs and put them in an order that does not depend on where they lie.

    Raises:
        NothingToDo: no folder.
        InputMissing: a folder is no finished run.
        UsageError: the runs use different templates or subsets of its vertices.
    """
    if not folders:
        hint = "extract some first: dp3d-data extract --category dog, or: dp3d-data synth --category dog"
        raise NothingToDo("no instances to build shards from", hint=hint)
    runs = sorted((Run.open(folder) for folder in folders), key=lambda run: (run.kind, run.digest))
    subset_of(runs)
    hashes = {(run.marker["template"] or {}).get("hash") for run in runs}
    if len(hashes) > 1:
        lines = "; ".join(f"{run.folder} has {(run.marker['template'] or {}).get('name')}" for run in runs)
        hint = "build them apart: dp3d-data build-shards --input DIR --out DIR"
        raise UsageError("these runs use different templates", got=lines, expected="one template", hint=hint)
    return runs


def subset_of(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The vertices to which the runs' keypoints are restricted, as the runs say it; None where all are kept.

    Raises:
        UsageError: the runs have different subsets.
    """
    found = [run.marker.get("extra", {}).get("subset") for run in runs]
    if any(subset != found[0] for subset in found):
        got = "; ".join(f"{run.folder} has {subset['count'] if subset else 'all'}" for run, subset in zip(runs, found, strict=True))
        hint = "build them apart: dp3d-data build-shards --input DIR --out DIR"
        raise UsageError("these runs keep different vertices", got=got, expected="one subset", hint=hint)
    return found[0]


def decide(index: Index, plan: ShardPlan) -> Decision:
    """Filter, remove exact duplicates (same image content, same box), and split what is kept."""
    reasons, values = judge(plan.filters, index.measures)
    seen: set[tuple] = set()
    for row in (row for row, reason in enumerate(reasons) if reason is None and index.image_hashes[row] is not None):
        key = (index.image_hashes[row], *index.boxes[row].tolist())
        if key in seen:
            reasons[row] = DUPLICATE
        seen.add(key)
    kept = [row for row, reason in enumerate(reasons) if reason is None]
    sides = assign_splits(
        [index.groups[row] for row in kept],
        [index.image_hashes[row] for row in kept],
        [index.sources[row] for row in kept],
        train_ratio=plan.split_ratio,
        seed=plan.seed,
    )
    splits = [""] * len(index)
    for row, side in zip(kept, sides, strict=True):
        splits[row] = side
    return Decision(reasons, values, splits, unique_names(index.instance_ids))


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with ~2, ~3, ... appended where runs share them."""
    count: Counter[str] = Counter()
    taken, result = set(names), []
    for name in names:
        count[name] += 1
        fresh = name
        while count[name] > 1 and (fresh := f"{name}~{count[name]}") in taken:
            count[name] += 1
        taken.add(fresh)
        result.append(fresh)
    return result


def split_tables(runs: Sequence[Run], filters: FilterConfig, index: Index, decision: Decision, split: str) -> Iterator[pa.Table]:
    """The kept rows of one split in order, with split, group and unique instance id filled in."""
    wanted = np.array([side == split for side in decision.splits], dtype=bool) & decision.kept
    start = 0
    for run in runs:
        for table in trimmed(run, filters):
            rows = start + np.flatnonzero(wanted[start : start + table.num_rows])
            if len(rows):
                filled = {
                    "split": [split] * len(rows),
                    "group": [index.groups[row] for row in rows],
                    "instance_id": [decision.names[row] for row in rows],
                }
                yield _with_columns(table.take(pa.array(rows - start)), filled)
            start += table.num_rows


def _with_columns(table: pa.Table, columns: dict[str, list[str]]) -> pa.Table:
    for name, values in columns.items():
        position = table.schema.get_field_index(name)
        table = table.set_column(position, INSTANCE_SCHEMA.field(name), pa.array(values, type=pa.string()))
    return current(table)


def recipe_of(runs: Sequence[Run], plan: ShardPlan) -> str:
    """Fingerprint of the runs' content and all settings."""
    return fingerprint("shards", SCHEMA_VERSION, [run.digest for run in runs], plain(plan))


def build(folders: Sequence[Path], out: Path, category: str, plan: ShardPlan, *, overwrite: bool, say: Say) -> dict[str, Any]:
    """Build shards and return their manifest; finished shards of the same recipe are left as they are.

    Raises:
        NothingToDo: no runs, or no instance passes the filters.
        InputMissing, ShardError: a run is unfinished or damaged.
        UsageError: the runs use different templates, or `out` is a run.
        RecipeMismatch: `out` holds shards of another recipe and overwrite is not asked for.
    """
    runs = open_runs(folders)
    recipe = recipe_of(runs, plan)
    say(f"{category}: {sum(run.counts['instances'] for run in runs)} instances of {len(runs)} runs · recipe {recipe}")
    if _already_built(out, recipe, overwrite):
        say("these shards are already there, nothing to do")
        return read_manifest(out)
    dropped = no_vertices_dropped()
    index = read_index(runs, plan.filters, dropped)
    decision = decide(index, plan)
    rejected = Counter(reason for reason in decision.reasons if reason is not None)
    account = Account(len(index), int(decision.kept.sum()), dict(sorted(rejected.items()))).check()
    if account.kept == 0:
        raise NothingToDo("no instance passes the filters", got=account.line(), hint="loosen them: dp3d-data build-shards --help")
    template = runs[0].template()
    journal = Journal(out, recipe)
    journal.save()
    entries: list[ShardEntry] = []
    for split in sorted(set(decision.splits) - {""}):
        entries += write_split(out, split, split_tables(runs, plan.filters, index, decision, split), plan.shard_bytes, journal)
        say(f"  {split}: {sum(e.instances for e in entries if e.split == split)} instances")
    if sum(entry.instances for entry in entries) != account.kept:
        raise ShardError("the inputs changed while the shards were built", path=out, hint="run the command again with --overwrite")
    _write_companions(out, template, index, decision)
    head = {"category": category, "recipe": recipe, "settings": plain(plan), "account": asdict(account), "vertices": dict(dropped)}
    head |= {"subset": subset_of(runs)}
    write_manifest(out, head | {"inputs": [_input(run) for run in runs]} | _contents(out, template, entries))
    (out / JOURNAL).unlink(missing_ok=True)
    sweep(out)
    if dropped.total():
        say(f"  {dropped.total()} vertices made invisible ({', '.join(f'{reason} {count}' for reason, count in dropped.items())})")
    say(f"  {account.line()}")
    return read_manifest(out)


def _already_built(out: Path, recipe: str, overwrite: bool) -> bool:
    if (out / MARKER).is_file():
        hint = "choose another folder: dp3d-data build-shards --out DIR"
        raise UsageError("this folder holds a run of extract or synth", got=out, expected="a folder for shards", hint=hint)
    if not (out / MANIFEST).is_file():
        if (out / JOURNAL).is_file() and not Journal(out, recipe).known:
            _discard(out)
        return False
    try:
        found = read_manifest(out)["recipe"]
    except ShardError:
        found = "a manifest that cannot be read"
    if found == recipe and not verify(out):
        (out / JOURNAL).unlink(missing_ok=True)
        return True
    if found != recipe and not overwrite:
        raise RecipeMismatch("this folder holds shards of another recipe", got=found, expected=recipe, path=out)
    _discard(out)
    return False


def _discard(out: Path) -> None:
    """Delete the files of an earlier build, manifest first, and nothing else."""
    for pattern in (MANIFEST, JOURNAL, "train-[0-9]*.parquet", "val-[0-9]*.parquet", REJECTS, TEMPLATE, BASIS):
        for path in out.glob(pattern):
            path.unlink()
    sweep(out)


def _write_companions(out: Path, template: Template, index: Index, decision: Decision) -> None:
    """Template, basis and the table of rejects."""
    template.save(out / TEMPLATE)
    write_basis(out / BASIS, template_basis(template))
    rows = [
        {
            "instance_id": decision.names[row],
            "image_id": index.image_ids[row],
            "reason": reason,
            "value": None if np.isnan(decision.values[row]) else float(decision.values[row]),
        }
        for row, reason in enumerate(decision.reasons)
        if reason is not None
    ]
    write_table(out / REJECTS, rows_batch(rows, REJECT_SCHEMA))


def _input(run: Run) -> dict[str, Any]:
    return {"kind": run.kind, "recipe": run.marker["recipe"], "digest": run.digest, "counts": run.counts}


def _contents(out: Path, template: Template, entries: Sequence[ShardEntry]) -> dict[str, Any]:
    """The part of the manifest that describes what lies in the folder, read back from it."""
    statistics = Statistics()
    splits: dict[str, dict[str, Any]] = {}
    for entry in entries:
        table = read_table(out / entry.name)
        statistics.add(table)
        split = splits.setdefault(entry.split, {"instances": 0, "shards": 0, "groups": set()})
        split["instances"] += entry.instances
        split["shards"] += 1
        split["groups"] |= set(table.column("group").to_pylist())
    return {
        "template": {
            "file": TEMPLATE,
            "name": template.name,
            "hash": template.content_hash,
            "num_vertices": template.num_vertices,
            "unit": template.unit,
            "factor": template.factor,
        },
        "basis": {"file": BASIS},
        "splits": {name: split | {"groups": len(split["groups"])} for name, split in splits.items()},
        "shards": [asdict(entry) for entry in entries],
        "files": {e.name: e.sha256 for e in entries} | {n: file_digest(out / n) for n in (TEMPLATE, BASIS, REJECTS)},
        "statistics": statistics.summary(),
        "normalisation": {
            "applied": "none: keypoints are image pixels as measured",
            "suggested": "subtract the mean of an instance's visible keypoints, divide by its root mean square radius",
            "mean_radius_px": statistics.mean_radius(),
        },
    }
