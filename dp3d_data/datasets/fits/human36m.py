"""Human3.6M with SMPL parameters: four json files a subject, every frame seen by four cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets.fits.fields import refuse_unknown
from dp3d_data.datasets.fits.layout import attempt, joints, take
from dp3d_data.datasets.fits.records import Fit, FitCamera, FitFailure, vector
from dp3d_data.datasets.human36m import DATA, HINT, PREFIX, notes_and_images, side, subjects
from dp3d_data.datasets.trees import below, existing, read_json, wrong_tree

EXPECTED = "annotations/Human36M_subject1_data.json with _camera.json and _smpl_param.json or _SMPL_NeuralAnnot.json beside it, and images/"
PARAMETERS = ("_smpl_param.json", "_SMPL_NeuralAnnot.json")
METRES = 1e-3


class Human36M:
    """Annotations in the form of I2L-MeshNet and NeuralAnnot.

    `_data.json` is COCO's: images (id, file_name, width, height, subject, action_idx, subaction_idx, cam_idx, frame_idx)
    and annotations (id, image_id, bbox [x, y, width, height]). `_camera.json`: cam_idx -> R [3, 3] camera from world,
    t [3] millimetres, f [2], c [2] pixels. The parameters: action -> subaction -> frame -> pose [72], shape [10],
    trans [3] metres, in the world. Lens distortion is in none of them and is left out.
    """

    name = "human36m"
    body = "smpl"

    def read(self, root: Path) -> Iterator[Fit | FitFailure]:
        """Every annotation: subjects in order of number, then annotations as the file has them.

        A frame without parameters is a failure: the mocap could not be fitted there.

        Raises:
            InputMissing: no such folder, or a file of a subject is not there.
            InputCorrupt: a json file cannot be read.
        """
        root = existing(root)
        folder = root / "annotations"
        numbers = subjects(folder)
        if not numbers:
            raise wrong_tree(root, EXPECTED, HINT)
        for subject in numbers:
            yield from _subject(root, folder, subject)


def _subject(root: Path, folder: Path, subject: int) -> Iterator[Fit | FitFailure]:
    start = f"{PREFIX}{subject}"
    parameters = next((path for end in PARAMETERS if (path := folder / (start + end)).is_file()), None)
    path, camera = folder / (start + DATA), folder / f"{start}_camera.json"
    if parameters is None or not camera.is_file():
        raise wrong_tree(folder, EXPECTED, HINT)
    cameras, smpl = read_json(camera, EXPECTED), read_json(parameters, EXPECTED)
    for note, image in notes_and_images(path):
        name, number = image["file_name"], int(note["id"])
        yield attempt(f"{name}#{number}", name, parameters, lambda note=note, image=image: _fit(root, note, image, cameras, smpl))


def _fit(root: Path, note: dict[str, Any], image: dict[str, Any], cameras: dict[str, Any], smpl: dict[str, Any]) -> Fit:
    name, subject = image["file_name"], int(image["subject"])
    fields: Any = smpl
    for key in ("action_idx", "subaction_idx", "frame_idx"):
        fields = take(fields, str(image[key]))
    refuse_unknown(fields, ("pose", "shape", "trans", "fitted_3d_pose"))
    x, y, width, height = (float(value) for value in note["bbox"])
    path = below(root / "images", name)
    return Fit(
        instance_id=f"{name}#{int(note['id'])}",
        image_id=name,
        image_path=path if path.is_file() else None,
        image_size=(image["width"], image["height"]),
        group=f"S{subject}",
        split=side(subject),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=vector("shape", take(fields, "shape")),
        translation=vector("trans", take(fields, "trans")),
        camera=_camera(take(cameras, str(image["cam_idx"]))),
        box=(x, y, x + width, y + height),
    )


def _camera(fields: dict[str, Any]) -> FitCamera:
    place = np.ravel(np.asarray(take(fields, "t"), dtype=np.float64)) * METRES
    return FitCamera("perspective", take(fields, "R"), place, focal=tuple(take(fields, "f")), centre=tuple(take(fields, "c")))
