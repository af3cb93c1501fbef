"""The neutral json of fits: versioned, documented, and what other layouts convert to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets import BadInstance, Dataset
from dp3d_data.datasets.fits import Fit, FitCamera, attempt, failure, fit_camera, joints, take
from dp3d_data.datasets.locations import read_json, require_tree
from dp3d_data.errors import InputCorrupt
from dp3d_data.files import write_text

SCHEMA, VERSION = "dp3d.fits", 1
EXPECTED = f'json files with {{"schema": "{SCHEMA}", "version": {VERSION}, "fits": [...]}}'
HINT = "docs/fits.md describes the fields"
NAMES = frozenset(
    "instance_id image_id image image_size group split body pose betas translation joint_scales camera box mask"
    " mesh mirrored labels source_dataset source_quality".split(),
)


class Neutral(Dataset):
    """A json file, or a folder of them; paths of images and masks are relative to the file that names them."""

    name = "neutral"

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(EXPECTED)
        paths = [root] if root.is_file() else sorted(root.glob("*.json"))
        require_tree(paths, root, EXPECTED, HINT)
        seen: set[str] = set()
        for path in paths:
            for number, fields in enumerate(_entries(path)):
                known = fields if isinstance(fields, dict) else {}
                identity = str(known.get("instance_id") or f"{path.name}#{number}")
                image = str(known.get("image_id") or known.get("image") or identity.partition("#")[0])
                if identity in seen:
                    yield failure(identity, image, path, InputCorrupt("a second fit of the same instance_id"))
                    continue
                seen.add(identity)
                yield attempt(identity, image, path, _fit, fields, path.parent)


def _fit(fields: dict[str, Any], folder: Path, **names: Any) -> Fit:
    unknown = sorted(set(fields) - NAMES)
    if unknown:
        raise InputCorrupt("unknown fields", got=", ".join(unknown), expected=", ".join(sorted(NAMES)))
    image, mask, mesh, size, box = (fields.get(name) for name in ("image", "mask", "mesh", "image_size", "box"))
    take(fields, "instance_id")
    split = fields.get("split")
    return Fit(
        **names,
        image_path=None if image is None else folder / image,
        image_size=size,
        group=str(fields.get("group") or ""),
        split=None if split is None else str(split),
        body=str(take(fields, "body")),
        pose=np.zeros((0, 3)) if mesh is not None else joints(take(fields, "pose")),
        betas=np.zeros(0) if mesh is not None else take(fields, "betas"),
        translation=take(fields, "translation"),
        joint_scales=fields.get("joint_scales"),
        camera=fit_camera(fields),
        box=None if box is None else tuple(box),
        mask_path=None if mask is None else folder / mask,
        mesh_path=None if mesh is None else folder / mesh,
        mirrored=bool(fields.get("mirrored", False)),
        labels=fields.get("labels"),
        source_dataset=fields.get("source_dataset"),
        source_quality=fields.get("source_quality"),
    )


def write_fits(path: str | Path, fits: Iterable[Fit]) -> int:
    """Write fits as neutral json, whole or not at all; how many. Reading gives the same fits, to the last digit."""
    path = Path(path)
    entries = [_entry(fit, path.parent) for fit in fits]
    text = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    write_text(path, f'{{"schema": "{SCHEMA}", "version": {VERSION}, "fits": [\n{text}\n]}}\n')
    return len(entries)


def _entry(fit: Fit, folder: Path) -> dict[str, Any]:
    """The fields that say something, in JSON's types; paths relative to the folder."""
    fields = {name.removesuffix("_path"): _plain(value, folder) for name, value in vars(fit).items()}
    needless = {"pose", "betas"} if fit.mesh_path is not None else set()
    needless |= set() if fit.mirrored else {"mirrored"}
    return {name: value for name, value in fields.items() if value is not None and name not in needless}


def _plain(value: Any, folder: Path) -> Any:
    if isinstance(value, FitCamera):
        return {name: _plain(own, folder) for name, own in vars(value).items() if own is not None}
    if isinstance(value, Path):
        return Path(os.path.relpath(value, folder)).as_posix()
    return value.tolist() if isinstance(value, np.ndarray) else value


def _entries(path: Path) -> list[Any]:
    data = read_json(path, EXPECTED, HINT)
    schema = (data.get("schema"), data.get("version")) if isinstance(data, dict) else type(data).__name__
    if schema != (SCHEMA, VERSION) or not isinstance(data.get("fits"), list):
        what = "not a file of fits that this version reads"
        raise InputCorrupt(what, got=schema, expected=EXPECTED, hint=HINT, path=path)
    return data["fits"]
