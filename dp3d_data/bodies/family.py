"""Body models as fitters change them before they fit: the mean figure of a family, and the surface made symmetric."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dp3d_data.bodies.model import BodyModel
from dp3d_data.errors import InputCorrupt, ShapeError
from dp3d_data.geometry.symmetry import mirrored_vertices
from dp3d_data.unpickling import read_pickle

MEANS = "cluster_means"


def family_model(model: BodyModel, path: str | Path, family: int) -> BodyModel:
    """The model with the mean figure of a family as its surface at zero betas, as SMALify has it.

    Args:
        path: the pickle of SMAL's families: my_smpl_data_00781_4_all.pkl.
        family: 0 cats, 1 dogs, 2 horses, 3 cows, 4 hippos.

    Raises:
        InputMissing, InputCorrupt, UnsafePickle, CheckpointError: no such file, or without families.
        ShapeError: no such family, or means of another number of betas than the model's.
    """
    content = read_pickle(path)
    means = content.get(MEANS) if isinstance(content, dict) else None
    if not isinstance(means, np.ndarray) or means.ndim != 2 or means.dtype.kind != "f":
        got = ", ".join(map(str, content))[:200] if isinstance(content, dict) else type(content).__name__
        raise InputCorrupt("no families of shapes", got=got, expected=f"{MEANS} [families, betas]", path=path)
    if not 0 <= family < len(means) or means.shape[1] > model.num_betas:
        expected = f"family 0 to {len(means) - 1} of at most {model.num_betas} betas"
        raise ShapeError(
            "a family that does not fit the model", got=f"family {family} of {means.shape[1]} betas", expected=expected
        )
    return replace(model, template=model.template + model.shape_basis[..., : means.shape[1]] @ means[family])


def symmetric_model(model: BodyModel) -> BodyModel:
    """The model with an exactly symmetric surface at zero betas, as SMALify and WLDO make it.

    The mean of all coordinates is taken from each of them; the middle line is moved to y = 0; what lies beyond it
    becomes the mirror image of what lies at negative y. So the surface moves, too: fits place the moved one.

    Raises:
        ShapeError: the surface has no left and right.
    """
    mirror = mirrored_vertices(model.template, model.faces)
    if mirror is None:
        raise ShapeError("this body model has no left and right to make symmetric", got=model.name)
    surface = model.template - model.template.mean()
    middle = mirror == np.arange(len(mirror))
    surface[:, 1] -= surface[middle, 1].mean() if middle.any() else 0.0
    surface[middle, 1] = 0
    copied = surface[mirror] * (1, -1, 1)
    beyond = surface[:, 1] > surface[mirror, 1]
    return replace(model, template=np.where(beyond[:, None], copied, surface))
