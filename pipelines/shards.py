"""Runs and shards to shards: filter, remove duplicates, split, shuffle, write, and account for every instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from dp3d_data.config import file_digest, fingerprint_of
from dp3d_data.errors import FingerprintMismatch, NothingToDo, ShardError, UsageError
from dp3d_data.files import locked, write_arrays
from dp3d_data.filters import FilterConfig, Tally
from dp3d_data.shards.build import (
    FILLED,
    PLACES,
    begin_building,
    deal,
    discard_shards,
    end_building,
    gather,
    joined_sums,
    note_shard,
    noted_shard,
    open_dealt,
    partition_path,
    summary,
    write_shard,
)
from dp3d_data.shards.files import (
    BASIS,
    MANIFEST,
    REJECTS,
    no_shards,
    read_arrow,
    read_manifest,
    template_basis,
    write_arrow,
    write_manifest,
    write_table,
)
from dp3d_data.shards.index import read_index, write_index
from dp3d_data.shards.inputs import SHARDS, Partition, open_inputs, partitions
from dp3d_data.shards.integrity import verify
from dp3d_data.shards.likeness import patches_of
from dp3d_data.shards.plan import SPLITS, PlannedShard, ShardPlan, decide, lay_out
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.runs import MARKER, TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_COLUMNS, REJECT_SCHEMA, SCHEMA_VERSION
from pipelines.chunks import Advance, Executor, MakeChunk, Say, submitting, worker_count

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


# Raised when the same inputs and settings may give other bytes than before.
CODE_VERSION = 1


def run_fingerprint(inputs: Sequence[Run], plan: ShardPlan) -> str:
    """Fingerprint of the inputs' content and all settings."""
    return fingerprint_of("shards", SCHEMA_VERSION, CODE_VERSION, [one.digest for one in inputs], plan.settings())


def build(
    folders: Sequence[str | Path],
    out: Path,
    category: str,
    plan: ShardPlan,
    *,
    overwrite: bool,
    say: Say,
    workers: int = 1,
) -> dict[str, Any]:
    """Build shards and return their manifest; what a build of the same fingerprint has finished is left as it is.

    Args:
        folders: finished runs and finished shards.
        workers: processes; 0 for one per core where there is enough to do. The bytes do not depend on it.

    Raises:
        NothingToDo: no inputs, or no instance passes the filters.
        InputMissing, ShardError: an input is unfinished or damaged.
        UsageError: the inputs use different templates, a given split cannot be kept, or `out` is a run or an input.
        FingerprintMismatch: `out` holds shards of other settings and overwrite is not asked for.
        FolderBusy: another process builds in `out`.
    """
    inputs = open_inputs(folders)
    _check_out(out, inputs)
    fingerprint = run_fingerprint(inputs, plan)
    count = sum(one.counts["instances"] for one in inputs)
    read = f"{len(inputs)} {'inputs' if len(inputs) > 1 else 'input'}"
    say(f"{category}: {count} instances of {read} · fingerprint {fingerprint}")
    with locked(out):
        if _already_built(out, fingerprint, overwrite):
            say("these shards are already there, nothing to do")
            return read_manifest(out)
        begin_building(out, fingerprint)
        return _build(inputs, out, fingerprint, category, plan, say, workers)


