"""What becomes of each instance: left out for a named reason, or kept in a split and a shard."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from dp3d_data.config import fingerprint_of, plain
from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text
from dp3d_data.filters import DUPLICATE, LISTED_OUT, MEASURES, NEAR_DUPLICATE, NOT_LISTED, FilterConfig, judge
from dp3d_data.shards.likeness import near_duplicates
from dp3d_data.shards.table import boxes

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)
OUT = "out"  # of a list: in no split
# Columns whose values a list may name.
LISTABLE = ("instance_id", "image_id", "group")
Names: TypeAlias = Sequence[str | None] | pa.ChunkedArray | pa.Array


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What shapes the shards besides the instances themselves.

    Attributes:
        shard_bytes: size on disk that a shard should not exceed; a single row group may.
        split: "ratio"; "official", the split that the source gives; "kept", the split in earlier shards; "list".
            Instances without an official or kept split are divided by ratio; those that a list does not name are left
            out.
        split_ratio, test_ratio: shares of instances in "train" and "test"; the rest is "val".
        seed: another seed, another shuffle and another division by ratio.
        together: "group" keeps groups and images in one split, "image" images alone.
        listed: split of instance ids, image ids or groups, for "list".
        left_out: instance ids, image ids and groups that are in no split.
    """

    filters: FilterConfig = FilterConfig()
    shard_bytes: int = 1 << 28
    split_ratio: float = 0.9
    test_ratio: float = 0.0
    seed: int = 0
    split: str = "ratio"
    together: str = "group"
    listed: dict[str, str] | None = None
    left_out: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.split_ratio + self.test_ratio > 1 + 1e-9:
            got, expected = f"{self.split_ratio} + {self.test_ratio}", "at most 1 together; the rest is for validation"
            raise UsageError("the shares of the split exceed the whole", got=got, expected=expected)

    def settings(self) -> dict[str, Any]:
        """Plain values for the manifest; of a list its size and fingerprint. What came with later versions is left out
        where it is not used, so that shards of earlier ones are known again."""
        listed = None if self.listed is None else {"names": len(self.listed), "digest": fingerprint_of(self.listed)}
        left = {"names": len(self.left_out), "digest": fingerprint_of(sorted(self.left_out))} if self.left_out else None
        found = plain(replace(self, listed=None, left_out=frozenset())) | {"listed": listed, "left_out": left}
        if left is None:
            del found["left_out"]
        if not self.filters.near_duplicates:
            del found["filters"]["near_duplicates"]
        return found


def read_split_list(path: str | Path) -> dict[str, str]:
    """Splits from a text file: on each line a name, a tab or comma, and train, val, test or out; # begins a comment.

    Raises:
        InputMissing: no such file.
        InputCorrupt: a line of another form, or a name in two splits.
    """
    lines = read_text(path, "list of a split").split("\n")
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        at = max(line.rfind("\t"), line.rfind(","))
        name, split = line[:at].strip(), line[at + 1 :].strip().lower()
        if at < 0 or not name or split not in (*SPLITS, OUT):
            expected = "name,train or name,val, name,test or name,out"
            raise InputCorrupt(f"line {number} names no split", got=line, expected=expected, path=path)
        if listed.setdefault(name, split) != split:
            expected = f"{name},{listed[name]}"
            raise InputCorrupt(f"line {number} puts a name in a second split", got=line, expected=expected, path=path)
    return listed


def given_splits(plan: ShardPlan, table: pa.Table) -> pa.Array | None:
    """The split of each row of an index that the plan takes as given, null without one; None where it takes none.

    Raises:
        UsageError: the source names a split that is none of ours.
    """
    if plan.split == "ratio":
        return None
    if plan.split == "list":
        listed = plan.listed or {}
        keys, splits = pa.array(list(listed), pa.string()), pa.array(list(listed.values()), pa.string())
        places = (pc.index_in(table.column(name), value_set=keys, skip_nulls=True) for name in LISTABLE)
        return _one(pc.coalesce(*(pc.take(splits, place) for place in places)))
    given = _one(table.column("source_split" if plan.split == "official" else "split"))
    unknown = sorted(set(given.unique().to_pylist()) - {*SPLITS, None})
    if unknown:
        hint = "divide them by ratio, or by a list of your own: dp3d-data build-shards --split-list FILE"
        raise UsageError("the source names an unknown split", got=unknown[0], expected=", ".join(SPLITS), hint=hint)
    return given


