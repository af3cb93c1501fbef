"""Which split an instance falls into: what belongs together stays together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int

from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)
OUT = "out"  # of a list: in no split
RULES = ("ratio", "official", "kept", "list")
TOGETHER = ("group", "image")
# Columns whose values a list may name.
LISTABLE = ("instance_id", "image_id", "group")
Names = Sequence[str | None] | pa.ChunkedArray | pa.Array


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How instances are divided.

    Attributes:
        by: "ratio"; "official", the split that the source gives; "kept", the split in earlier shards; "list". Instances
            without an official or kept split are divided by ratio; those that a list does not name are left out.
        train, test: shares of instances; the rest is "val".
        seed: another seed, another division by ratio.
        together: "group" keeps groups and images in one split, "image" images alone.
        listed: split of instance ids, image ids or groups, for "list".
        left_out: instance ids, image ids and groups that are in no split.
    """

    by: str = "ratio"
    train: float = 0.9
    test: float = 0.0
    seed: int = 0
    together: str = "group"
    listed: dict[str, str] | None = None
    left_out: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.train + self.test > 1 + 1e-9:
            expected = "at most 1 together; the rest is for validation"
            raise UsageError(
                "the shares of the split exceed the whole", got=f"{self.train} + {self.test}", expected=expected
            )


def read_split_list(path: str | Path) -> dict[str, str]:
    """Sides from a text file: on each line a name, a tab or comma, and train, val, test or out; # begins a comment.

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
            raise InputCorrupt(
                f"line {number} names no side",
                got=line,
                expected="name,train or name,val, name,test or name,out",
                path=path,
            )
        if listed.setdefault(name, split) != split:
            raise InputCorrupt(
                f"line {number} puts a name on a second side", got=line, expected=f"{name},{listed[name]}", path=path
            )
    return listed


def in_list(names: frozenset[str], table: pa.Table) -> Bool[np.ndarray, "N"]:
    """Which rows of an index have one of the names as instance id, image id or group."""
    keys, found = pa.array(sorted(names), pa.string()), np.zeros(table.num_rows, dtype=bool)
    for column in LISTABLE:
        found |= _one(pc.is_in(table.column(column), value_set=keys)).to_numpy(zero_copy_only=False)
    return found


def given_splits(rule: SplitRule, table: pa.Table) -> pa.Array | None:
    """The split of each row of an index that the rule takes as given, null where there is none; None where it takes
    none.

    Raises:
        UsageError: the source names a split that is none of ours.
    """
    if rule.by == "ratio":
        return None
    if rule.by == "list":
        listed = rule.listed or {}
        keys, splits = pa.array(list(listed), pa.string()), pa.array(list(listed.values()), pa.string())
        columns = (table.column(name) for name in LISTABLE)
        return _one(
            pc.coalesce(*(pc.take(splits, pc.index_in(column, value_set=keys, skip_nulls=True)) for column in columns))
        )
    given = _one(table.column("source_split" if rule.by == "official" else "split"))
    strange = sorted(set(given.unique().to_pylist()) - {*SPLITS, None})
    if strange:
        hint = "divide them by ratio, or by a list of your own: dp3d-data build-shards --split-list FILE"
        raise UsageError(
            "the source names an unknown side of its split", got=strange[0], expected=", ".join(SPLITS), hint=hint
        )
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
    array = _one(names if isinstance(names, (pa.ChunkedArray, pa.Array)) else pa.array(names, pa.string()))
    encoded = array.dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _one(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def assign_splits(
    groups: Names, images: Names, sources: Names, *, rule: SplitRule, given: Names | None = None
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
        _take_given(
            split, member, names, _one(given if isinstance(given, pa.Array) else pa.array(given, pa.string())), rule
        )
    sizes = np.bincount(member, minlength=len(names))
    source, _ = _codes(sources)
    first = np.full(len(names), len(member))
    np.minimum.at(first, member, np.arange(len(member)))
    free = np.flatnonzero(split < 0)
    for kind in np.unique(source[first[free]]) if len(free) else ():
        _divide(split, free[source[first[free]] == kind], sizes, names, rule)
    return split[member]


def _take_given(split: np.ndarray, member: np.ndarray, names: list[str], given: pa.Array, rule: SplitRule) -> None:
    code = pc.index_in(given, value_set=pa.array(SPLITS)).fill_null(-1).to_numpy(zero_copy_only=False)
    known = code >= 0
    split[member[known]] = code[known]
    torn = np.flatnonzero(known & (split[member] != code))
    if len(torn):
        name = names[member[torn[0]]]
        got = f"{name!r} on {SPLITS[code[torn[0]]]} and on {SPLITS[split[member[torn[0]]]]}"
        image = ", or keep images together alone: --set together=image" if rule.together == "group" else ""
        hint = f"divide anew: --split ratio{image}"
        raise UsageError(
            "the given split tears apart what belongs together", got=got, expected="one side for each group", hint=hint
        )


def _divide(split: np.ndarray, free: np.ndarray, sizes: np.ndarray, names: list[str], rule: SplitRule) -> None:
    """Give each free component of one source its split."""
    order = sorted(free.tolist(), key=lambda code: hashlib.sha256(f"{rule.seed} {names[code]}".encode()).digest())
    total = int(sizes[free].sum())
    wanted = {TEST: rule.test * total, VAL: max(1 - rule.train - rule.test, 0.0) * total}
    taken: dict[str, Any] = dict.fromkeys(wanted, 0)
    for code in order:
        size = int(sizes[code])
        chosen = next((name for name in wanted if taken[name] + size / 2 <= wanted[name]), TRAIN)
        split[code] = SPLITS.index(chosen)
        if chosen != TRAIN:
            taken[chosen] += size
    rest = [code for code in order if SPLITS[split[code]] != TEST]
    if (
        len(rest) > 1
        and rule.train > 0
        and rule.train + rule.test < 1
        and len({int(split[code]) for code in rest}) == 1
    ):
        smallest = min(rest, key=lambda code: int(sizes[code]))
        split[smallest] = SPLITS.index(VAL if SPLITS[split[smallest]] == TRAIN else TRAIN)