def _build(
    inputs: Sequence[Run], out: Path, fingerprint: str, category: str, plan: ShardPlan, say: Say, workers: int
) -> dict[str, Any]:
    template = inputs[0].template()
    parts = partitions(inputs)
    if not sum(partition.rows for partition in parts):
        got, hint = f"{len(inputs)} empty inputs", "dp3d-data extract --help"
        raise NothingToDo("no instances to build shards from", got=got, hint=hint)
    patches = patches_of(template) if plan.filters.near_duplicates else None
    trimming = plan.filters, template.area_shares
    with submitting(Executor(worker_count(workers, len(parts), "cpu")), len(parts), say) as make:
        todo = {n: [partition] for n, partition in enumerate(parts) if not partition_path(out, "index", n).is_file()}
        make(partial(_one_by_one, partial(_index, out, *trimming, patches)), todo, lambda *_: None)
        index, ratio, dropped = read_index([partition_path(out, "index", number) for number in range(len(parts))])
        decision = decide(index, plan)
        tally = _tally(decision)
        splits = pc.index_in(decision.column("split"), value_set=pa.array(SPLITS)).fill_null(-1).to_numpy()
        group, position, shards = lay_out(
            splits, index.column("bytes").to_numpy(), ratio=ratio, shard_bytes=plan.shard_bytes, seed=plan.seed
        )
        todo = {n: [partition] for n, partition in enumerate(parts) if not partition_path(out, "rows", n).is_file()}
        places = pa.table([pa.array(group), pa.array(position), *decision.select(list(FILLED)).columns], schema=PLACES)
        for number, (partition,) in todo.items():
            write_arrow(partition_path(out, "places", number), places.slice(partition.start, partition.rows))
        make(partial(_one_by_one, partial(_deal, out, *trimming)), todo, lambda *_: None)
        planned = {n: [shard] for n, shard in enumerate(shards) if noted_shard(out, shard.name) is None}
        make(partial(_gathering, out, len(parts), template.num_vertices), planned, lambda *_: None)
    entries, sums = _gathered(out, shards)
    template.save(out / TEMPLATE)
    earlier = next((one for one in inputs if one.kind == SHARDS), None)  # models may have been trained on its basis
    basis = ShardReader(earlier.folder).basis if earlier else template_basis(template)
    write_arrays(out / BASIS, compressed=False, **basis._asdict())
    rejects = decision.filter(decision.column("split").is_null()).select(REJECT_SCHEMA.names)
    write_table(out / REJECTS, rejects.cast(REJECT_SCHEMA).combine_chunks())
    head: dict[str, Any] = {"category": category, "recipe": fingerprint, "settings": plan.settings()}
    head |= {"account": asdict(tally), "vertices": dict(dropped), "subset": inputs[0].subset}
    head["inputs"] = [
        {"kind": one.kind, "recipe": one.fingerprint, "digest": one.digest, "counts": one.counts} for one in inputs
    ]
    head["splits"] = _splits(decision, entries)
    write_manifest(out, head | _contents(out, template, entries, sums))
    end_building(out)
    for name, split in head["splits"].items():
        say(f"  {name}: {split['instances']} instances")
    if dropped.total():
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        say(f"  {dropped.total()} vertices made invisible ({reasons})")
    say(f"  {tally.line()}")
    return read_manifest(out)


