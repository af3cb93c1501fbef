"""What an extraction works on: the images of a source with what is known of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from dp3d_data.datasets import Dataset, DatasetOptions, open_images
from dp3d_data.datasets.boxes import attach_boxes, read_boxes
from dp3d_data.datasets.coco import Coco
from dp3d_data.datasets.folder import SOMETIMES, Folder
from dp3d_data.datasets.images import NEED_HEIF
from dp3d_data.datasets.locations import size_of
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.records import ImageRecord
from pipelines.settings import ExtractConfig

# What the fingerprint knows of an image, besides the size of its file.
FACTS = ("image_id", "group", "split", "objects", "size", "faults", "crowds")


@dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Attributes:
        source: where they come from; with a `model` it needs no network.
        records: the images, in order.
        unmatched: names in the user's file of boxes that are none of the images.
        notes: what the user should know of the input, a line each.
        ends: where chunks end among the records, if they are shared with categories of other images.
    """

    source: Dataset
    records: tuple[ImageRecord, ...]
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()

    @cached_property
    def _digests(self) -> dict[bool, str]:
        """Whether sizes count -> the digest of the facts of all images."""
        digests = {sizes: hashlib.sha256() for sizes in (False, True)}
        for number, record in enumerate(self.records):
            known = [getattr(record, name) for name in FACTS]
            size = size_of(record.path) if record.path else None
            for sizes, digest in digests.items():
                digest.update(("\n" * (number > 0) + repr((*known, size if sizes else None))).encode())
        return {sizes: digest.hexdigest() for sizes, digest in digests.items()}

    def facts(self, sizes: bool = True) -> list[Any]:
        """What the fingerprint knows of them: names, sizes and all that results take from a record, wherever it lies.

        Args:
            sizes: whether another size of an image's file, in bytes, is other settings.
        """
        return [self.source.name, self.source.digest(), self._digests[sizes], *([list(self.ends)] if self.ends else [])]


def find_inputs(config: ExtractConfig, names: tuple[str, ...]) -> dict[str, Inputs]:
    """Category -> its images, of several categories; a file that speaks for all of them is read once.

    Of several, those that the source has no image of are left out.

    Raises:
        UsageError, InputMissing, InputCorrupt, NothingToDo: of the source, or of the file of boxes.
        NothingToDo: no image of the wanted split; names the splits that there are.
        UsageError: nothing tells the objects of these categories apart.
    """
    if config.boxes and not config.given_boxes:
        got = "--boxes and --set given_boxes=false"
        raise UsageError("boxes are given and not wanted", got=got, expected="one of them")
    source = _source(replace(config, category=names[0]))
    if config.boxes and source.model:
        raise UsageError(f"the dataset {source.name!r} has boxes of its own", got="--boxes", hint="leave out --boxes")
    if len(names) > 1 and source.model:
        got, hint = ", ".join(names), "choose one: --category NAME"
        raise UsageError(f"the dataset {source.name!r} is of one category", got=got, hint=hint)
    images = source.records_of(names) if isinstance(source, Coco) else []
    shown = {name: [views[name] for views in images if name in views] for name in names}
    found = shown if images else dict.fromkeys(names, source.records())
    if not any(found.values()):
        raise NothingToDo(f"the dataset {source.name!r} has no image", path=config.path or None)
    notes = _unread(source.unread()) if isinstance(source, Folder) else ()
    made: dict[int, Inputs] = {}
    for records in found.values():
        if records and id(records) not in made:
            _require_unique(records, source.name)
            made[id(records)] = Inputs(source, tuple(_chosen(records, config)), notes=notes)
    inputs = {name: made[id(records)] for name, records in found.items() if records}
    for name, one in inputs.items() if config.boxes else ():
        boxes = read_boxes(config.boxes, config.category_in_file or name)
        boxed, unmatched = attach_boxes(boxes, one.records, config.boxes)
        inputs[name] = replace(one, records=tuple(boxed), unmatched=tuple(unmatched))
    if len(inputs) > 1:
        _require_told_apart(inputs)
    if len(names) == 1:
        return inputs
    return _cut_together(inputs, [next(iter(views.values())).image_id for views in images], config.part)


def chunk_ends(count: int, size: int) -> tuple[int, ...]:
    """Where the chunks of so many images end: each has `size`, the last the rest."""
    return tuple(min(end, count) for end in range(size, count + size, size))


def _cut_together(inputs: dict[str, Inputs], order: Iterable[str], size: int) -> dict[str, Inputs]:
    """Inputs whose chunks of one number are of the same images, `size` of all that some category has.

    Args:
        order: ids of all images, as the source has them; none where every category has every image.
    """
    held = {name: {record.image_id for record in one.records} for name, one in inputs.items()}
    wanted = set().union(*held.values())
    images = [image for image in order if image in wanted]
    chunks = [images[start:end] for start, end in pairwise((0, *chunk_ends(len(images), size)))]
    cut = {}
    for name, one in inputs.items():
        ends = tuple(accumulate(sum(image in held[name] for image in chunk) for chunk in chunks))
        place = {image: number for number, image in enumerate(images)}
        records = tuple(sorted(one.records, key=lambda record: place[record.image_id])) if images else one.records
        cut[name] = replace(one, records=records, ends=() if ends == chunk_ends(len(records), size) else ends)
    return cut


def _require_told_apart(inputs: dict[str, Inputs]) -> None:
    """Refuse given objects that are the same for all categories: an animal is of one."""
    first, *others = ([record.objects for record in one.records] for one in inputs.values())
    if any(first) and all(other == first for other in others):
        got, hint = ", ".join(inputs), "give one category, or --set given_boxes=false to detect"
        raise UsageError("nothing says which of these objects are of which category", got=got, hint=hint)


def _require_unique(records: Sequence[ImageRecord], source: str) -> None:
    """Refuse a dataset that lists an image twice: its instances would bear the same ids."""
    twice = next((name for name, count in Counter(record.image_id for record in records).items() if count > 1), None)
    if twice is not None:
        expected = "one record for an image, with all its objects"
        raise InputCorrupt(f"the dataset {source!r} lists an image twice", got=twice, expected=expected)


def _source(config: ExtractConfig) -> Dataset:
    """The source that the settings name."""
    options = DatasetOptions(
        path=config.path,
        images=config.images,
        category=config.category,
        category_in_file=config.category_in_file,
        masks=config.masks,
        charts=config.charts,
        weights=config.weights,
    )
    return open_images(config.dataset or ("folder" if config.images or config.path else "samples"), options)


def _chosen(records: list[ImageRecord], config: ExtractConfig) -> list[ImageRecord]:
    """Those of the wanted split, with their objects where these are wanted."""
    chosen = [record for record in records if config.split in ("", record.split)]
    if not chosen:
        got = ", ".join(sorted({record.split for record in records if record.split is not None}))
        what, hint = f"no image of the split {config.split!r}", "leave out --split"
        raise NothingToDo(what, got=got or "a dataset without splits", hint=hint)
    if config.given_boxes:
        return chosen
    bare: dict[str, Any] = {"objects": None, "size": None, "faults": (), "crowds": ()}
    return [replace(record, **bare) if record.path else record for record in chosen]


def _unread(kinds: Counter[str]) -> tuple[str, ...]:
    """What is said of images in folders whose formats are not read."""
    if not kinds:
        return ()
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    more = (NEED_HEIF,) if kinds.keys() & {*SOMETIMES["AVIF"], *SOMETIMES["HEIF"]} else ()
    return (f"not read, for their formats: {told}", *more)
