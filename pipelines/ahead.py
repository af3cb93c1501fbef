"""Many images: read ahead by threads in bounded numbers, gathered by shape, annotated together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dp3d_data.records import ImageRecord
from pipelines.annotate import Rows
from pipelines.parts import Advance

Item = TypeVar("Item")
Result = TypeVar("Result")
# Category -> the record of one image in it: the same file, with the objects of that category.
Views = dict[str, ImageRecord]


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
    return [rows[""] for rows in annotate_views({"": annotator}, [{"": record} for record in records], advance)]


def annotate_views(
    annotators: Mapping[str, Any], images: Sequence[Views], advance: Advance = lambda *_: None
) -> list[dict[str, Rows]]:
    """The rows of each image in each category that it has a record in; an image is read once for all of them.

    Args:
        annotators: category -> its `Annotator`; all of them share a network, whose pass they share too.
    """
    first = next(iter(annotators.values()))
    if not hasattr(first, "annotate_together"):
        return [
            _told({name: annotators[name].annotate(one) for name, one in views.items()}, advance) for views in images
        ]
    found: list[dict[str, Rows]] = [{} for _ in images]
    together, readers = first.config.images_a_pass, first.config.reading_threads

    def look(views: Views) -> dict[str, Any]:
        opened = first.opened(next(iter(views.values())).path)
        return {name: annotators[name].look(record, opened) for name, record in views.items()}

    def waiting() -> Iterator[tuple[int, dict[str, Any]]]:
        for place, looks in enumerate(ahead(look, images, threads=readers, depth=together + 2 * readers)):
            found[place] = {name: one for name, one in looks.items() if isinstance(one, Rows)}
            if len(found[place]) < len(looks):
                yield place, {name: one for name, one in looks.items() if name not in found[place]}
            else:
                _told(found[place], advance)

    for group in gathered(waiting(), lambda item: next(iter(item[1].values())).image.shape, together):
        for name, annotator in annotators.items():
            own = [(place, looks[name]) for place, looks in group if name in looks]
            for (place, _), rows in zip(
                own, annotator.annotate_together([one for _, one in own]) if own else (), strict=True
            ):
                found[place][name] = rows
        for place, _ in group:
            _told(found[place], advance)
    return found


def _told(found: dict[str, Rows], advance: Advance) -> dict[str, Rows]:
    advance(1, sum(len(rows.instances) for rows in found.values()), sum(len(rows.failures) for rows in found.values()))
    return found
