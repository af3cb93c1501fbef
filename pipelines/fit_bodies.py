"""The body models that a dataset's fits need, and the posing of fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dp3d_data.bodies.body_files import load_body_model
from dp3d_data.bodies.body_model import BodyModel, joint_scales
from dp3d_data.bodies.body_skinning import BodyTensors, body_tensors, pose_body
from dp3d_data.errors import UsageError
from dp3d_data.fits import Fit


@dataclass(frozen=True)
class Bodies:
    """The model for all fits, and those for the fits of a named body such as smpl-male."""

    main: BodyModel
    named: dict[str, BodyModel]

    def of(self, fit: Fit) -> BodyModel:
        return self.named.get(fit.body, self.main)


def load_bodies(words: Sequence[str]) -> Bodies:
    """Load NAME_OR_FILE for all fits and BODY=NAME_OR_FILE for those of one body.

    Raises:
        UsageError: none or several for all fits, or models that do not share their faces.
        InputMissing, InputCorrupt, UnsafePickle: of the models.
    """
    named = {word.partition("=")[0]: load_body_model(word.partition("=")[2]) for word in words if "=" in word}
    plain = [word for word in words if "=" not in word]
    if len(plain) > 1 or not words:
        hint = "dp3d-data project --body NAME_OR_FILE [--body smpl-male=NAME_OR_FILE]; dp3d-data body list shows the imported"
        raise UsageError("one body model for all fits is needed", got=", ".join(words) or "none", hint=hint)
    main = load_body_model(plain[0]) if plain else next(iter(named.values()))
    for name, model in named.items():
        if model.num_vertices != main.num_vertices or not np.array_equal(model.faces, main.faces):
            got = f"{main.name} and {name}={model.name}"
            raise UsageError("these body models do not share their faces", got=got, expected="models of one topology")
    return Bodies(main, named)


class Poser:
    """Poses fits; holds the models as tensors for the life of a process."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self._tensors: dict[str, BodyTensors] = {}

    def pose(self, fit: Fit) -> Float[np.ndarray, "K 3"]:
        """The posed vertices in the fit's world, metres; one fit at a time, so that its bytes depend on no other.

        Raises:
            ShapeError: a fit that does not fit its model.
        """
        model = self.bodies.of(fit)
        key = fit.body if fit.body in self.bodies.named else ""
        if key not in self._tensors:
            self._tensors[key] = body_tensors(model)
        scales = None if fit.joint_scales is None else joint_scales(model, fit.joint_scales[None])
        posed = pose_body(self._tensors[key], fit.pose[None], fit.betas[None], None, scales)
        return posed[0].numpy().astype(np.float64) + fit.translation
