"""UP-3D: one pickle of pose, shape and camera beside each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp3d_data.bodies.model_files import read_pickle
from dp3d_data.fits.layout import attempt, axis_angle, joints, picture_size, take
from dp3d_data.fits.records import Fit, FitCamera, FitFailure
from dp3d_data.sources.trees import existing, wrong_tree
from dp3d_data.sources.up3d import ENDING as IMAGE_ENDING
from dp3d_data.sources.up3d import HINT, images_folder, official_splits

EXPECTED = "NNNNN_body.pkl and NNNNN_image.png, in this folder or in up-3d/ below it"
ENDING = "_body.pkl"


class Up3d:
    """The folder `up-3d` of the archive: NNNNN_body.pkl, NNNNN_image.png, and the lists
    train.txt, val.txt, trainval.txt and test.txt; what stands in trainval.txt alone is train.

    A pickle holds pose [72], betas [10], trans [3], and of the camera rt [3] (axis-angle), t [3] and f (pixels); the
    principal point is the image's centre, so the image must be there.
    """

    name = "up3d"
    body = "smpl"

    def read(self, root: Path) -> Iterator[Fit | FitFailure]:
        """Every fit in the order of the files' names; a pickle that cannot be read or whose image is missing is a failure.

        Raises:
            InputMissing: no such folder, or no fit in it.
        """
        folder = images_folder(existing(root))
        paths = sorted(folder.glob(f"*{ENDING}"))
        if not paths:
            raise wrong_tree(folder, EXPECTED, HINT)
        splits = official_splits(folder)
        for path in paths:
            image = path.with_name(path.name.removesuffix(ENDING) + IMAGE_ENDING)
            yield attempt(f"{image.name}#0", image.name, path, lambda path=path, image=image: _fit(path, image, splits))


def _fit(path: Path, image: Path, splits: dict[str, str]) -> Fit:
    fields = read_pickle(path)
    width, height = picture_size(image)
    focal = float(np.asarray(take(fields, "f")).reshape(-1)[0])
    return Fit(
        instance_id=f"{image.name}#0",
        image_id=image.name,
        image_path=image,
        image_size=(width, height),
        group=image.name,
        split=splits.get(image.name),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=np.ravel(take(fields, "betas")),
        translation=np.ravel(take(fields, "trans")),
        camera=FitCamera(
            "perspective",
            axis_angle(take(fields, "rt")),
            np.ravel(take(fields, "t")),
            focal=(focal, focal),
            centre=(width / 2, height / 2),
        ),
    )
