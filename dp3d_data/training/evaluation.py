"""How well a CSE network finds, cuts out and matches animals whose truth is known, as a whole and by group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.matching import VertexIndex, match_detection, view_of
from dp3d_data.training.metrics import average_precision, mask_overlap, match_detections, share_within, summary
from dp3d_data.training.readout import placed_keypoints

AP_OVERLAP = 0.5
PCK = {"pck_10": 0.10, "pck_15": 0.15}

Images = Iterable[tuple[np.ndarray, list["TrueObject"]]]
Watch = Callable[[np.ndarray, list["TrueObject"], list], None]


@dataclass(frozen=True)
class TrueObject:
    """One object of one image: box xyxy, mask and (where known) template vertex of each pixel and true keypoints.

    groups: what it is scored under beside the whole, such as "view: side". named [n, 3]: annotated keypoints x, y in image
    pixels and whether each is visible.
    """

    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "h w"]
    vertex_map: Int[np.ndarray, "h w"] | None = None
    keypoints: Float[np.ndarray, "vertices 2"] | None = None
    groups: tuple[str, ...] = ()
    named: Float[np.ndarray, "n 3"] | None = None


@dataclass
class Marks:
    """What became of one true object; found where a detection hit it. Errors are empty where they cannot be told."""

    groups: tuple[str, ...]
    found: bool = False
    mask_overlap: float = float("nan")
    geodesic: np.ndarray | None = None
    keypoint: np.ndarray | None = None
    named: np.ndarray | None = None


@dataclass
class Tally:
    """What was seen so far: the marks of every true object; score and object (or -1) of every detection."""

    objects: list[Marks] = field(default_factory=list)
    detections: list[tuple[float, int]] = field(default_factory=list)

    def result(self, group: str = "") -> dict[str, float]:
        """The measures of all objects or of a group; means of overlaps and errors are over the objects that were found.

        Average precision of a group leaves out detections of other objects; a false box counts in every group.
        """
        members = {place for place, one in enumerate(self.objects) if not group or group in one.groups}
        mine = [self.objects[place] for place in sorted(members)]
        hits = [(score, owner >= 0) for score, owner in self.detections if owner < 0 or owner in members]
        scores, correct = np.array([score for score, _ in hits]), np.array([hit for _, hit in hits], dtype=bool)
        found = [one for one in mine if one.found]
        named = {
            "objects": float(len(mine)),
            "found": float(len(found)),
            "ap50": average_precision(scores, correct, len(mine)),
            "mask_iou": float(np.mean([one.mask_overlap for one in found])) if found else float("nan"),
        }
        geodesic = [one.geodesic for one in found if one.geodesic is not None]
        if geodesic:
            named |= {f"geodesic_{name}": value for name, value in summary(np.concatenate(geodesic)).items()}
        keypoint = [one.keypoint for one in found if one.keypoint is not None]
        if keypoint:
            errors = np.concatenate(keypoint)
            named["keypoint_error"] = float(errors.mean()) if len(errors) else float("nan")
        return named | self._annotated(mine)

    @staticmethod
    def _annotated(mine: list[Marks]) -> dict[str, float]:
        """PCK over the annotated keypoints of all objects, those of objects that were not found missed, and of the found ones."""
        every = [one.named for one in mine if one.named is not None]
        if not every:
            return {}
        errors, found = np.concatenate(every), [one.named for one in mine if one.found and one.named is not None]
        named = {"annotated_keypoints": float(len(errors))}
        for name, share in PCK.items():
            named[name] = share_within(errors, share)
            named[f"{name}_found"] = share_within(np.concatenate(found) if found else np.zeros(0), share)
        return named

    def by_group(self) -> dict[str, dict[str, float]]:
        """The measures of every group, in order of their names."""
        return {group: self.result(group) for group in sorted({name for one in self.objects for name in one.groups})}


def evaluate(predictor, images: Images, geodesics=None, score: float = 0.05) -> dict[str, float]:
    """The measures over all objects; see `examine` and `Tally.result`."""
    return examine(predictor, images, geodesics, score=score).result()


def examine(
    predictor,
    images: Images,
    geodesics: Float[np.ndarray, "K K"] | None = None,
    *,
    named_vertices: Int[np.ndarray, "n"] | None = None,
    score: float = 0.05,
    classes: list[int] | None = None,
    watch: Watch | None = None,
) -> Tally:
    """Run a predictor over images with truth.

    Args:
        predictor: a `DensePredictor`.
        images: BGR image [H, W, 3] uint8 and its objects.
        geodesics: surface distances in template units, for the geodesic error.
        named_vertices: template vertex of each annotated keypoint, -1 for none; needs geodesics.
        score: detections below are not looked at; average precision needs the weak ones too.
        classes: look for these only.
        watch: told of every image, its objects and its detections.

    Returns:
        Of every object: mask IoU; geodesic errors in the body's extent over pixels of prediction and truth both; errors of
        pooled keypoints as a share of the box's longer side; errors of annotated keypoints as a share of the square root
        of the mask's area, infinite where the object was not found.
    """
    tally, indices = Tally(), dict[int, VertexIndex]()
    for image, objects in images:
        found = predictor.predict(image, score=score, classes=classes)
        boxes = np.array([one.box for one in found]).reshape(-1, 4)
        scores = np.array([one.score for one in found])
        owner = match_detections(boxes, scores, np.array([one.box for one in objects]).reshape(-1, 4), AP_OVERLAP)
        first = len(tally.objects)
        tally.objects += [Marks(one.groups, named=_missed(one, named_vertices)) for one in objects]
        for detection, index in zip(found, owner.tolist(), strict=True):
            tally.detections.append((float(detection.score), first + index if index >= 0 else -1))
            if index >= 0:
                vertices = predictor.vertex_embeddings(detection.class_id)
                known = indices.setdefault(detection.class_id, VertexIndex(vertices))
                compare(tally.objects[first + index], detection, objects[index], known, geodesics)
                if tally.objects[first + index].named is not None:
                    errors = named_errors(detection, objects[index], known, vertices, named_vertices, geodesics)
                    tally.objects[first + index].named = errors
        if watch is not None:
            watch(image, objects, found)
    return tally


def compare(marks: Marks, detection, truth: TrueObject, index: VertexIndex, geodesics: Float[np.ndarray, "K K"] | None) -> None:
    """Mark one found object."""
    dense = match_detection(detection, index)
    vertices = on_image(dense, truth.mask.shape)
    marks.found, marks.mask_overlap = True, mask_overlap(vertices >= 0, truth.mask)
    if truth.vertex_map is None or geodesics is None:
        return
    both = (vertices >= 0) & (truth.vertex_map >= 0) & truth.mask
    marks.geodesic = geodesics[vertices[both], truth.vertex_map[both]]
    if truth.keypoints is not None and dense.mask.any():
        view = view_of(dense, len(geodesics))
        longest = max(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1])
        marks.keypoint = np.linalg.norm(view.keypoints - truth.keypoints[view.ids], axis=1) / longest


def annotated(truth: TrueObject, named_vertices: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Which keypoints are visible in the annotation and are vertices of the template."""
    return (truth.named[:, 2] > 0) & (np.asarray(named_vertices) >= 0)