def _gathered(out: Path, shards: Sequence[PlannedShard]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All shards in order, and what they hold together: see `table_sums`."""
    entries, sums = [], dict[str, Any]()
    for shard in shards:
        noted = noted_shard(out, shard.name)
        if noted is None:
            what, hint = "a shard was changed while the others were built", "run the same command again"
            raise ShardError(what, path=out / shard.name, hint=hint)
        entries.append(noted[0])
        sums = joined_sums(sums, noted[1])
    return entries, sums


def _check_out(out: Path, inputs: Sequence[Run]) -> None:
    hint = "choose another folder: dp3d-data build-shards --out DIR"
    if (out / MARKER).is_file():
        what = "this folder holds a run of extract or synth"
        raise UsageError(what, got=out, expected="a folder for shards", hint=hint)
    if any(one.folder.resolve() == out.resolve() for one in inputs):
        raise UsageError("the shards would replace their own input", got=out, expected="another folder", hint=hint)


def _already_built(out: Path, fingerprint: str, overwrite: bool) -> bool:
    if not (out / MANIFEST).is_file():
        return False
    try:
        found = read_manifest(out)["recipe"]
    except ShardError:
        found = "a manifest that cannot be read"
    if found == fingerprint and not verify(out):
        end_building(out)
        return True
    if found != fingerprint and not overwrite:
        what = "this folder holds shards of other settings"
        raise FingerprintMismatch(what, got=found, expected=fingerprint, path=out)
    discard_shards(out)
    return False


def _tally(decision: pa.Table) -> Tally:
    rejected = Counter(decision.column("reason").drop_null().to_pylist())
    kept = len(decision) - decision.column("split").null_count
    tally = Tally(len(decision), kept, dict(sorted(rejected.items()))).check()
    if tally.kept == 0:
        hint = "loosen them: dp3d-data build-shards --help"
        raise NothingToDo("no instance passes the filters", got=tally.line(), hint=hint)
    return tally


def _splits(decision: pa.Table, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Instances, shards and groups of each split that holds instances, in order of name."""
    result = {}
    for name in sorted({entry["split"] for entry in entries}):
        groups = decision.filter(pc.equal(decision.column("split"), name)).column("group")
        shards = [entry for entry in entries if entry["split"] == name]
        instances = sum(entry["instances"] for entry in shards)
        result[name] = {"instances": instances, "shards": len(shards), "groups": pc.count_distinct(groups).as_py()}
    return result


def _contents(out: Path, template: Template, entries: Sequence[dict[str, Any]], sums: dict[str, Any]) -> dict[str, Any]:
    """The part of the manifest that describes the files."""
    radius = sums["radius"]
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
        "shards": list(entries),
        "files": {one["name"]: one["sha256"] for one in entries}
        | {name: file_digest(out / name) for name in (TEMPLATE, BASIS, REJECTS)},
        "precision": {column.name: column.step for column in INSTANCE_COLUMNS if column.step},
        "statistics": {name: summary(column) for name, column in sums["columns"].items()},
        "visible_counts": sums["visible"],
        "normalisation": {
            "applied": "none: keypoints are image pixels as measured",
            "suggested": "subtract the mean of an instance's visible keypoints, divide by its root mean square radius",
            "mean_radius_px": float(f"{radius['total'] / radius['values']:.7g}") if radius["values"] else 0.0,
        },
    }


def _one_by_one(step: Callable[[int, Any], None]) -> MakeChunk:
    """Makes chunks of one partition or one shard each, by its number; none can be left out, so none is to blame."""

    def make(index: int | None, chunk: Sequence[Any], advance: Advance, lost: Collection[int]) -> None:
        if index is not None:
            for one in chunk:
                step(index, one)

    return make


def _index(
    out: Path,
    filters: FilterConfig,
    area_shares: Float[np.ndarray, "K"],
    patches: Float[np.ndarray, "K P"] | None,
    number: int,
    partition: Partition,
) -> None:
    write_index(partition_path(out, "index", number), partition, filters, area_shares, patches)


def _deal(
    out: Path, filters: FilterConfig, area_shares: Float[np.ndarray, "K"], number: int, partition: Partition
) -> None:
    places = read_arrow(partition_path(out, "places", number))
    deal(partition, places, partition_path(out, "rows", number), filters, area_shares)


def _gathering(out: Path, partitions: int, num_vertices: int) -> MakeChunk:
    """Opens what all partitions have dealt; writes shards."""
    dealt = open_dealt([partition_path(out, "rows", number) for number in range(partitions)])

    def write(number: int, shard: PlannedShard) -> None:
        groups = (gather(dealt, shard.first + group, rows) for group, rows in enumerate(shard.rows))
        note_shard(out, *write_shard(out / shard.name, shard.split, groups, num_vertices))

    return _one_by_one(write)


def rebuild(
    folders: Sequence[str], out: str, plan: ShardPlan, *, overwrite: bool, say: Say, workers: int = 1
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
            raise no_shards(folder)
    categories = sorted({read_manifest(folder)["category"] for folder in folders})
    if len(categories) > 1:
        raise UsageError("these shards are of several categories", got=", ".join(categories), expected="one category")
    manifest = build(folders, Path(out), categories[0], plan, overwrite=overwrite, say=say, workers=workers)
    say(f"  written to {out} · next: dp3d-data verify {out}")
    return manifest