def components(groups: Names, images: Names) -> tuple[Int[np.ndarray, "N"], list[str]]:
    """The component of each instance, and the name of each component: instances are joined by a common group or image.

    The name is the smallest group in it, so it does not depend on the order of the instances.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group, names = _codes(groups)
    image, pictures = _codes(images)
    joined = image >= 0
    shape = (len(names) + len(pictures),) * 2
    edges = coo_array((np.ones(joined.sum(), np.int8), (group[joined], len(names) + image[joined])), shape=shape)
    number, label = connected_components(edges.tocsr(), directed=False) if sum(shape) else (0, np.zeros(0, np.int32))
    smallest: list[str] = [""] * number
    for code in reversed(np.argsort(np.array(names, dtype=object), kind="stable").tolist()):
        smallest[label[code]] = names[code]
    return label[group], smallest


def _codes(names: Names) -> tuple[np.ndarray, list[str]]:
    """A number for each name, -1 for null, and the names by number."""
    encoded = _one(names).dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _one(names: Names) -> pa.Array:
    """Names as one array."""
    if isinstance(names, pa.ChunkedArray):
        return names.combine_chunks()
    return names if isinstance(names, pa.Array) else pa.array(names, pa.string())


def assign_splits(
    groups: Names, images: Names, sources: Names, *, plan: ShardPlan, given: Names | None = None
) -> Int[np.ndarray, "N"]:
    """The split of each instance, as a number in SPLITS.

    A component (see components) with a given split takes it. The others are ordered by a hash of seed and name, apart
    for each source; they go to "test", then to "val", until these have their shares of the source's instances. A source
    with two components or more has one on each of "train" and "val", unless their ratio is 0 or 1.

    Args:
        groups: group of each instance; the image's hash or the instance's own name where it has no other.
        images: content hash of each instance's image, or None.
        sources: source of each instance; a component belongs to the source of its first instance.
        given: split of each instance or None, from given_splits.

    Raises:
        UsageError: a component has two given splits.
    """
    member, names = components(groups, images)
    split = np.full(len(names), -1)
    if given is not None:
        _take_given(split, member, names, _one(given), plan)
    sizes = np.bincount(member, minlength=len(names))
    source, _ = _codes(sources)
    first = np.full(len(names), len(member))
    np.minimum.at(first, member, np.arange(len(member)))
    free = np.flatnonzero(split < 0)
    for kind in np.unique(source[first[free]]) if len(free) else ():
        _divide(split, free[source[first[free]] == kind], sizes, names, plan)
    return split[member]


def _take_given(split: np.ndarray, member: np.ndarray, names: list[str], given: pa.Array, plan: ShardPlan) -> None:
    code = pc.index_in(given, value_set=pa.array(SPLITS)).fill_null(-1).to_numpy(zero_copy_only=False)
    given_rows = code >= 0
    split[member[given_rows]] = code[given_rows]
    torn = np.flatnonzero(given_rows & (split[member] != code))
    if len(torn):
        name = names[member[torn[0]]]
        got = f"{name!r} in {SPLITS[code[torn[0]]]} and in {SPLITS[split[member[torn[0]]]]}"
        image = ", or keep images together alone: --set together=image" if plan.together == "group" else ""
        what, hint = "the given split tears apart what belongs together", f"divide anew: --split ratio{image}"
        raise UsageError(what, got=got, expected="one split for each group", hint=hint)


def _divide(split: np.ndarray, free: np.ndarray, sizes: np.ndarray, names: list[str], plan: ShardPlan) -> None:
    """Give each free component of one source its split."""
    order = sorted(free.tolist(), key=lambda code: hashlib.sha256(f"{plan.seed} {names[code]}".encode()).digest())
    total = int(sizes[free].sum())
    wanted = {TEST: plan.test_ratio * total, VAL: max(1 - plan.split_ratio - plan.test_ratio, 0.0) * total}
    taken: dict[str, Any] = dict.fromkeys(wanted, 0)
    for code in order:
        size = int(sizes[code])
        chosen = next((name for name in wanted if taken[name] + size / 2 <= wanted[name]), TRAIN)
        split[code] = SPLITS.index(chosen)
        if chosen != TRAIN:
            taken[chosen] += size
    rest = [code for code in order if SPLITS[split[code]] != TEST]
    both_wanted = plan.split_ratio > 0 and plan.split_ratio + plan.test_ratio < 1
    if len(rest) > 1 and both_wanted and len({int(split[code]) for code in rest}) == 1:
        smallest = min(rest, key=lambda code: int(sizes[code]))
        split[smallest] = SPLITS.index(VAL if SPLITS[split[smallest]] == TRAIN else TRAIN)


def decide(index: pa.Table, plan: ShardPlan) -> pa.Table:
    """Filter, remove exact duplicates (same content, or same image content, each with the same box) and near ones, and
    split the rest.

    Args:
        index: of `read_index`.

    Returns:
        For each row of the index: instance_id, unique over all inputs; image_id; group: the group, else the image's
        hash, else the instance id; split, null where it is left out; reason and value (null where there is none) that
        left it out; content_hash.

    Raises:
        UsageError: a given split tears apart what belongs together, or names an unknown split.
    """
    index = index.combine_chunks()
    reasons, values = judge(plan.filters, {name: index.column(name).to_numpy() for name in MEASURES})
    given = given_splits(plan, index)
    if given is not None and plan.split == "list":
        _leave_out(reasons, given.is_null().to_numpy(zero_copy_only=False), NOT_LISTED)
    keys = pa.array(sorted(plan.left_out), pa.string())
    for name in LISTABLE:
        listed = _one(pc.is_in(index.column(name), value_set=keys))
        _leave_out(reasons, listed.to_numpy(zero_copy_only=False), LISTED_OUT)
    for name in ("image_hash", "content"):
        open_rows = np.array([reason is None for reason in reasons], dtype=bool)
        _leave_out(reasons, repeated(index.column(name), boxes(index), open_rows), DUPLICATE)
    if plan.filters.near_duplicates:
        rows = np.flatnonzero([reason is None for reason in reasons])
        shapes = index.column("shape").combine_chunks().flatten().to_numpy().reshape(len(index), -1).view(np.complex64)
        first, values[rows] = near_duplicates(shapes[rows], plan.filters.near_duplicates)
        _leave_out(reasons, np.isin(np.arange(len(index)), rows[first >= 0]), NEAR_DUPLICATE)
    names, images = _one(index.column("instance_id")), _one(index.column("image_hash"))
    groups = pc.coalesce(_one(index.column("group")), images, names)
    kept = np.flatnonzero([reason is None for reason in reasons])
    splits = np.full(len(index), len(SPLITS))
    splits[kept] = assign_splits(
        (groups if plan.together == "group" else pc.coalesce(images, names)).take(kept),
        images.take(kept),
        index.column("source").take(kept),
        plan=plan,
        given=None if given is None else given.take(kept),
    )
    columns = {
        "instance_id": unique_names(names),
        "image_id": _one(index.column("image_id")),
        "group": groups,
        "split": pa.array([*SPLITS, None], pa.string()).take(pa.array(splits)),
        "reason": pa.array(reasons, pa.string()),
        "value": pa.array(values, from_pandas=True),  # NaN becomes null
        "content_hash": _one(index.column("content")),
    }
    return pa.table(columns)


def _leave_out(reasons: list[str | None], rows: Bool[np.ndarray, "N"], reason: str) -> None:
    for row in np.flatnonzero(rows).tolist():
        if reasons[row] is None:
            reasons[row] = reason


def repeated(
    keys: pa.ChunkedArray, boxes: Float[np.ndarray, "N 4"], among: Bool[np.ndarray, "N"]
) -> Bool[np.ndarray, "N"]:
    """Which rows have the key and box of an earlier one, among some rows; a null key repeats nothing."""
    codes = keys.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(among & (codes >= 0))
    columns = [codes[rows], *np.ascontiguousarray(boxes[rows].T)]
    order = np.lexsort(columns)
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order[1:]] == column[order[:-1]]
    result = np.zeros(len(among), dtype=bool)
    result[rows[order[1:][same]]] = True
    return result


def unique_names(names: pa.Array) -> pa.Array:
    """The names, with ~2, ~3, ... appended where inputs share them."""
    if pc.count_distinct(names).as_py() == len(names):
        return names
    count: Counter[str] = Counter()
    plain: Sequence[str] = names.to_pylist()
    taken, result = set(plain), []
    for name in plain:
        count[name] += 1
        fresh = name
        while count[name] > 1 and (fresh := f"{name}~{count[name]}") in taken:
            count[name] += 1
        taken.add(fresh)
        result.append(fresh)
    return pa.array(result, pa.string())


# Raw bytes of a row group, where shards are large enough; a reader holds one at a time.
GROUP_BYTES = 16 << 20
# Bytes of a file besides its pages: once, and for each row group.
_FILE_BYTES, _GROUP_BYTES = 20_000, 8_000


@dataclass(frozen=True)
class PlannedShard:
    """One shard to come: its file, its split, its first row group and the rows of each of its row groups."""

    name: str
    split: str
    first: int
    rows: tuple[int, ...]


def lay_out(
    splits: Int[np.ndarray, "N"], sizes: Int[np.ndarray, "N"], *, ratio: float, shard_bytes: int, seed: int
) -> tuple[Int[np.ndarray, "N"], Int[np.ndarray, "N"], list[PlannedShard]]:
    """Shuffle each split and cut it into row groups and shards.

    Args:
        splits: number in SPLITS of each instance, -1 where it is left out.
        sizes: raw bytes of each instance.
        ratio: encoded bytes per raw byte.
        shard_bytes: size on disk that a shard should not exceed; a single row group may.

    Returns:
        The row group [N] of each instance over all shards, -1 where left out; its row [N] in the group; and the shards
        in order of split and number, whose row groups follow each other.
    """
    group, position = np.full(len(splits), -1, dtype=np.int32), np.full(len(splits), -1, dtype=np.int32)
    shards: list[PlannedShard] = []
    first = 0
    for split in sorted(range(len(SPLITS)), key=lambda code: SPLITS[code]):
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            continue
        order = rows[np.random.default_rng(np.random.SeedSequence([seed, split])).permutation(len(rows))]
        own, group_bytes = sizes[order], min(GROUP_BYTES, max(int(shard_bytes / ratio) // 4, 1))
        # A group ends where it passes its share.
        _, found = np.unique((np.cumsum(own) - own) // group_bytes, return_inverse=True)
        counts, raw = np.bincount(found), np.bincount(found, weights=own)
        group[order] = first + found
        position[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        for number, (start, stop) in enumerate(_shard_bounds(raw * ratio + _GROUP_BYTES, shard_bytes)):
            name = f"{SPLITS[split]}-{number:05d}.parquet"
            shards.append(PlannedShard(name, SPLITS[split], first + start, tuple(counts[start:stop].tolist())))
        first += len(counts)
    return group, position, shards


def _shard_bounds(encoded: np.ndarray, shard_bytes: int) -> list[tuple[int, int]]:
    """Runs of row groups of about equal bytes, as few as stay below the limit."""
    limit = max(shard_bytes - _FILE_BYTES, 1)
    count = min(max(int(np.ceil(encoded.sum() / limit)), 1), len(encoded))
    middle = np.cumsum(encoded) - encoded / 2
    shard = np.minimum((middle * count / encoded.sum()).astype(int), count - 1)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(shard) > 0]))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(encoded)], strict=True))
