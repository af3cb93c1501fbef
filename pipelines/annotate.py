"""One image to rows: read, detect, match, pool, keep or reject; whatever goes wrong becomes a row of failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dp3d_data.datasets.images import Photograph, read_image, turned_record
from dp3d_data.errors import InputCorrupt, TemplateError, UsageError
from dp3d_data.geometry import Template
from dp3d_data.matching import ChartIndex, VertexIndex, cut_to, match_detection, view_of
from dp3d_data.matching.charts import read_charts, require_person
from dp3d_data.records import Box, DensePrediction, ImageRecord, VertexView, as_box
from dp3d_data.run_lengths import encode_placed, mask_pixels
from dp3d_data.shards import ImageInfo, instance_row
from pipelines.chunks import (
    EMPTY_MASK,
    FEW_VERTICES,
    NO_BOX,
    NOTHING_FOUND,
    OUTSIDE,
    Advance,
    Rows,
    annotation_rows,
    failure_row,
)  # fmt: skip
from pipelines.settings import ExtractConfig

if TYPE_CHECKING:
    from dp3d_data.detection import DensePredictor

Item = TypeVar("Item")
Result = TypeVar("Result")


# Category -> the record of one image in it: the same file, with the objects of that category.
Views = dict[str, ImageRecord]
# The rows of each image in each category that it has a record in; told of every image that is finished.
Annotate = Callable[[Sequence[Views], Advance], list[dict[str, Rows]]]


@dataclass(frozen=True)
class PreparedImage:
    """An image that waits for the network.

    Attributes:
        pixels: as the network wants them.
        numbers: which objects of the record are looked at; None to detect.
        boxes: their boxes [N, 4] inside the image, xyxy in its pixels; None to detect.
        rows: what was rejected and what failed so far.
    """

    record: ImageRecord
    info: ImageInfo
    pixels: Any
    numbers: list[int] | None
    boxes: np.ndarray | None
    rows: Rows


class RowMaker:
    """Views to rows, or to reasons for none, whatever finds the correspondences.

    Args:
        template: whose vertices they are.
        model: the name that rows carry.
    """

    def __init__(self, config: ExtractConfig, template: Template, model: str) -> None:
        self.config, self.template, self.model = config, template, model

    def add_instance(
        self,
        rows: Rows,
        instance_id: str,
        info: ImageInfo,
        box: Box,
        score: float,
        found: DensePrediction | VertexView,
        **known: Any,
    ) -> None:
        """The row of an instance, or the reason to reject it.

        Args:
            found: its pixels, or its vertices where there is no mask.
            known: what else the row holds, where it is known; see `instance_row`.
        """
        mask, empty = None, False
        if isinstance(found, DensePrediction):
            mask, empty = encode_placed(found.mask, found.origin, (info.width, info.height)), not found.mask.any()
            found = view_of(found, self.template.num_vertices)
        if empty:
            rows.reject(instance_id, info.image_id, EMPTY_MASK, 0.0)
        elif len(found.ids) < self.config.min_vertices:
            rows.reject(instance_id, info.image_id, FEW_VERTICES, float(len(found.ids)))
        else:
            known = {"visible_area": float(self.template.area_shares[found.ids].sum()), "mask": mask, **known}
            known |= {"box": box, "score": score, "category": self.config.category}
            rows.instances.append(instance_row(instance_id, info, found, self.template, self.model, **known))


class Annotator(RowMaker):
    """A network, its vertices and the template, ready for any number of images.

    Raises:
        TemplateError: the network's vertices are those of another template.
        UsageError: mirror images are asked for, and the network or the template knows none.
    """

    def __init__(self, config: ExtractConfig, predictor: DensePredictor, template: Template, model: str) -> None:
        super().__init__(config, template, model)
        self.predictor = predictor = predictor.recognising() if config.recognise else predictor
        self.class_id = predictor.class_of(config.category)
        self.index = index_of(predictor, self.class_id, config)
        if isinstance(self.index, ChartIndex):
            require_person(template.num_vertices)
        else:
            require_same_template(template, self.index.num_vertices, predictor.template_hash)
        if config.mirror:
            self.predictor = predictor.mirrored(template.symmetry)
            if self.predictor is predictor:
                expected = "a network with a second look, and a template whose left and right are known"
                hint = "leave out --set mirror=true"
                raise UsageError("mirror images cannot be looked at here", expected=expected, hint=hint)
            self.index = index_of(self.predictor, self.class_id, config)

    def annotate(self, record: ImageRecord) -> Rows:
        """The rows of one image; never raises for what is wrong with the image."""
        return annotate_in_passes({"": self}, [{"": record}])[0][""]

    def prepared(self, record: ImageRecord, photograph: Photograph, pixels: Any) -> PreparedImage | Rows:
        """An image that is read, its `pixels` as the network wants them; its rows where there is no object to look at.

        Raises:
            InputCorrupt: annotations of an image of another size.
        """
        rows, numbers, boxes = annotation_rows(record), None, None
        record = turned_record(record, photograph)
        if record.boxes is not None:
            kept = _inside(rows, record, photograph)
            if not kept:
                if not rows.rejects and not rows.failures:
                    rows.reject(record.image_id, record.image_id, NO_BOX)
                return rows
            numbers, boxes = list(kept), np.array(list(kept.values()), dtype=np.float32)
        return PreparedImage(record, image_info(record, photograph), pixels(), numbers, boxes, rows)

    def annotate_together(self, images: Sequence[PreparedImage]) -> list[Rows]:
        """The rows of images that share a pass; where the pass fails, each image has its own."""
        if not images:
            return []
        failed = Rows()
        with failed.failing(images[0].record, "detect"):
            pixels, boxes = [image.pixels for image in images], [image.boxes for image in images]
            answers = self.predictor.predict_many(pixels, boxes, score=self.config.score, classes=[self.class_id])
            found = [_numbered(image, own) for image, own in zip(images, answers, strict=True)]
            return [self._match(image, own) for image, own in zip(images, found, strict=True)]
        return [failed] if len(images) == 1 else [self.annotate_together([image])[0] for image in images]

    def _match(self, image: PreparedImage, found: Sequence[tuple[int, Any]]) -> Rows:
        """The rows of one image; one without detections is rejected, a detection that fails is a row of its own."""
        rows, record = image.rows, image.record
        if not found:
            rows.reject(record.image_id, record.image_id, NOTHING_FOUND)
        for number, detected in found:
            instance_id = record.instance_id(number)
            with rows.failing(record, "match", instance_id):
                dense = match_detection(detected, self.index, self.config.cycle)
                if record.objects and (mask := record.objects[number].mask) is not None:
                    dense = cut_to(dense, mask_pixels(mask), (image.info.width, image.info.height))
                score = float(detected.score) if image.boxes is None else 1.0
                self.add_instance(rows, instance_id, image.info, as_box(detected.box), score, dense)
        return rows


def annotate_in_passes(
    annotators: Mapping[str, Annotator], images: Sequence[Views], advance: Advance = lambda *_: None
) -> list[dict[str, Rows]]:
    """The rows of each image in each category that it has a record in; see `Annotate`.

    An image is read once for all categories, ahead of the network; images of one shape share a pass.

    Args:
        annotators: by category; all share a network, whose pass the categories of an image share too.
    """
    found, config = list[dict[str, Rows]]({} for _ in images), next(iter(annotators.values())).config
    size, threads = (1, 1) if config.device == "cpu" else (8, 4)
    size, threads = config.batch or size, config.readers or threads
    prepared = prefetched(partial(_prepared, annotators), images, threads=threads, depth=size + 2 * threads)
    with limited_threads(config.threads):
        for group in bucketed(enumerate(prepared), lambda one: _shape(one[1][0]), size):
            for place, (_, rows) in group:
                found[place] = rows
            for name, annotator in annotators.items():
                places = [place for place, (todo, _) in group if name in todo]
                own_rows = annotator.annotate_together([todo[name] for _, (todo, _) in group if name in todo])
                for place, one in zip(places, own_rows, strict=True):
                    found[place][name] = one
            for place, _ in group:
                tell(advance, found[place])
    return found


def tell(advance: Advance, found: Mapping[str, Rows]) -> None:
    """One more image is finished."""
    advance(1, sum(len(rows.instances) for rows in found.values()), sum(len(rows.failures) for rows in found.values()))


def _shape(todo: Mapping[str, PreparedImage]) -> Hashable:
    """What images share that share a pass; None where there is nothing to look at."""
    return next((image.pixels.shape for image in todo.values()), None)


def _prepared(annotators: Mapping[str, Annotator], views: Views) -> tuple[dict[str, PreparedImage], dict[str, Rows]]:
    """An image ready for the network, by category; rows where there is nothing to look at. Never raises."""
    first, record = next(iter(annotators.values())), next(iter(views.values()))
    if not record.path:  # annotations of an image that their file does not have
        return {}, {name: annotation_rows(one) for name, one in views.items()}
    failed = Rows()
    with failed.failing(record, "read"):
        photograph = read_image(record.path, first.config.max_pixels)
    if failed.failures:
        return {}, dict.fromkeys(views, failed)
    upright = photograph.pixels
    pixels = cache(lambda: first.predictor.prepare(np.ascontiguousarray(upright[:, :, ::-1])))
    todo: dict[str, PreparedImage] = {}
    done: dict[str, Rows] = {}
    for name, record in views.items():
        done[name] = Rows()
        with done[name].failing(record, "read"):
            one = annotators[name].prepared(record, photograph, pixels)
            if isinstance(one, PreparedImage):
                todo[name] = one
                del done[name]
            else:
                done[name] = one
    return todo, done


def prefetched(step: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int) -> Iterator[Result]:
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


def bucketed(items: Iterable[Item], key: Callable[[Item], Hashable], size: int) -> Iterator[list[Item]]:
    """Groups of up to `size` items with the same key: each as soon as it is full, the rest at the end.

    The groups depend on the order of the items alone, so the same images share a pass in every run.
    """
    buckets: dict[Hashable, list[Item]] = {}
    for item in items:
        bucket = buckets.setdefault(key(item), [])
        bucket.append(item)
        if len(bucket) == size:
            yield buckets.pop(key(item))
    yield from buckets.values()


def _numbered(image: PreparedImage, found: Sequence[Any]) -> list[tuple[int, Any]]:
    """Numbered detections of an image, in the order of the given boxes, else best first."""
    if image.numbers is not None:
        return list(zip(image.numbers, found, strict=True))
    return list(enumerate(sorted(found, key=lambda one: (-float(one.score), *map(float, one.box)))))


def index_of(predictor: Any, class_id: int, config: ExtractConfig) -> VertexIndex | ChartIndex:
    """What the network's answers are matched to: embeddings of vertices, or the charts of a body.

    Raises:
        UsageError: charts where there are none, or none where they are needed.
        InputMissing, InputCorrupt: of the file of charts.
    """
    spec = getattr(predictor, "spec", None)
    if spec is None or spec.kind != "chart":
        if config.charts:
            raise UsageError("this network knows no charts", got=config.charts, hint="leave out --charts")
        return VertexIndex(np.asarray(predictor.vertex_embeddings(class_id)), config.device)
    if not config.charts:
        hint = "say which vertex lies where: --charts UV_Processed.mat"
        raise UsageError(f"{spec.name} answers in charts of the body", hint=hint)
    return read_charts(config.charts)


def require_same_template(template: Template, vertices: int, trained_for: str) -> None:
    """Refuse a template whose vertices are not the network's.

    Args:
        vertices: of the network's mesh.
        trained_for: content hash of the template that the weights name; empty where they name none.

    Raises:
        TemplateError: they are not.
    """
    if vertices != template.num_vertices or trained_for not in ("", template.content_hash):
        got = f"{template.num_vertices} vertices ({template.name}, {template.content_hash})"
        expected = f"the {vertices} vertices that the network was trained on"
        expected += f" ({trained_for})" if trained_for else ""
        carry = "carry them to yours: dp3d-data template adopt MESH --weights FILE"
        hint = f"give the template of the weights (--template), or {carry}"
        raise TemplateError("template and network do not belong together", got=got, expected=expected, hint=hint)


def image_info(record: ImageRecord, photograph: Photograph) -> ImageInfo:
    """What rows keep of an image."""
    path, digest = record.path or None, photograph.content_hash or None
    told = record.source, record.group, record.split
    return ImageInfo(record.image_id, photograph.width, photograph.height, path, digest, *told)


def _inside(rows: Rows, record: ImageRecord, photograph: Photograph) -> dict[int, list[float]]:
    """Given boxes cut to the image, by number; one outside is rejected, one that cannot be of this image fails."""
    kept = {}
    width, height = photograph.width, photograph.height
    for number, (x0, y0, x1, y1) in enumerate(record.boxes or ()):
        instance_id = record.instance_id(number)
        box = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
        if problem := box_problem((x0, y0, x1, y1), (width, height)):
            rows.failures.append(failure_row(record, "annotation", problem, instance_id))
        elif box[2] - box[0] < 1 or box[3] - box[1] < 1:
            rows.reject(instance_id, record.image_id, OUTSIDE)
        else:
            kept[number] = box
    return kept


def box_problem(box: Box, size: tuple[int, int]) -> InputCorrupt | None:
    """What is wrong with a box in an image of (width, height): no area, or a corner far outside."""
    x0, y0, x1, y1 = box
    width, height = size
    got = ", ".join(f"{value:g}" for value in box)
    if not (np.isfinite(box).all() and x0 < x1 and y0 < y1):
        return InputCorrupt("a box without an area", got=got, expected="x0 < x1 and y0 < y1, in image pixels")
    if x0 < -width or y0 < -height or x1 > 2 * width or y1 > 2 * height:
        expected = f"a box in an image of {width} x {height} pixels"
        return InputCorrupt("a box far outside its image", got=got, expected=expected)
    return None


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Run torch and faiss on this many threads, then on as many as before."""
    import faiss
    import torch

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])
