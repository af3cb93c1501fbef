"""SMAL fits of Stanford Dogs: one npz, pkl or json a photograph, in the folders of the photographs' breeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dp3d_data.datasets.fits.fields import fit_camera, plain_fields
from dp3d_data.datasets.fits.layout import attempt, read_fields
from dp3d_data.datasets.fits.records import Fit, FitFailure
from dp3d_data.datasets.fits.smal import smal_numbers
from dp3d_data.datasets.stanford_dogs import breed
from dp3d_data.datasets.trees import existing, split_lists, wrong_tree
from dp3d_data.errors import InputCorrupt

EXPECTED = "fits/BREED/NAME.npz (or .pkl, .json) and Images/BREED/NAME.jpg"
HINT = "the photographs: http://vision.stanford.edu/aditya86/ImageNetDogs; write fits of yours in the neutral json: --dataset neutral"
ENDINGS = (".json", ".npz", ".pkl")


class StanfordDogs:
    """Fits below `fits/`, photographs below `Images/` (or `images/`), masks below `masks/` as NAME.png.

    `fits/BREED/NAME.*` belongs to `Images/BREED/NAME.jpg`; the flat form of WLDO, `fits/BREED_NAME.npz`, is understood.
    A dog's breed is its group. Optional lists train.txt, val.txt and test.txt name photographs, BREED/NAME.jpg a line.
    """

    name = "stanford-dogs"
    body = "smal"

    def read(self, root: Path) -> Iterator[Fit | FitFailure]:
        """Every fit in the order of the photographs' names; one that cannot be read is a failure.

        Raises:
            InputMissing: no such folder, or no fit in it.
        """
        root = existing(root)
        paths = sorted((_image(path.relative_to(root / "fits")), path) for path in (root / "fits").rglob("*") if path.suffix in ENDINGS)
        if not paths:
            raise wrong_tree(root, EXPECTED, HINT)
        folder = root / "images" if (root / "images").is_dir() else root / "Images"
        splits, seen = split_lists(root), set()
        for image, path in paths:
            if image in seen:
                yield FitFailure(f"{image}#0", image, path, InputCorrupt.__name__, "a second fit of the same photograph")
                continue
            seen.add(image)
            place, mask = folder / image, (root / "masks" / image).with_suffix(".png")
            known: dict[str, Any] = {"instance_id": f"{image}#0", "image_id": image, "group": breed(image)}
            known |= {"split": splits.get(image), "image_path": place if place.is_file() else None}
            known["mask_path"] = mask if mask.is_file() else None
            yield attempt(f"{image}#0", image, path, lambda path=path, known=known: _fit(path, known))


def _image(path: Path) -> str:
    """BREED/NAME.npz, or BREED_NAME.npz where NAME begins with the number of the breed -> BREED/NAME.jpg."""
    name = PurePosixPath(path.with_suffix("").as_posix())
    number, dash, _ = name.name.partition("-")
    if len(name.parts) == 1 and dash and (cut := name.name.find(f"_{number}_")) > 0:
        return f"{name.name[:cut]}/{name.name[cut + 1:]}.jpg"
    return f"{name}.jpg"


def _fit(path: Path, known: dict[str, Any]) -> Fit:
    fields = plain_fields(read_fields(path))
    return Fit(
        **known,
        **smal_numbers(fields),
        image_size=fields.get("image_size"),
        body="smal",
        camera=fit_camera(fields),
        box=None if fields.get("box") is None else tuple(np.ravel(fields["box"])),
    )
