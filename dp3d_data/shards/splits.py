"""Which side of the split an instance falls on: what belongs together stays together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

TRAIN, VAL = "train", "val"


def components(groups: Sequence[str], images: Sequence[str | None]) -> list[str]:
    """The name of each instance's component: instances are joined by a common group or a common image.

    The name is the smallest group in it, so it does not depend on the order of the instances.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for group, image in zip(groups, images, strict=True):
        if image is not None:
            low, high = sorted((root("group " + group), root("image " + image)))
            parent[high] = low
    return [root("group " + group) for group in groups]


def assign_splits(
    groups: Sequence[str], images: Sequence[str | None], sources: Sequence[str], *, train_ratio: float, seed: int
) -> list[str]:
    """"train" or "val" for each instance.

    Components (see components) are ordered by a hash of seed and name, apart for each source; they go to "val" until it
    has its share of the source's instances. A source with two components or more has one on each side, unless the ratio
    is 0 or 1.

    Args:
        groups: group of each instance; the image's hash or the instance's own name where it has no other.
        images: content hash of each instance's image, or None.
        sources: source of each instance; a component belongs to the source of its first instance.
        train_ratio: share of instances that train, 0..1.
    """
    names = components(groups, images)
    sizes: dict[str, dict[str, int]] = {}
    home: dict[str, str] = {}
    for name, source in zip(names, sources, strict=True):
        members = sizes.setdefault(home.setdefault(name, source), {})
        members[name] = members.get(name, 0) + 1
    side: dict[str, str] = {}
    for members in sizes.values():
        side |= _divide(members, train_ratio, seed)
    return [side[name] for name in names]


def _divide(sizes: dict[str, int], train_ratio: float, seed: int) -> dict[str, str]:
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    wanted = (1 - train_ratio) * sum(sizes.values())
    side, taken = {}, 0
    for name in order:
        side[name] = VAL if taken + sizes[name] / 2 <= wanted and train_ratio < 1 else TRAIN
        taken += sizes[name] if side[name] == VAL else 0
    if len(order) > 1 and 0 < train_ratio < 1 and len(set(side.values())) == 1:
        smallest = min(order, key=lambda name: sizes[name])
        side[smallest] = VAL if side[smallest] == TRAIN else TRAIN
    return side
