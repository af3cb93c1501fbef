"""How well a CSE network finds, cuts out and matches animals whose truth is known, as a whole and in groups."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.detection import DensePredictor, ModelSpec
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.adoption import placed_keypoints
from dp3d_data.detection.training.losses import SoftTargets
from dp3d_data.detection.training.metrics import (
    PCK,
    TrueObject,
    average_precision,
    box_overlaps,
    mask_overlap,
    match_detections,
    share_within,
    summary,
)
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import HELD_OUT, training_world
from dp3d_data.geometry import Template
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.geometry.visibility import visible_vertices
from dp3d_data.matching import VertexIndex, match_detection, view_of
from dp3d_data.synthesis.sample import SyntheticInstance

STEEP = 50.0  # degrees of elevation from which a view is from above or below
CUT = 0.02  # share of the vertices outside the image
LITTLE, MUCH = 0.5, 0.8  # of what faces the viewer


def scenes_with_truth(
    template: Template, seed: int, size: int, count: int, grouped: bool = True
) -> Iterator[tuple[np.ndarray, list[TrueObject]]]:
    """BGR renders of the world that a training of this seed never sees, each with its animals, `grouped` or not."""
    world = training_world(template, seed + HELD_OUT, size)
    for index in range(count):
        animals = world.scene(index)
        truth = []
        for one in animals:
            if one.mask.any():
                groups = groups_of(one, template.faces, size) if grouped else ()
                truth.append(TrueObject(one.box, one.mask, one.vertex_map, one.keypoints, groups))
        yield np.ascontiguousarray(animals[0].image[:, :, ::-1]), truth


def groups_of(animal: SyntheticInstance, faces: np.ndarray, size: int) -> tuple[str, str, str]:
    """View, share seen and border of one animal (ours).

    The view is where the viewer stands around the body: "front" and "rear" within 45 degrees, "side" between, "above"
    and "below" beyond STEEP degrees. The share seen is that of the vertices that face a far viewer: what the border,
    other things and other animals hide is missing.
    """
    facing = visible_vertices(animal.true_vertices, faces)
    share = (animal.visible & facing).sum() / max(facing.sum(), 1)
    some = f"{LITTLE:.0%} to {MUCH:.0%}" if share < MUCH else f"over {MUCH:.0%}"
    seen = f"under {LITTLE:.0%}" if share < LITTLE else some
    inside = ((animal.keypoints >= 0) & (animal.keypoints < size)).all(axis=1).mean()
    border = "cut" if inside < 1 - CUT else "whole"
    return f"view: {view_name(animal.camera_from_template)}", f"seen: {seen}", f"border: {border}"


def view_name(camera_from_template: np.ndarray) -> str:
    """front, side, rear, above or below: where the viewer stands in the template frame (x forward, y left, z up)."""
    toward = -np.asarray(camera_from_template)[2]
    elevation = np.rad2deg(np.arcsin(np.clip(toward[2], -1, 1)))
    if abs(elevation) > STEEP:
        return "above" if elevation > 0 else "below"
    azimuth = abs(np.rad2deg(np.arctan2(toward[1], toward[0])))
    return "front" if azimuth < 45 else "rear" if azimuth > 135 else "side"


AP_OVERLAP = 0.5

Images = Iterable[tuple[np.ndarray, list["TrueObject"]]]
Watch = Callable[[np.ndarray, list["TrueObject"], list, list["Marks"]], None]


@dataclass
class Marks:
    """What became of one true object; found where a detection hit it. Errors are empty where they cannot be told.

    named [n]: errors of its annotated keypoints, NaN where one is not asked for, infinite where it was not found.
    places [n, 2]: where these were placed, image pixels.
    """

    groups: tuple[str, ...]
    found: bool = False
    mask_overlap: float = float("nan")
    geodesic: np.ndarray | None = None
    keypoint: np.ndarray | None = None
    named: np.ndarray | None = None
    places: np.ndarray | None = None

    @classmethod
    def missed(cls, truth: TrueObject, named_vertices: Int[np.ndarray, "n"] | None) -> Marks:
        """Of an object that was not found; annotated, visible keypoints count that are vertices of the template."""
        if named_vertices is None or truth.named is None:
            return cls(truth.groups)
        asked = (truth.named[:, 2] > 0) & (np.asarray(named_vertices) >= 0)
        return cls(truth.groups, named=np.where(asked, np.inf, np.nan))

    def place(self, places: Float[np.ndarray, "n 2"], truth: TrueObject) -> None:
        """Mark where the annotated keypoints were placed."""
        errors = np.linalg.norm(places - truth.annotated()[:, :2], axis=1) / np.sqrt(max(truth.mask.sum(), 1))
        self.places = places
        self.named = errors if self.named is None else np.where(np.isnan(self.named), np.nan, errors)


@dataclass
class Tally:
    """What was seen so far.

    objects: the marks of every true object. detections: score and object (or -1) of each. strays: scores of those that
    overlap no object by AP_OVERLAP. images: how many.
    """

    objects: list[Marks] = field(default_factory=list)
    detections: list[tuple[float, int]] = field(default_factory=list)
    strays: list[float] = field(default_factory=list)
    images: int = 0

    def result(self, group: str = "") -> dict[str, float]:
        """The measures of all objects or of a group; means of overlaps and errors are over the objects that were found.

        Average precision of a group leaves out detections of other objects; a false box counts in every group. PCK is
        over the annotated keypoints of all objects (those not found are missed), and of the found ones.
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
        if annotated := [(one.found, _asked(one.named)) for one in mine if one.named is not None]:
            errors = np.concatenate([own for _, own in annotated])
            placed = np.concatenate([np.zeros(0), *(own for hit, own in annotated if hit)])
            named["annotated_keypoints"] = float(len(errors))
            for name, share in PCK.items():
                named |= {name: share_within(errors, share), f"{name}_found": share_within(placed, share)}
        return named

    def by_keypoint(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Of each annotated keypoint: how many, PCK over all objects, and the median error of those placed."""
        every = [one.named for one in self.objects if one.named is not None]
        table = np.stack(every, axis=1) if every else np.zeros((0, 0))
        measures = {}
        for name, row in zip(names, table, strict=False):
            if len(errors := _asked(row)):
                placed = errors[np.isfinite(errors)]
                measures[name] = {"annotated_keypoints": float(len(errors))}
                measures[name] |= {pck: share_within(errors, share) for pck, share in PCK.items()}
                measures[name]["median_error"] = float(np.median(placed)) if len(placed) else float("nan")
        return measures

    def spurious(self, score: float) -> int:
        """Detections of at least this score that hit no object."""
        return sum(found >= score for found in self.strays)

    def by_group(self) -> dict[str, dict[str, float]]:
        """The measures of every group, in order of their names."""
        return {group: self.result(group) for group in sorted({name for one in self.objects for name in one.groups})}


def _asked(errors: Float[np.ndarray, "n"]) -> Float[np.ndarray, "asked"]:
    return errors[~np.isnan(errors)]


def examine(
    predictor,
    images: Images,
    geodesics: Float[np.ndarray, "K K"] | None = None,
    *,
    named_vertices: Int[np.ndarray, "n"] | None = None,
    score: float = 0.05,
    classes: list[int] | None = None,
    given: bool = False,
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
        given: the predictor is told the boxes of the objects, and finds them all.
        watch: told of every image, its objects, its detections and what became of the objects.

    Returns:
        Of every object: mask IoU; geodesic errors in the body's extent over pixels of prediction and truth both; errors
        of pooled keypoints as a share of the box's longer side; errors of annotated keypoints as a share of the square
        root of the mask's area, infinite where the object was not found.
    """
    tally, indices = Tally(), dict[int, VertexIndex]()
    for image, objects in images:
        first = len(tally.objects)
        tally.images += 1
        tally.objects += [Marks.missed(one, named_vertices) for one in objects]
        boxes = np.array([one.box for one in objects]).reshape(-1, 4)
        if given:
            found, owner = predictor.predict(image, boxes=boxes, classes=classes), np.arange(len(boxes))
        else:
            found = predictor.predict(image, score=score, classes=classes)
            own, scores = np.array([one.box for one in found]).reshape(-1, 4), np.array([one.score for one in found])
            owner = match_detections(own, scores, boxes, AP_OVERLAP)
        for detection, index in zip(found, owner.tolist(), strict=True):
            tally.detections.append((float(detection.score), first + index if index >= 0 else -1))
            if not given and (box_overlaps(np.array([detection.box]), boxes) < AP_OVERLAP).all():
                tally.strays.append(float(detection.score))
            if index >= 0:
                kind, marks = detection.class_id, tally.objects[first + index]
                if kind not in indices:
                    indices[kind] = VertexIndex(predictor.vertex_embeddings(kind))
                compare(marks, detection, objects[index], indices[kind], geodesics, named_vertices)
        if watch is not None:
            watch(image, objects, found, tally.objects[first:])
    return tally


def compare(
    marks: Marks,
    detection,
    truth: TrueObject,
    index: VertexIndex,
    geodesics: Float[np.ndarray, "K K"] | None,
    named_vertices: Int[np.ndarray, "n"] | None = None,
) -> None:
    """Mark one found object."""
    dense = match_detection(detection, index)
    vertices = on_image(dense, truth.mask.shape)
    marks.found, marks.mask_overlap = True, mask_overlap(vertices >= 0, truth.mask)
    if geodesics is None:
        return
    if marks.named is not None and named_vertices is not None and dense.mask.any():
        marks.place(placed_keypoints(dense, named_vertices, geodesics), truth)
    if truth.vertex_map is None:
        return
    both = (vertices >= 0) & (truth.vertex_map >= 0) & truth.mask
    marks.geodesic = geodesics[vertices[both], truth.vertex_map[both]]
    if truth.keypoints is not None and dense.mask.any():
        view = view_of(dense, len(geodesics))
        longest = max(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1])
        marks.keypoint = np.linalg.norm(view.keypoints - truth.keypoints[view.ids], axis=1) / longest


