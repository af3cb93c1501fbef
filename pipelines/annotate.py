"""One image to rows: read, detect, match, pool, keep or reject; whatever goes wrong becomes a row of failures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from dp3d_data.datasets.images import Photograph, read_image, turned_record
from dp3d_data.errors import InputCorrupt, TemplateError, UsageError
from dp3d_data.geometry import Template
from dp3d_data.matching import ChartIndex, VertexIndex, cut_to, match_detection, view_of
from dp3d_data.matching.charts import read_charts, require_person
from dp3d_data.records import Box, DensePrediction, Detection, ImageRecord, RunLength, VertexView, as_box
from dp3d_data.run_lengths import encode_placed, mask_pixels
from dp3d_data.shards import ImageInfo, instance_row
from pipelines.rows import (
    EMPTY_MASK,
    FEW_VERTICES,
    NO_BOX,
    NOTHING_FOUND,
    OUTSIDE,
    Rows,
    annotation_rows,
    attempt,
    caught,
    failure_row,
    readable,
)  # fmt: skip
from pipelines.settings import ExtractConfig

T = TypeVar("T")


class Predictor(Protocol):
    """What extract asks of a network; one that looks at single images only needs `predict`, see `OneByOne`.

    Attributes:
        template_hash: content hash of the template it was trained for; empty where unknown.
    """

    template_hash: str

    def prepare(self, image: np.ndarray) -> Any:
        """A BGR image [H, W, 3] uint8 as the network wants it, with its `shape`: images of one shape share a pass.
        Threads call it."""

    def predict_many(
        self, images: Sequence[Any], boxes: Sequence[Any], score: float = 0.5, classes: Any = None
    ) -> list[list[Any]]:
        """Detections of prepared images.

        Each has box, region (what the maps cover), score, class_id, coarse_segm [C, S, S], embedding [D, S, S] or
        charts [25, S, S].
        """

    def vertex_embeddings(self, class_id: int) -> np.ndarray:
        """[K, D] embeddings of the vertices of a class's mesh."""

    def class_of(self, category: str) -> int:
        """The class id that means the category."""


