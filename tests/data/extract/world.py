"""A small world whose answers are known: a ball as template, pictures of coloured noise, a vertex map for each
object."""

from functools import partial
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from dp3d_data.geometry import make_template
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.synthetic_predictor import KnownObject, SyntheticPredictor, image_key

CLASSES = {"dog": 3}


def ball():
    """A template of 162 vertices."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    return make_template("ball", np.asarray(mesh.vertices), np.asarray(mesh.faces))


def known_object(width, height, box, vertices=162, block=3, score=0.9):
    """An object that fills its box with blocks of `block` x `block` pixels, each of another vertex."""
    x0, y0, x1, y1 = box
    vertex_map = np.full((height, width), -1)
    rows, columns = np.mgrid[0 : y1 - y0, 0 : x1 - x0]
    per_row = (x1 - x0 + block - 1) // block
    vertex_map[y0:y1, x0:x1] = (rows // block * per_row + columns // block) % vertices
    return KnownObject(tuple(map(float, box)), vertex_map, score=score, class_id=CLASSES["dog"])


def picture(folder: Path, index: int, width=60, height=44):
    """A PNG of noise, and its key."""
    pixels = np.random.default_rng(np.random.SeedSequence([7, index])).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return image_key(pixels[:, :, ::-1])


def make_world(folder: Path, count: int):
    """`count` pictures: every fourth without an object, every fifth with two, some too small to keep.

    Returns:
        What the predictor must know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {}
    for index in range(count):
        key = picture(folder, index)
        if index % 4 == 3:
            continue
        boxes = [(3 + index % 5, 4, 40, 36)] + ([(42, 2, 59, 40)] if index % 5 == 0 else [])
        if index % 7 == 6:
            boxes = [(5, 5, 8, 8)]
        known[key] = [known_object(60, 44, box, score=0.9 - 0.1 * n) for n, box in enumerate(boxes)]
    return known


class OneByOne:
    """A predictor that looks at one image after the other with its `predict`."""

    def recognising(self):
        """Itself: it cannot tell."""
        return self

    def prepare(self, image):
        return image

    def predict_many(self, images, boxes, **settings):
        return [self.predict(image, boxes=own, **settings) for image, own in zip(images, boxes, strict=True)]


def predictor_of(known):
    """A picklable maker of the predictor, as worker processes need it."""
    return partial(SyntheticPredictor, known, 162, CLASSES)


def run(folder: Path, out: Path, known, advance=lambda *_: None, **settings):
    """Extract a folder with the known answers."""
    template = folder.parent / "ball.npz"
    if not template.exists():
        ball().save(template)
    values = {
        "images": (str(folder),),
        "out": str(out),
        "template": str(template),
        "workers": 1,
        "part": 4,
        "min_vertices": 5,
    }
    config = ExtractConfig(**(values | settings))
    return extract(make_plan(config, predictor_of(known)), advance)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
