"""Many images: read ahead by threads in bounded numbers, gathered by shape, annotated together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dp3d_data.records import ImageRecord
from pipelines.annotate import Rows
from pipelines.parts import Advance

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(step: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int) -> Iterator[Result]:
    """The results of `step` in the order of the items, made by threads while the caller works on earlier ones.

    Args:
        step: what to do with each item; threads call it.
        threads: how many items are worked on at once.
        depth: most results that are unfinished or wait to be fetched, so that memory stays bounded.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dp3d-reader")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(step, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def gathered(items: Iterable[Item], key: Callable[[Item], Hashable], size: int) -> Iterator[list[Item]]:
    """Groups of up to `size` items with the same key: each as soon as it is full, the rest at the end.

    The groups depend on the order of the items alone, so the same images share a pass in every run.
    """
    open_groups: dict[Hashable, list[Item]] = {}
    for item in items:
        group = open_groups.setdefault(key(item), [])
        group.append(item)
        if len(group) == size:
            yield open_groups.pop(key(item))
    yield from open_groups.values()


def annotate_all(annotator: Any, records: Sequence[ImageRecord], advance: Advance = lambda *_: None) -> list[Rows]:
    """The rows of each image, in order, by an `Annotator`, or by anything that can `annotate(record)`."""
    if not hasattr(annotator, "annotate_together"):
        return [_told(annotator.annotate(record), advance) for record in records]
    rows: dict[int, Rows] = {}
    together, readers = annotator.config.images_a_pass, annotator.config.reading_threads

    def waiting() -> Iterator[tuple[int, Any]]:
        looks = ahead(annotator.look, records, threads=readers, depth=together + 2 * readers)
        for place, look in enumerate(looks):
            if isinstance(look, Rows):
                rows[place] = _told(look, advance)
            else:
                yield place, look

    for group in gathered(waiting(), lambda item: item[1].image.shape, together):
        places, looks = zip(*group, strict=True)
        for place, one in zip(places, annotator.annotate_together(looks), strict=True):
            rows[place] = _told(one, advance)
    return [rows[place] for place in range(len(records))]


def _told(rows: Rows, advance: Advance) -> Rows:
    advance(1, len(rows.instances), len(rows.failures))
    return rows
