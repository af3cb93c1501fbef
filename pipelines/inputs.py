"""What an extraction works on: the images of a source, with what is known of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from dp3d_data.datasets import FolderSource, SourceOptions, is_ready, open_source, read_boxes, size_of
from dp3d_data.datasets.folder import SOMETIMES
from dp3d_data.datasets.images import NEED_HEIF
from dp3d_data.errors import NothingToDo, UsageError
from dp3d_data.records import ImageRecord
from pipelines.extract_settings import ExtractConfig


@dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Attributes:
        source: where they come from; a `Source` or `ReadySource`.
        records: the images, in order.
        strangers: names in the user's file of boxes that are none of the images.
        notes: what the user should know of the input, a line each.
    """

    source: Any
    records: tuple[ImageRecord, ...]
    strangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self, sizes: bool = True) -> list[Any]:
        """What the recipe knows of them: names, sizes and all that rows or results take from a record, wherever it lies.

        Args:
            sizes: whether another size of an image's file is another recipe.
        """
        lines = "\n".join(_facts(record, sizes) for record in self.records)
        return [self.source.name, self.source.digest(), hashlib.sha256(lines.encode()).hexdigest()]


def find_inputs(config: ExtractConfig) -> Inputs:
    """The images that the settings name: of the wanted split, with the boxes that are wanted.

    Raises:
        UsageError, InputMissing, InputCorrupt, NothingToDo: of the source, or of the file of boxes.
        NothingToDo: no image of the wanted split; names the splits that there are.
    """
    options = SourceOptions(
        path=config.path,
        images=config.images,
        category=config.category,
        category_in_file=config.category_in_file,
        masks=config.masks,
        charts=config.charts,
        weights=config.weights,
    )
    if config.boxes and not config.given_boxes:
        raise UsageError("boxes are given and not wanted", got="--boxes and --no-given-boxes", expected="one of them")
    source = open_source(config.source or ("folder" if config.images or config.path else "samples"), options)
    if config.boxes and is_ready(source):
        raise UsageError(f"the source {source.name!r} has boxes of its own", got="--boxes", hint="leave out --boxes")
    records = source.records()
    if config.split:
        records = _of_split(records, config.split)
    if not config.given_boxes:
        records = [replace(record, objects=None, size=None, faults=(), crowds=()) if record.path else record for record in records]
    notes = _unread(source.unread()) if isinstance(source, FolderSource) else ()
    if not config.boxes:
        return Inputs(source, tuple(records), notes=notes)
    with_boxes, strangers = read_boxes(config.boxes, config.category_in_file or config.category).attach(records)
    return Inputs(source, tuple(with_boxes), tuple(strangers), notes)


def _unread(kinds: Counter[str]) -> tuple[str, ...]:
    """What is said of images in folders whose formats are not read."""
    if not kinds:
        return ()
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (f"not read, for their formats: {told}", *([NEED_HEIF] if kinds.keys() & {*SOMETIMES["AVIF"], *SOMETIMES["HEIF"]} else []))


def _of_split(records: list[ImageRecord], split: str) -> list[ImageRecord]:
    chosen = [record for record in records if record.split == split]
    if not chosen:
        there = sorted({record.split for record in records if record.split is not None})
        raise NothingToDo(f"no image of the split {split!r}", got=", ".join(there) or "a source without splits", hint="leave out --split")
    return chosen


def _facts(record: ImageRecord, sizes: bool) -> str:
    """One line that changes with anything a result may depend on; of the image the number of bytes, where sizes count."""
    size = size_of(record.path) if record.path and sizes else None
    told = (record.objects, record.size, record.faults, record.crowds)
    return repr((record.image_id, record.group, record.split, *told, size))
