"""Pictures of an evaluation: each image, what was found on it, and the truth where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dp3d_data.bodies import Template
from dp3d_data.bodies.colours import colour_by_vertex
from dp3d_data.matching import match_detection
from dp3d_data.training.evaluation import TrueObject, on_image

CONFIDENT = 0.5
LONGEST = 480
FOUND, TRUE = (255, 255, 255), (255, 210, 0)


class Pictures:
    """Draws the first images that it is told of; see `dp3d_data.training.evaluation.examine`.

    Args:
        folder: where to; empty to draw nothing.
        template: whose colours the vertices get; None to mark the mask alone.
    """

    def __init__(self, folder: str, part: str, count: int, predictor, template: Template | None) -> None:
        self.folder, self.part, self.left = folder, part, count if folder else 0
        self.predictor, self.drawn = predictor, 0
        self.colours = None if template is None else colour_by_vertex(template)

    def __call__(self, image: np.ndarray, objects: list[TrueObject], found: list) -> None:
        """One BGR image, its objects and its detections."""
        if self.drawn >= self.left:
            return
        photograph = np.ascontiguousarray(image[:, :, ::-1])
        answer, truth = photograph // 3, photograph // 3
        for detection in sorted(found, key=lambda one: one.score):
            if detection.score >= CONFIDENT:
                dense = match_detection(detection, self.predictor.vertex_embeddings(detection.class_id))
                self._paint(answer, on_image(dense, image.shape[:2]))
        for one in objects:
            self._paint(truth, one.vertex_map if one.vertex_map is not None else np.where(one.mask, 0, -1), one.vertex_map is not None)
        boxes = [one.box for one in found if one.score >= CONFIDENT], [one.box for one in objects]
        panels = [_framed(photograph, []), _framed(answer, boxes[0], FOUND), _framed(truth, boxes[1], TRUE)]
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(panels, axis=1)).save(Path(self.folder) / f"{self.part}-{self.drawn:03d}.jpg", quality=88)
        self.drawn += 1

    def _paint(self, canvas: np.ndarray, ids: np.ndarray, vertices: bool = True) -> None:
        inside = ids >= 0
        if self.colours is None or not vertices or ids.max(initial=-1) >= len(self.colours):
            canvas[inside] = 200
        else:
            canvas[inside] = self.colours[ids[inside]]


def _framed(pixels: np.ndarray, boxes: list, colour: tuple[int, int, int] = FOUND) -> np.ndarray:
    """At most LONGEST pixels wide or high, with boxes."""
    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    picture = Image.fromarray(pixels).resize((max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1)))
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        draw.rectangle([float(value) * scale for value in box], outline=colour, width=2)
    return np.asarray(picture)
