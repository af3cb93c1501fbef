"""A network that knows the answers: vertex maps of given images, answered as a perfect CSE network would."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from dp3d_data.errors import UsageError
from dp3d_data.records import Box, as_box


@dataclass(frozen=True)
class KnownObject:
    """One object of one image.

    Attributes:
        box: xyxy in image pixels.
        vertex_map: [H, W] template vertex of each pixel of the image, -1 outside the object.
        score: what the detector is to say.
        class_id: what it is.
    """

    box: Box
    vertex_map: Int[np.ndarray, "H W"]
    score: float = 1.0
    class_id: int = 0


@dataclass(frozen=True)
class KnownDetection:
    """An answer with the fields of a raw detection; its maps have the size of the box, so that resizing changes
    nothing."""

    box: Float[np.ndarray, "4"]
    score: float
    class_id: int
    embedding: Float[np.ndarray, "dim h w"]
    coarse_segm: Float[np.ndarray, "2 h w"]

    @property
    def region(self) -> Float[np.ndarray, "4"]:
        """What the maps cover: the box."""
        return self.box


def image_key(image_bgr: UInt8[np.ndarray, "H W 3"]) -> str:
    """What names an image: the hash of its size and pixels."""
    pixels = np.ascontiguousarray(image_bgr)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


class SyntheticPredictor:
    """Answers from known vertex maps; an image it does not know holds nothing.

    Args:
        known: image_key -> the objects of that image.
        num_vertices: K of the template.
        classes: category -> class id.
        dim: of the embeddings.
    """

    template_hash = ""

    def __init__(
        self, known: dict[str, list[KnownObject]], num_vertices: int, classes: dict[str, int], dim: int = 16
    ) -> None:
        self.known, self.classes = known, classes
        rows = np.random.default_rng(np.random.SeedSequence([0, num_vertices])).normal(size=(num_vertices, dim))
        self._embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def class_of(self, category: str) -> int:
        """The class id of a category.

        Raises:
            UsageError: the category is not known.
        """
        if category not in self.classes:
            raise UsageError(f"this network knows no {category!r}", expected=", ".join(self.classes))
        return self.classes[category]

    def recognising(self) -> SyntheticPredictor:
        """Itself: it knows what is there."""
        return self

    def vertex_embeddings(self, class_id: int) -> Float[np.ndarray, "K dim"]:
        """[K, D] unit vectors, the same for every class."""
        return self._embeddings

    def predict(
        self,
        image_bgr: UInt8[np.ndarray, "H W 3"],
        boxes: Float[np.ndarray, "N 4"] | None = None,
        score: float = 0.5,
        classes: Iterable[int] | None = None,
    ) -> list[KnownDetection]:
        """The known objects above the score, or for each given box the object that overlaps it most."""
        wanted = None if classes is None else set(classes)
        objects = [one for one in self.known.get(image_key(image_bgr), []) if wanted is None or one.class_id in wanted]
        if boxes is None:
            return [self._answer(one.box, one) for one in objects if one.score >= score]
        return [self._answer(as_box(box), _most_overlapping(box, objects)) for box in boxes]

    def prepare(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The image as it is."""
        return image

    def predict_many(self, images: Sequence[Any], boxes: Sequence[Any], **settings: Any) -> list[list[KnownDetection]]:
        """What `predict` says of each image."""
        return [self.predict(image, boxes=own, **settings) for image, own in zip(images, boxes, strict=True)]

    def _answer(self, box: Box, known: KnownObject | None) -> KnownDetection:
        x, y = int(box[0]), int(box[1])
        width, height = max(int(box[2] - box[0]), 1), max(int(box[3] - box[1]), 1)
        part = np.full((height, width), -1, dtype=np.int64)
        if known is not None:
            cut = known.vertex_map[y : y + height, x : x + width]
            part[: cut.shape[0], : cut.shape[1]] = cut
        inside = (part >= 0).astype(np.float32)
        embedding = self._embeddings[np.maximum(part, 0)].transpose(2, 0, 1) * np.float32(3.0)
        score, class_id = (known.score, known.class_id) if known else (1.0, 0)
        segm = np.stack([1 - inside, inside])
        return KnownDetection(np.array(box, dtype=np.float32), score, class_id, np.ascontiguousarray(embedding), segm)


def _most_overlapping(box: Float[np.ndarray, "4"], objects: list[KnownObject]) -> KnownObject | None:
    """The object whose box shares the largest area with this one."""

    def shared(one: KnownObject) -> float:
        low, high = np.maximum(box[:2], one.box[:2]), np.minimum(box[2:], one.box[2:])
        return float(np.prod(np.clip(high - low, 0, None)))

    best = max(objects, key=shared, default=None)
    return best if best is not None and shared(best) > 0 else None
