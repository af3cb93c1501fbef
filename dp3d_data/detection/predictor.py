"""Photographs in, boxes with dense maps out; only boxes of the wanted class above the score, each animal once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from jaxtyping import Float, Int
from torchvision.ops import nms

from dp3d_data.detection import crops
from dp3d_data.detection.crops import Pixels, Prepared, Square
from dp3d_data.detection.dense_layers import Outputs
from dp3d_data.detection.detections import WITHIN, RawDetection, once, tightened
from dp3d_data.detection.network import Dp3dDenseRCNN, Features
from dp3d_data.detection.recognition import Recogniser, doubled, halved, recogniser_of
from dp3d_data.detection.spec import class_and_mesh
from dp3d_data.detection.weights import template_hash
from dp3d_data.errors import ShapeError, UsageError
from dp3d_data.records import as_box

BOXES_AT_ONCE = 16
SAME_BOX = 0.7  # overlap of two boxes of one animal, whatever their classes
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
Boxes = Float[np.ndarray, "n 4"]
Arrays = dict[str, np.ndarray]
Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # boxes in pixels of the network's input, scores, classes


class DensePredictor:
    """A network at work.

    Args:
        network: of `build_network`, with its weights.
        device: where to run, such as "cpu" or "cuda:0".
        precision: "float32", or "bfloat16" / "float16" for backbone and dense head.
        channels_last: keep the channels of a pixel together in memory, which tensor cores like.
        compiled: let torch compile the backbone, which takes a minute and pays in long runs of few shapes.
        mesh_of: mesh of each class, where it differs from the specification's (class-agnostic models).
        template_hash: content hash of the template the weights were trained for; empty where unknown.
        notes: what the weights say of themselves.
    """

    def __init__(
        self,
        network: Dp3dDenseRCNN,
        *,
        device: str = "cpu",
        precision: str = "float32",
        channels_last: bool = False,
        compiled: bool = False,
        mesh_of: dict[int, str] | None = None,
        template_hash: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision {precision!r}", expected=", ".join(PRECISIONS))
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network, self.spec, self.device = network.to(device).eval(), network.spec, torch.device(device)
        self.network.to(memory_format=self.memory_format)
        self.backbone = torch.compile(network.backbone) if compiled else network.backbone
        self.precision, self.template_hash = precision, template_hash
        self.mesh_of = dict(mesh_of or self.spec.class_to_mesh)
        self.symmetry: Int[np.ndarray, "vertices"] | None = None
        self.recogniser: Recogniser | None = None
        self._vertices: dict[str, np.ndarray] = {}
        self.notes = notes or {}
        # What is known of the last photographs; who asks for one category after the other needs it once.
        self._looked: dict[tuple[Prepared, ...], tuple[torch.Tensor, Features]] = {}
        self._found: dict[float, list[Instances]] = {}

    def of_category(self, category: str) -> DensePredictor:
        """The same network for another category; both share their passes.

        Raises:
            UsageError: this network does not know it.
        """
        other, (class_id, mesh) = copy.copy(self), class_and_mesh(self.spec, category)
        other.mesh_of = {**self.spec.class_to_mesh, class_id: mesh} if mesh else {}
        other.template_hash = template_hash(self.notes, mesh)
        return other

    def mirrored(self, symmetry: Int[np.ndarray, "vertices"] | None) -> DensePredictor:
        """The same network, whose second look goes to the mirror image of each crop too (ours).

        Masks are the means of both looks. Embeddings have twice the numbers, those of the pixel and those of its mirror
        image, which belongs to the mirrored vertex; so the nearest vertex is the one that both looks agree on.

        Args:
            symmetry: the vertex that mirrors each vertex; None, as a network without a second look, changes nothing.
        """
        if symmetry is None or not self.spec.crop_side:
            return self
        other = copy.copy(self)
        other.symmetry, other._vertices = symmetry, {}
        return other

    def recognising(self) -> DensePredictor:
        """The same network, which drops what does not look like the animal; itself where it cannot tell (ours).

        For photographs: renders look too little like animals. What is recognised has its odds doubled, because most of
        what is not an animal is gone: a score of 1/3 becomes 1/2.
        """
        recogniser = recogniser_of(self.network.backbone.bottom_up) if self.spec.crop_side else None
        if recogniser is None or recogniser.mesh not in self.mesh_of.values():
            return self
        other = copy.copy(self)
        other.recogniser = recogniser.to(self.device)
        return other

    def vertex_embeddings(self, class_id: int) -> Float[np.ndarray, "vertices dim"]:
        """Unit embeddings of the vertices of a class's mesh; beside each, where it was `mirrored`, its mirror vertex's.

        Raises:
            UsageError: the network has no mesh for this class.
        """
        if class_id not in self.mesh_of:
            expected = self.mesh_of or "a CSE model"
            raise UsageError(f"{self.spec.name} has no mesh for class {class_id}", expected=expected)
        mesh = self.mesh_of[class_id]
        if mesh not in self._vertices:
            with torch.no_grad():
                own = self.network.embedder(mesh)().float().cpu().numpy()
            self._vertices[mesh] = own if self.symmetry is None else np.hstack([own, own[self.symmetry]])
        return self._vertices[mesh]

    def class_of(self, category: str) -> int:
        """The class that stands for a category; see `class_and_mesh`."""
        return class_and_mesh(self.spec, category)[0]

    def prepare(self, image: Pixels) -> Prepared:
        """A photograph at the network's size; any thread may do this while the network works.

        Args:
            image: [H, W, 3] BGR, 0..255.

        Raises:
            ShapeError: not an image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ShapeError("an image to look at is [H, W, 3] uint8, BGR", got=f"{list(image.shape)} {image.dtype}")
        height, width = image.shape[:2]
        size = crops.network_size(height, width, self.spec.min_side, self.spec.max_side)
        step = self.network.backbone.size_divisibility
        shape = (size[0] + -size[0] % step, size[1] + -size[1] % step)
        source = image if self.spec.crop_side else None
        if source is not None and (most := crops.SOURCE_SIDE / max(height, width)) < 1:
            source = crops.resized(image, (max(1, round(height * most)), max(1, round(width * most))))
        return Prepared(crops.resized(image, size), height, width, shape, source)

    def predict(
        self,
        image: Pixels | Prepared,
        boxes: Boxes | None = None,
        score: float = 0.5,
        classes: Iterable[int] | None = None,
    ) -> list[RawDetection]:
        """Objects of one photograph, best first.

        Args:
            image: [H, W, 3] BGR, 0..255, or prepared.
            boxes: [N, 4] xyxy in image pixels, to be used instead of detection; they come back in their order.
            score: boxes below do not enter the dense head.
            classes: boxes of other classes do not enter it either; None for all. Given boxes are of the first one.

        Raises:
            ShapeError: not an image, or boxes that are none.
        """
        return self.predict_many([image], [boxes], score, classes)[0]

    @torch.inference_mode()
    def predict_many(
        self,
        images: Sequence[Pixels | Prepared],
        boxes: Sequence[Boxes | None] | None = None,
        score: float = 0.5,
        classes: Iterable[int] | None = None,
    ) -> list[list[RawDetection]]:
        """Objects of several photographs, as `predict`; those that come to the same shape share one pass."""
        given = list(boxes) if boxes is not None else [None] * len(images)
        wanted = None if classes is None else sorted(set(classes))
        for each in given:
            if each is not None and (np.ndim(each) != 2 or np.shape(each)[1] != 4):
                raise ShapeError("boxes are rows of x0, y0, x1, y1", got=list(np.shape(each)), expected="[N, 4]")
        photographs = [image if isinstance(image, Prepared) else self.prepare(image) for image in images]
        results: list[list[RawDetection]] = [[] for _ in images]
        for shape in dict.fromkeys(one.shape for one in photographs):
            members = [index for index, one in enumerate(photographs) if one.shape == shape]
            found = self._same_shape([photographs[i] for i in members], [given[i] for i in members], score, wanted)
            for index, detections in zip(members, found, strict=True):
                results[index] = detections
        return results

    def _same_shape(
        self, photographs: list[Prepared], given: list[Boxes | None], score: float, wanted: list[int] | None
    ) -> list[list[RawDetection]]:
        again = self.spec.crop_side > 0
        found = self._boxes(photographs, given, score, wanted)
        placed: list[Boxes] = []
        for boxes, (own, _, _), photograph in zip(given, found, photographs, strict=True):
            size = [photograph.width, photograph.height]
            placed.append(np.clip(own.cpu().numpy() / photograph.scale, 0, size * 2) if boxes is None else boxes)
        scores = [value for _, own, _ in found for value in own.tolist()]
        if again:
            squares = [[crops.square_of(box) for box in boxes] for boxes in placed]
            asked: list[int | None] = []
            for (_, _, kinds), boxes in zip(found, given, strict=True):
                asked += kinds.tolist() if boxes is None else [None] * len(kinds)
            judged = iter(self._dense_again(photographs, squares, scores, asked))
        else:
            judged = zip(scores, self._dense(photographs, [own for own, _, _ in found]), strict=True)
        answers = []
        for number, ((_, _, kinds), boxes, photograph) in enumerate(zip(found, placed, photographs, strict=True)):
            regions, detections = list(boxes), []
            if again:
                regions = [crops.region_of(square, photograph.width, photograph.height) for square in squares[number]]
            for box, region, kind in zip(boxes, regions, kinds.tolist(), strict=True):
                if (seen := next(judged)) is not None:
                    value, maps = seen
                    coarse, embedding = maps.pop("coarse_segm"), maps.pop("embedding", None)
                    detections.append(RawDetection(as_box(box), value, kind, coarse, embedding, maps, as_box(region)))
            if again and given[number] is None:
                detections = sorted(detections, key=lambda each: -each.score)  # recognised ones have moved up
                detections = [tightened(each) for each in once(detections, WITHIN if self.recogniser else 1.0)]
            answers.append(detections)
        return answers

    def _look(self, photographs: list[Prepared]) -> tuple[torch.Tensor, Features]:
        """Photographs of one shape as the backbone takes them and what it says: the last ones need no other pass."""
        key = tuple(photographs)
        if key not in self._looked:
            self._looked.clear()  # two passes would need twice the memory
            self._found.clear()
            inputs = torch.cat([self._input(one.pixels) for one in photographs])
            inputs = inputs.contiguous(memory_format=self.memory_format)
            with self._autocast():
                features = self.backbone(inputs)
            self._looked[key] = inputs, {name: level.float() for name, level in features.items()}
        return self._looked[key]

    def _detected(self, photographs: list[Prepared], score: float) -> list[Instances]:
        """What the box branch says of each photograph, from a score on."""
        inputs, features = self._look(photographs)
        if score not in self._found:
            self.network.roi_heads.box_predictor.test_score_thresh = score
            sizes = [one.pixels.shape[:2] for one in photographs]
            self._found[score] = self.network.detect(inputs, sizes, features)
        return self._found[score]

    def _input(self, pixels: Pixels) -> torch.Tensor:
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        return self.network.normalised(torch.from_numpy(pixels).to(self.device))

    def _boxes(
        self, photographs: list[Prepared], given: list[Boxes | None], score: float, wanted: list[int] | None
    ) -> list[Found]:
        """Given boxes, or those of the box branch that are wanted."""
        detected: Sequence[Any] = [None] * len(given)
        if any(boxes is None for boxes in given):
            detected = self._detected(photographs, score if self.recogniser is None else halved(score))
        found = []
        for boxes, photograph, instances in zip(given, photographs, detected, strict=True):
            if boxes is not None:
                own = torch.from_numpy(np.asarray(boxes, dtype=np.float32).reshape(-1, 4) * photograph.scale)
                kind = torch.full((len(own),), wanted[0] if wanted else 0)
                found.append((own.to(self.device), torch.ones(len(own)), kind))
                continue
            keep = instances.scores >= score
            for kind in instances.pred_classes.unique().tolist():
                if self._telling(kind):
                    keep |= (instances.pred_classes == kind) & (instances.scores >= halved(score))
            if self.spec.other_classes:  # an animal is of one class: the likeliest
                best = nms(instances.pred_boxes.tensor, instances.scores, SAME_BOX)
                keep &= torch.zeros_like(keep).index_fill_(0, best, True)
            if wanted is not None:
                keep &= torch.isin(instances.pred_classes, torch.tensor(wanted, device=keep.device))
            kept = instances[keep]
            found.append((kept.pred_boxes.tensor, kept.scores.cpu(), kept.pred_classes.cpu()))
        return found

    def _dense(self, photographs: list[Prepared], boxes: list[torch.Tensor]) -> list[Arrays]:
        """Dense maps of each box, photograph after photograph; the head sees a few at a time."""
        members = [index for index, own in enumerate(boxes) if len(own)]
        if not members:
            return []
        _, features = self._look(photographs)
        if len(members) < len(boxes):
            features = {name: level[members] for name, level in features.items()}
        answers = []
        with self._autocast():
            for chunk in self.network.pooled(features, [boxes[index] for index in members]).split(BOXES_AT_ONCE):
                answers += _each(self.network.dense_maps(chunk))
        return answers

    def _dense_again(
        self,
        photographs: list[Prepared],
        squares: list[list[Square]],
        scores: list[float],
        kinds: list[int | None],
    ) -> list[tuple[float, Arrays] | None]:
        """Score and dense maps of the crop of each box, photograph after photograph; None where it is not the animal.

        Args:
            scores, kinds: of all boxes; no kind where a box is given, so that it stays.
        """
        wanted = [(photograph, square) for photograph, own in zip(photographs, squares, strict=True) for square in own]
        answers = list[tuple[float, Arrays] | None]()
        for first in range(0, len(wanted), BOXES_AT_ONCE):
            part = slice(first, first + BOXES_AT_ONCE)
            cut = torch.cat([self._input(self._crop(photograph, square)) for photograph, square in wanted[part]])
            levels = self._crop_levels(cut)
            values = self._recognised(levels["res5"], scores[part], kinds[part])
            kept = [k for k, value in enumerate(values) if value is not None]
            levels = {name: level[kept] for name, level in levels.items()}
            maps = iter(self._crop_maps(levels, cut[kept], [wanted[first + k] for k in kept]) if kept else ())
            answers += [None if value is None else (value, next(maps)) for value in values]
        return answers

    def _recognised(
        self, deepest: torch.Tensor, scores: Sequence[float], kinds: Sequence[int | None]
    ) -> list[float | None]:
        """Scores of crops, with doubled odds where the animal is recognised; None where it is not."""
        values = list[float | None](scores)
        for kind in {own for own in kinds if own is not None}:
            if recogniser := self._telling(kind):
                likeness = recogniser(deepest).tolist()
                for k in (k for k, own in enumerate(kinds) if own == kind):
                    values[k] = doubled(scores[k]) if likeness[k] >= recogniser.likeness else None
        return values

    def _telling(self, kind: int) -> Recogniser | None:
        """The recogniser, where it knows the class; a mesh that was adopted may be of another animal."""
        known = self.recogniser is not None and self.mesh_of.get(kind) == self.recogniser.mesh
        return self.recogniser if known else None

    def _crop_maps(self, levels: Features, cut: torch.Tensor, chunk: list[tuple[Prepared, Square]]) -> list[Arrays]:
        """Dense maps of each crop, and of its mirror image where asked for, read where the crop lies in the image."""
        with self._autocast():
            outputs = self.network.dense_maps(levels)
        if self.symmetry is not None:
            with self._autocast():
                turned = self.network.dense_maps(self._crop_levels(cut.flip(3)))
            other = {name: maps.flip(3) for name, maps in turned.items()}
            outputs["coarse_segm"] = (outputs["coarse_segm"] + other["coarse_segm"]) / 2
            outputs["embedding"] = torch.cat([outputs["embedding"], other["embedding"]], dim=1)
        for name, whole in outputs.items():
            outputs[name] = torch.stack([
                crops.part_of_maps(maps, square, crops.region_of(square, photograph.width, photograph.height))
                for maps, (photograph, square) in zip(whole.float(), chunk, strict=True)
            ])  # fmt: skip
        return _each(outputs)

    def _crop_levels(self, cut: Float[torch.Tensor, "n 3 side side"]) -> Features:
        with self._autocast():
            return self.network.crop_levels(cut.contiguous(memory_format=self.memory_format))

    def _crop(self, photograph: Prepared, square: Square) -> Pixels:
        if photograph.source is None:
            expected = "what prepare of this predictor gives"
            raise ShapeError("a photograph prepared for another network", expected=expected)
        scale = photograph.source.shape[1] / photograph.width
        left, top, extent = (scale * value for value in square)
        return crops.crop_of(photograph.source, (left, top, extent), self.spec.crop_side, self.spec.pixel_mean)

    def _autocast(self) -> torch.autocast:
        kind = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, kind or torch.bfloat16, enabled=kind is not None)


def _each(outputs: Outputs) -> list[Arrays]:
    """The maps of each box by themselves."""
    arrays = {name: value.float().cpu().numpy() for name, value in outputs.items()}
    return [{name: value[k] for name, value in arrays.items()} for k in range(len(arrays["coarse_segm"]))]
