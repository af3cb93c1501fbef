"""Score lifted photographs against their annotation: the reprojected silhouette and the named keypoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from scipy.ndimage import binary_erosion

from dp3d_data.detection.training.evaluation import AP_OVERLAP, Marks, Tally
from dp3d_data.detection.training.metrics import TrueObject, mask_overlap, match_detections
from dp3d_data.errors import InputCorrupt, NothingToDo, readable
from dp3d_data.files import write_picture, write_text
from dp3d_data.geometry.renderer import silhouette
from dp3d_model.config import preset
from dp3d_model.evaluation.evaluator import RIGID, common_surface
from dp3d_model.evaluation.report import table
from dp3d_model.lifting.prediction import open_to_lift, predict, template_of
from dp3d_model.networks.lifter import Lifter
from pipelines.annotated import FOUND, MOST, TILE, TRUE, Photographs, contact_sheet, finished, framed
from pipelines.cse import Scores, named_of, numbers
from pipelines.lift import from_annotated

BOXES = ("detected", "given")
Lifted = tuple[np.ndarray, np.ndarray]  # box xyxy and projected vertices [K, 3], image pixels


def run(lifters: Mapping[str, Lifter], photographs: Photographs, out: Path, keypoints: str = "") -> Scores:
    """Measures by part, of every model and the rigid template: "model, detected", "model, given, Nose" and so on.

    Writes photographs.json, photographs.md and, for each model and kind of boxes, a sheet of pictures. The photographs
    are extracted into out/detected and out/given.

    Args:
        keypoints: table of the vertex of each keypoint; empty for the built-in dog's 24.

    Raises:
        As their source; TemplateError: models of different templates.
    """
    surface = common_surface(lifters)
    scores: Scores = {}
    for boxes in BOXES:
        try:
            from_annotated(photographs, template_of(surface), out / boxes, given_boxes=boxes == "given")
        except NothingToDo:
            pass  # nothing was found: every animal is missed
        for name, lifter in {RIGID: Lifter(surface, preset("rigid")), **lifters}.items():
            lifted = _lifted(lifter, out / boxes / "extract")
            scores |= _scored(f"{name}, {boxes}", lifter, photographs, keypoints, out, lifted)
    write_text(out / "photographs.json", json.dumps(numbers(scores), indent=1) + "\n")
    write_text(out / "photographs.md", markdown(scores))
    return scores


def _lifted(lifter: Lifter, folder: Path) -> dict[str, list[Lifted]]:
    """Path of a photograph, as tables write it -> its instances, best first."""
    found: dict[str, list[Lifted]] = {}
    try:
        instances, _ = open_to_lift(folder)
    except NothingToDo:
        return found
    if instances.boxes is None:
        raise InputCorrupt("keypoints without the boxes of their objects", path=folder)
    ones = (many.at(i) for many in predict(lifter, instances) for i in range(len(many.scale)))
    for path, box, one in zip(instances.image_paths, instances.boxes.numpy(), ones, strict=True):
        found.setdefault(path, []).append((box, one.projected()))
    return found


def _scored(
    title: str, lifter: Lifter, photographs: Photographs, keypoints: str, out: Path, lifted: dict[str, list[Lifted]]
) -> Scores:
    """The measures of one model, and its sheet."""
    faces = lifter.surface.faces.numpy()
    tally = Tally()
    tiles: list[Image.Image] = []
    ids: np.ndarray | None = None
    names: tuple[str, ...] = ()
    for record, image, objects in photographs.read():
        if not names and objects[0].named is not None:
            ids, names = named_of(keypoints, template_of(lifter.surface), len(objects[0].named))
        marks, masks = compare(lifted.get(readable(record.path), []), objects, faces, ids)
        tally.objects += marks
        if len(tiles) < MOST:
            tiles.append(_tile(image, objects, marks, masks))
    if tiles:
        name = title.replace(", ", "-").replace(" ", "-").replace("/", "-")
        write_picture(out / f"photographs-{name}.jpg", contact_sheet(tiles), quality=88)
    result = tally.result()
    overlaps = [one.mask_overlap if one.found else 0.0 for one in tally.objects]
    overall: dict[str, Any] = {"silhouette_iou": float(np.mean(overlaps)) if overlaps else float("nan")}
    overall["silhouette_iou_found"] = result.pop("mask_iou")
    overall |= {name: value for name, value in result.items() if name != "ap50"} | photographs.tally()
    return {title: overall} | {f"{title}, {name}": row for name, row in tally.by_keypoint(names).items()}


def compare(
    lifted: list[Lifted], objects: list[TrueObject], faces: np.ndarray, ids: np.ndarray | None
) -> tuple[list[Marks], list[Bool[np.ndarray, "h w"]]]:
    """What became of the objects of a photograph, and the silhouettes of those that were found.

    Args:
        lifted: boxes, best first, and projected vertices.
        ids: vertex of each annotated keypoint, -1 for none; None where they are not known.
    """
    marks, masks = [Marks.missed(one, ids) for one in objects], []
    boxes, scores = np.array([box for box, _ in lifted]).reshape(-1, 4), -np.arange(len(lifted), dtype=float)
    owner = match_detections(boxes, scores, np.array([one.box for one in objects]), AP_OVERLAP)
    for (_, projected), index in zip(lifted, owner.tolist(), strict=True):
        if index >= 0:
            masks.append(silhouette(projected, faces, *objects[index].mask.shape[::-1]))
            marks[index].found, marks[index].mask_overlap = True, mask_overlap(masks[-1], objects[index].mask)
            if ids is not None and marks[index].named is not None:
                marks[index].place(projected[ids, :2].astype(np.float64), objects[index])
    return marks, masks


def _tile(image: np.ndarray, objects: list[TrueObject], marks: list[Marks], masks: list[np.ndarray]) -> Image.Image:
    """The photograph with the outlines of annotated masks and lifted silhouettes, and the keypoints of both."""
    tile = framed(np.ascontiguousarray(image[:, :, ::-1]), [], longest=TILE)
    pixels = np.array(tile)
    for colour, shapes in ((TRUE, [one.mask for one in objects]), (FOUND, masks)):
        for mask in shapes:
            pixels[outline(np.asarray(Image.fromarray(mask).resize(tile.size, Image.Resampling.NEAREST)))] = colour
    return finished(Image.fromarray(pixels), image.shape[1], objects, marks)


def outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a mask with a neighbour outside it; beyond the border is outside."""
    return mask & ~binary_erosion(mask)


def markdown(scores: Scores) -> str:
    """The figures for people: a table of the whole, and one of the keypoints."""
    overall = {title: part for title, part in scores.items() if "silhouette_iou" in part}
    columns = {
        "objects": "animals",
        "found": "found",
        "silhouette_iou": "silhouette IoU",
        "silhouette_iou_found": "of found",
        "pck_10": "PCK 0.10",
        "pck_15": "PCK 0.15",
    }
    rows = [[title, *(_cell(part.get(name)) for name in columns)] for title, part in overall.items()]
    by_name: list[list[str]] = []
    for name in dict.fromkeys(title.rpartition(", ")[2] for title in scores if title not in overall):
        parts = [scores.get(f"{title}, {name}", {}) for title in overall]
        by_name.append([name, *(f"{_cell(part.get('pck_10'))} / {_cell(part.get('pck_15'))}" for part in parts)])
    lines = ["# Lifted photographs", "", *table(["", *columns.values()], rows), ""]
    lines += ["## PCK 0.10 / 0.15 of each keypoint", "", *table(["", *overall], by_name), ""]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if float(value).is_integer() and value > 1 else f"{value:.3f}"
