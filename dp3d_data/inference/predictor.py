"""Photographs in, boxes with dense maps out; only boxes of the wanted class above the score enter the dense head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from dp3d_data.errors import ShapeError, UsageError
from dp3d_data.inference.classes import class_and_mesh
from dp3d_data.inference.outputs import Outputs
from dp3d_data.inference.resizing import network_size, resized
from dp3d_data.inference.spec import ModelSpec

BOXES_AT_ONCE = 16
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
Image = UInt8[np.ndarray, "h w 3"]
Boxes = Float[np.ndarray, "n 4"]


@dataclass(frozen=True)
class RawDetection:
    """One object and what the network says of its pixels.

    Attributes:
        box: xyxy in pixels of the photograph; the maps cover it.
        score: 0..1; 1 where the box was given.
        class_id: class of the network.
        coarse_segm: [C, S, S] scores, background first.
        embedding: [D, S, S], CSE networks only.
        charts: fine_segm, u, v and confidences [., S, S], chart networks only.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    coarse_segm: Float[np.ndarray, "c side side"]
    embedding: Float[np.ndarray, "d side side"] | None = None
    charts: dict[str, Float[np.ndarray, "c side side"]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """Boxes of one image in pixels of the network's input, with score and class."""

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


class DensePredictor:
    """A network at work.

    Args:
        network: of `build_network`, with its weights.
        spec: what it was built from.
        device: where to run, such as "cpu" or "cuda:0".
        precision: "float32", or "bfloat16" / "float16" for backbone and dense head.
        mesh_of: mesh of each class, where it differs from the specification's (class-agnostic models).
        template_hash: content hash of the template the weights were trained for; empty where unknown.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        spec: ModelSpec,
        *,
        device: str = "cpu",
        precision: str = "float32",
        mesh_of: dict[int, str] | None = None,
        template_hash: str = "",
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision {precision!r}", expected=", ".join(PRECISIONS))
        self.network, self.spec, self.device = network.to(device).eval(), spec, torch.device(device)
        self.precision, self.template_hash = precision, template_hash
        self.mesh_of = dict(mesh_of or spec.class_to_mesh)
        self._vertices: dict[str, np.ndarray] = {}

    def vertex_embeddings(self, class_id: int) -> Float[np.ndarray, "vertices dim"]:
        """Unit embeddings of the vertices of a class's mesh.

        Raises:
            UsageError: the network has no mesh for this class.
        """
        if class_id not in self.mesh_of:
            raise UsageError(f"{self.spec.name} has no mesh for class {class_id}", expected=self.mesh_of or "a CSE model")
        mesh = self.mesh_of[class_id]
        if mesh not in self._vertices:
            with torch.no_grad():
                self._vertices[mesh] = self.network.roi_heads.embedder(mesh).float().cpu().numpy()
        return self._vertices[mesh]

    def class_of(self, category: str) -> int:
        """The class that stands for a category.

        Raises:
            UsageError: this network does not know it.
        """
        return class_and_mesh(self.spec, category)[0]

    def predict(
        self, image: Image, boxes: Boxes | None = None, score: float = 0.5, classes: Iterable[int] | None = None
    ) -> list[RawDetection]:
        """Objects of one photograph, best first.

        Args:
            image: [H, W, 3] BGR, 0..255.
            boxes: [N, 4] xyxy in image pixels, to be used instead of detection; they come back in their order.
            score: boxes below do not enter the dense head.
            classes: boxes of other classes do not enter it either; None for all. Given boxes are of the first one.

        Raises:
            ShapeError: not an image, or boxes that are none.
        """
        return self.predict_many([image], None if boxes is None else [boxes], score, classes)[0]

    @torch.inference_mode()
    def predict_many(
        self,
        images: Sequence[Image],
        boxes: Sequence[Boxes | None] | None = None,
        score: float = 0.5,
        classes: Iterable[int] | None = None,
    ) -> list[list[RawDetection]]:
        """Objects of several photographs; those that come to the same size share one pass.

        Raises:
            ShapeError: not images, or boxes that are none.
        """
        given = list(boxes) if boxes is not None else [None] * len(images)
        wanted = None if classes is None else sorted(set(classes))
        for image, each in zip(images, given, strict=True):
            _check(image, each)
        sizes = [network_size(image.shape[0], image.shape[1], self.spec.min_side, self.spec.max_side) for image in images]
        results: list[list[RawDetection]] = [[] for _ in images]
        for size in dict.fromkeys(sizes):
            members = [index for index, one in enumerate(sizes) if one == size]
            found = self._same_size([images[i] for i in members], [given[i] for i in members], size, score, wanted)
            for index, detections in zip(members, found, strict=True):
                results[index] = detections
        return results

    def _same_size(self, images, given, size, score, wanted) -> list[list[RawDetection]]:
        pixels = np.stack([resized(image, size).transpose(2, 0, 1) for image in images])
        inputs = self.network.normalised(torch.from_numpy(pixels).to(self.device))
        with self._autocast():
            features = self.network.backbone(inputs)
        features = {name: level.float() for name, level in features.items()}
        scales = [np.array([size[1] / image.shape[1], size[0] / image.shape[0]] * 2, dtype=np.float32) for image in images]
        found = self._boxes(inputs, features, given, scales, size, score, wanted)
        answers = []
        for index, (one, image) in enumerate(zip(found, images, strict=True)):
            own = {name: level[index : index + 1] for name, level in features.items()}
            maps = self._dense(own, one.boxes)
            photo_boxes = given[index] if given[index] is not None else _clipped(one.boxes.cpu().numpy() / scales[index], image)
            answers.append([_detection(photo_boxes[k], one, maps, k) for k in range(len(one.boxes))])
        return answers

    def _boxes(self, inputs, features, given, scales, size, score, wanted) -> list[_Found]:
        """Given boxes, or those of the box branch that are wanted."""
        if all(boxes is not None for boxes in given):
            detected: list[Any] = [None] * len(given)
        else:
            self.network.roi_heads.box_predictor.test_score_thresh = score
            detected = self.network.detect(inputs, [size] * len(given), features)
        found = []
        for boxes, scale, instances in zip(given, scales, detected, strict=True):
            if boxes is not None:
                own = torch.from_numpy(np.asarray(boxes, dtype=np.float32).reshape(-1, 4) * scale).to(self.device)
                kind = torch.full((len(own),), wanted[0] if wanted else 0)
                found.append(_Found(own, torch.ones(len(own)), kind))
                continue
            keep = instances.scores >= score
            if wanted is not None:
                keep &= torch.isin(instances.pred_classes, torch.tensor(wanted, device=keep.device))
            found.append(_Found(instances.pred_boxes.tensor[keep], instances.scores[keep].cpu(), instances.pred_classes[keep].cpu()))
        return found

    def _dense(self, features, boxes: torch.Tensor) -> dict[str, np.ndarray]:
        """Dense maps of one image's boxes, a few at a time."""
        parts = []
        for chunk in boxes.split(BOXES_AT_ONCE) if len(boxes) else ():
            with self._autocast():
                parts.append(_arrays(self.network.roi_heads.densepose_outputs(features, [chunk])))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def _autocast(self) -> torch.autocast:
        kind = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, kind or torch.bfloat16, enabled=kind is not None)


def _check(image: Image, boxes: Boxes | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ShapeError("an image to look at is [H, W, 3] uint8, BGR", got=f"{list(image.shape)} {image.dtype}")
    if boxes is not None and (np.ndim(boxes) != 2 or np.shape(boxes)[1] != 4):
        raise ShapeError("boxes are rows of x0, y0, x1, y1", got=list(np.shape(boxes)), expected="[N, 4]")


def _clipped(boxes: Boxes, image: Image) -> Boxes:
    height, width = image.shape[:2]
    return np.clip(boxes, 0, [width, height, width, height])


def _arrays(outputs: Outputs) -> dict[str, np.ndarray]:
    maps = {one.name: getattr(outputs, one.name) for one in fields(outputs)}
    return {name: value.float().cpu().numpy() for name, value in maps.items() if value is not None}


def _detection(box: Float[np.ndarray, "4"], found: _Found, maps: dict[str, np.ndarray], index: int) -> RawDetection:
    own = {name: values[index] for name, values in maps.items()}
    coarse, embedding = own.pop("coarse_segm"), own.pop("embedding", None)
    place = tuple(float(value) for value in box)
    return RawDetection(place, float(found.scores[index]), int(found.classes[index]), coarse, embedding, own)
