"""What travels between the packages: images, dense predictions and visible vertices, with their units and frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int


Box = tuple[float, float, float, float]
Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """What is None for some instances, where these must have it: the camera of a normalised batch, the true shape."""
    if value is None:
        raise ValueError("these instances lack what is asked of them")
    return value


@dataclass(frozen=True)
class RunLength:
    """A mask of a whole image in COCO's compressed form.

    Attributes:
        height, width: of the image, pixels.
        counts: lengths of the runs down the columns, background first, in COCO's text; `run_lengths.mask_pixels`
            decodes it.
    """

    height: int
    width: int
    counts: bytes


@dataclass(frozen=True, slots=True)
class GivenObject:
    """An object that somebody has marked in an image.

    Attributes:
        box: xyxy in image pixels.
        name: of the annotation; None where it has none.
        mask: its pixels, where they were marked and asked for.
        keypoints: named points x, y, visibility in image pixels, where there are any.
    """

    box: Box
    name: str | None = None
    mask: RunLength | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image to work on.

    Attributes:
        image_id: unique and stable name inside its source, for example the path below the folder given.
        path: where the file lies: a path, or an address such as "s3://...".
        source: kind of source, for example "folder".
        group: what must stay on one side of a split: video, breed, subject.
        split: the dataset's own side of the image, "train", "val" or "test"; None where it has none.
        objects: the objects marked in it, or None to detect.
        size: (width, height) in pixels of the image that was marked; None where nobody says it.
        faults: annotations of it that cannot be used, each with what is wrong; each becomes a row of failures.
        crowds: names of annotations of crowds; each is rejected.
    """

    image_id: str
    path: str
    source: str = "folder"
    group: str | None = None
    split: str | None = None
    objects: tuple[GivenObject, ...] | None = None
    size: tuple[int, int] | None = None
    faults: tuple[str, ...] = ()
    crowds: tuple[str, ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...] | None:
        """Given boxes, xyxy in image pixels; None to detect."""
        return None if self.objects is None else tuple(one.box for one in self.objects)

    def instance_id(self, number: int) -> str:
        """Name of its object of that number, unique in the image: names that several share have a number behind."""
        names = [str(place) if one.name is None else one.name for place, one in enumerate(self.objects or ())]
        name = names[number] if names else str(number)
        return f"{self.image_id}#{name}" + (f"-{number}" if names.count(name) > 1 else "")


def as_box(corners: Iterable[float]) -> Box:
    """Plain numbers of a row of boxes."""
    x0, y0, x1, y1 = map(float, corners)
    return x0, y0, x1, y1


@dataclass(frozen=True)
class DensePrediction:
    """Template vertex of every pixel of one detection.

    Attributes:
        origin: (x, y) of the top left pixel in the image, integer pixels.
        vertex_ids: [h, w] nearest template vertex; meaningful inside the mask only (0 is a real vertex).
        mask: [h, w] the object's pixels.
        cycle: [h, w] forward-backward weight of each pixel, 0..1; None where no embeddings were compared.
    """

    origin: tuple[int, int]
    vertex_ids: Int[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    cycle: Float[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class VertexView:
    """The visible vertices of one instance, ids ascending (supplement, section B).

    Attributes:
        ids: [V] template vertex ids.
        keypoints: [V, 2] mean pixel centre of each vertex's pixels, image pixels; pixel (0, 0) has its centre at (0.5,
            0.5).
        counts: [V] number of pixels.
        spread: [V] root mean square distance of the pixels to their mean, image pixels.
        confidence: [V] how sure the network is, 0..1; None where it does not say.
        cycle: [V] mean forward-backward weight of the vertex's pixels, 0..1; None where no embeddings were compared.
    """

    ids: Int[np.ndarray, "visible"]
    keypoints: Float[np.ndarray, "visible 2"]
    counts: Int[np.ndarray, "visible"]
    spread: Float[np.ndarray, "visible"]
    confidence: Float[np.ndarray, "visible"] | None = None
    cycle: Float[np.ndarray, "visible"] | None = None