def on_image(dense, shape: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """A detection's vertex ids on the whole image, -1 outside its mask; parts beyond the border are cut."""
    canvas = np.full(shape, -1, dtype=np.int64)
    (x, y), (height, width) = dense.origin, dense.mask.shape
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, shape[0]), min(x + width, shape[1])
    if top < bottom and left < right:
        part = slice(top - y, bottom - y), slice(left - x, right - x)
        canvas[top:bottom, left:right] = np.where(dense.mask[part], dense.vertex_ids[part], -1)
    return canvas


LARGEST = 320


def rendered_side(spec: ModelSpec, asked: int = 0) -> int:
    """Side of renders that a network is to look at, pixels: the one asked for, or its own, at most LARGEST."""
    return asked or min(spec.min_side, LARGEST)


def held_out_measures(
    network: Dp3dDenseRCNN, targets: Mapping[int, SoftTargets], template: Template, config: TrainCseConfig
) -> dict[str, float]:
    """The measures of `examine` of a copy of the network on `config.evaluate_images` images.

    Args:
        targets: of each class that is matched.
    """
    mesh_of = network.spec.class_to_mesh | {class_id: target.mesh for class_id, target in targets.items()}
    predictor = DensePredictor(copy.deepcopy(network), device=config.device, mesh_of=mesh_of)
    images = scenes_with_truth(template, config.seed, config.image_size, config.evaluate_images, grouped=False)
    return examine(predictor, images, geodesic_distances(template), classes=sorted(mesh_of)).result()