def _missed(truth: TrueObject, named_vertices: Int[np.ndarray, "n"] | None) -> np.ndarray | None:
    if named_vertices is None or truth.named is None:
        return None
    return np.full(int(annotated(truth, named_vertices).sum()), np.inf)


def named_errors(
    detection,
    truth: TrueObject,
    index: VertexIndex,
    vertices: Float[np.ndarray, "K D"],
    named_vertices: Int[np.ndarray, "n"],
    geodesics: Float[np.ndarray, "K K"],
) -> Float[np.ndarray, "asked"]:
    """Errors of the annotated keypoints, as shares of the square root of the mask's area."""
    asked = annotated(truth, named_vertices)
    places = placed_keypoints(detection, match_detection(detection, index), np.asarray(named_vertices)[asked], vertices, geodesics)
    if places is None:
        return np.full(int(asked.sum()), np.inf)
    return np.linalg.norm(places - truth.named[asked, :2], axis=1) / np.sqrt(max(truth.mask.sum(), 1))


def on_image(dense, shape: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """A detection's vertex ids on the whole image, -1 outside its mask; parts beyond the border are cut."""
    canvas = np.full(shape, -1, dtype=np.int64)
    (x, y), (height, width) = dense.origin, dense.mask.shape
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, shape[0]), min(x + width, shape[1])
    if top < bottom and left < right:
        part = slice(top - y, bottom - y), slice(left - x, right - x)
        canvas[top:bottom, left:right] = np.where(dense.mask[part], dense.vertex_ids[part], -1)
    return canvas