class OneByOne:
    """A predictor with `predict(image, boxes=, score=, classes=)` alone, asked for one image after the other."""

    def __init__(self, predictor: Any) -> None:
        self.predict, self.template_hash = predictor.predict, predictor.template_hash
        self.vertex_embeddings, self.class_of = predictor.vertex_embeddings, predictor.class_of

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The image as it is."""
        return image

    def predict_many(
        self, images: Sequence[Any], boxes: Sequence[Any], score: float = 0.5, classes: Any = None
    ) -> list[list[Any]]:
        """Detections of each image."""
        pairs = zip(images, boxes, strict=True)
        return [self.predict(image, boxes=own, score=score, classes=classes) for image, own in pairs]


class Once(Generic[T]):
    """A step that is taken when somebody first asks; whoever asks again has the same answer, or the same error."""

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step

    @cached_property
    def _answer(self) -> T | Exception:
        return caught(self._step)

    def __call__(self) -> T:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Opened:
    """An image that is read, and prepared for a network, when somebody first asks, and then once for all categories."""

    def __init__(self, path: str, max_pixels: int, prepare: Callable[[np.ndarray], Any]) -> None:
        self.photograph = Once(lambda: read_image(path, max_pixels))
        self.prepared = Once(lambda: prepare(np.ascontiguousarray(self.photograph().pixels[:, :, ::-1])))


@dataclass(frozen=True)
class Look:
    """An image that is read and waits for the network.

    Attributes:
        image: as the network wants it.
        numbers: which objects of the record are looked at; None to detect.
        boxes: their boxes [N, 4] inside the image, xyxy in its pixels; None to detect.
        rows: what was rejected and what failed so far.
    """

    record: ImageRecord
    info: ImageInfo
    image: Any
    numbers: list[int] | None
    boxes: np.ndarray | None
    rows: Rows


class RowMaker(ABC):
    """Views to rows, or to reasons for none, whatever finds the correspondences.

    Args:
        template: whose vertices they are.
        model: the name that rows carry.
    """

    def __init__(self, config: ExtractConfig, template: Template, model: str) -> None:
        self.config, self.template, self.model = config, template, model
        self.area_shares = template.area_shares

    @abstractmethod
    def annotate(self, record: ImageRecord) -> Rows:
        """The rows of one image; never raises for what is wrong with the image."""

    def add_instance(
        self,
        rows: Rows,
        instance_id: str,
        info: ImageInfo,
        detection: Detection,
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
            known = {"visible_area": float(self.area_shares[found.ids].sum()), **known}
            row = instance_row(instance_id, info, detection, found, self.template, self.model, mask=mask, **known)
            rows.instances.append(row)


class Annotator(RowMaker):
    """A network, its vertices and the template, ready for any number of images.

    Args:
        predictor: the network.
        template: whose vertices the network's embeddings are.
        model: the name that rows carry.

    Raises:
        TemplateError: the network's vertices are those of another template.
    """

    def __init__(self, config: ExtractConfig, predictor: Any, template: Template, model: str) -> None:
        super().__init__(config, template, model)
        self.predictor: Predictor = predictor if hasattr(predictor, "predict_many") else OneByOne(predictor)
        self.class_id = predictor.class_of(config.category)
        self.index = index_of(predictor, self.class_id, config)
        if isinstance(self.index, ChartIndex):
            require_person(template.num_vertices)
        else:
            require_same_template(template, self.index.num_vertices, predictor.template_hash)

    def annotate(self, record: ImageRecord) -> Rows:
        """The rows of one image; never raises for what is wrong with the image."""
        look = self.look(record, self.opened(record.path))
        return look if isinstance(look, Rows) else self.annotate_together([look])[0]

    def opened(self, path: str) -> Opened:
        """An image, not read yet."""
        return Opened(path, self.config.max_pixels, self.predictor.prepare)

    def look(self, record: ImageRecord, opened: Opened) -> Look | Rows:
        """An image as the network wants it; its rows where there is nothing to detect. Never raises; threads call
        it."""
        return attempt(record, "read", lambda: self._look(record, opened))

    def annotate_together(self, looks: Sequence[Look]) -> list[Rows]:
        """The rows of images that share a pass; where the pass fails, each image has its own, so that one costs the
        others nothing."""
        found = attempt(looks[0].record, "detect", lambda: self._detect(looks))
        if not isinstance(found, Rows):
            pairs = zip(looks, found, strict=True)
            return [attempt(look.record, "match", partial(self._match, look, own)) for look, own in pairs]
        return [found] if len(looks) == 1 else [self.annotate_together([look])[0] for look in looks]

    def _look(self, record: ImageRecord, opened: Opened) -> Look | Rows:
        rows, numbers, boxes = annotation_rows(record), None, None
        if not record.path:
            return rows  # annotations of an image that their file does not have
        photograph = opened.photograph()
        record = turned_record(record, photograph)
        if record.boxes is not None:
            kept = _inside(rows, record, photograph)
            if not kept:
                if not rows.rejects and not rows.failures:
                    rows.reject(record.image_id, record.image_id, NO_BOX)
                return rows
            numbers, boxes = list(kept), np.array(list(kept.values()), dtype=np.float32)
        return Look(record, image_info(record, photograph), opened.prepared(), numbers, boxes, rows)

    def _detect(self, looks: Sequence[Look]) -> list[list[tuple[int, Any]]]:
        """Numbered detections of each image, best first or in the order of the given boxes."""
        images, boxes = [look.image for look in looks], [look.boxes for look in looks]
        answers = self.predictor.predict_many(images, boxes, score=self.config.score, classes=[self.class_id])
        return [_numbered(look, found) for look, found in zip(looks, answers, strict=True)]

    def _match(self, look: Look, found: Sequence[tuple[int, Any]]) -> Rows:
        """The rows of one image; an image without detections is rejected, a detection that fails costs the others
        nothing."""
        rows, record = look.rows, look.record
        if not found:
            rows.reject(record.image_id, record.image_id, NOTHING_FOUND)
        for number, detected in found:
            instance_id = record.instance_id(number)
            step = partial(
                self._match_one, look, instance_id, record.objects[number].mask if record.objects else None, detected
            )
            rows.add(attempt(record, "match", step, instance_id))
        return rows

    def _match_one(self, look: Look, instance_id: str, mask: RunLength | None, detected: Any) -> Rows:
        """The row of one detection, or the reason for none: pixels to vertices, pooled."""
        rows = Rows()
        dense = match_detection(detected, self.index, self.config.cycle)
        if mask is not None:
            dense = cut_to(dense, mask_pixels(mask), (look.info.width, look.info.height))
        score = float(detected.score) if look.boxes is None else 1.0
        detection = Detection(as_box(detected.box), score, self.config.category)
        self.add_instance(rows, instance_id, look.info, detection, dense)
        return rows


def _numbered(look: Look, found: Sequence[Any]) -> list[tuple[int, Any]]:
    if look.numbers is not None:
        return list(zip(look.numbers, found, strict=True))
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
        raise UsageError(
            f"{spec.name} answers in charts of the body", hint="say which vertex lies where: --charts UV_Processed.mat"
        )
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
        expected = f"the {vertices} vertices that the network was trained on" + (
            f" ({trained_for})" if trained_for else ""
        )
        hint = (
            "give the template of the weights (--template), or carry them to yours: dp3d-data template adopt MESH"
            " --weights FILE"
        )
        raise TemplateError("template and network do not belong together", got=got, expected=expected, hint=hint)


def image_info(record: ImageRecord, photograph: Photograph) -> ImageInfo:
    """What rows keep of an image."""
    return ImageInfo(
        record.image_id,
        photograph.width,
        photograph.height,
        readable(record.path) or None,
        photograph.content_hash or None,
        record.source,
        record.group,
        record.split,
    )


def _inside(rows: Rows, record: ImageRecord, photograph: Photograph) -> dict[int, list[float]]:
    """Given boxes cut to the image, by number; a box that lies outside is rejected, one that cannot be of this image
    fails."""
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
    """What is wrong with a box in an image of (width, height): no numbers, no area, or a corner more than the image
    away from it."""
    x0, y0, x1, y1 = box
    width, height = size
    got = ", ".join(f"{value:g}" for value in box)
    if not (np.isfinite(box).all() and x0 < x1 and y0 < y1):
        return InputCorrupt("a box without an area", got=got, expected="x0 < x1 and y0 < y1, in image pixels")
    if x0 < -width or y0 < -height or x1 > 2 * width or y1 > 2 * height:
        return InputCorrupt(
            "a box far outside its image", got=got, expected=f"a box in an image of {width} x {height} pixels"
        )
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
