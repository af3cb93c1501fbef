"""StanfordExtra: photographs of dogs with box and mask, from its json and Stanford Dogs' image folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dp3d_data.errors import InputCorrupt, InputMissing

EXPECTED = "a list of objects with img_path, img_width, img_height, img_bbox [x, y, width, height] and seg"
HINT = "StanfordExtra's json comes from its authors: https://github.com/benjiebob/StanfordExtra"


@dataclass(frozen=True)
class AnnotatedDog:
    """One annotated photograph: where it lies, box xyxy in image pixels, mask of the dog, 24 keypoints (x, y, visible)."""

    path: Path
    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "h w"]
    keypoints: Float[np.ndarray, "24 3"]


def read_stanford_extra(annotation: str | Path, images: str | Path) -> list[AnnotatedDog]:
    """The annotated photographs that are on disk, in the order of the json.

    Raises:
        InputMissing: no json, no image folder, or none of the photographs below it.
        InputCorrupt: not StanfordExtra's json.
    """
    if not Path(annotation).is_file():
        raise InputMissing("no such annotation file", expected=EXPECTED, hint=HINT, path=annotation)
    try:
        entries = json.loads(Path(annotation).read_text(encoding="utf-8"))
        dogs = [_dog(entry, Path(images)) for entry in entries]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputCorrupt("not StanfordExtra's json", got=repr(error), expected=EXPECTED, hint=HINT, path=annotation) from error
    there = [dog for dog in dogs if dog.path.is_file()]
    if not there:
        expected = str(dogs[0].path) if dogs else EXPECTED
        raise InputMissing("none of the annotated photographs is here", expected=expected, path=images)
    return there


def _dog(entry: dict, images: Path) -> AnnotatedDog:
    from pycocotools import mask as run_length

    x, y, width, height = (float(value) for value in entry["img_bbox"])
    size = [int(entry["img_height"]), int(entry["img_width"])]
    mask = run_length.decode({"size": size, "counts": entry["seg"].encode()}).astype(bool)
    keypoints = np.array(entry["joints"], dtype=np.float64)
    return AnnotatedDog(images / entry["img_path"], np.array([x, y, x + width, y + height]), mask, keypoints)
