"""The body models that a dataset's fits need, and the posing of fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.bodies.files import load_body_model
from dp3d_data.bodies.model import BodyModel, joint_scales
from dp3d_data.bodies.posing import BodyTensors, body_tensors, pose_body
from dp3d_data.datasets.fits import Fit
from dp3d_data.errors import InputCorrupt, ShapeError, UsageError
from dp3d_data.geometry.mesh_files import read_mesh
from dp3d_data.geometry.projection import project_perspective, to_camera
from dp3d_data.geometry.symmetry import mirrored_vertices

# What a mirrored fit's surface is multiplied by, after left and right have swapped.
MIRROR = np.array([1.0, -1.0, 1.0])
FEWEST_LABELS = 4


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
        hint = (
            "dp3d-data project --body NAME_OR_FILE [--body smpl-male=NAME_OR_FILE]; dp3d-data body list shows the"
            " imported"
        )
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
        self._mirrors: dict[str, Int[np.ndarray, "K"] | None] = {}

    def pose(self, fit: Fit) -> Float[np.ndarray, "K 3"]:
        """The posed vertices in the fit's world, metres; one fit at a time, so that its bytes depend on no other.

        Raises:
            ShapeError: a fit that does not fit its model.
            InputMissing, InputCorrupt: of the file of a posed surface.
        """
        model = self.bodies.of(fit)
        posed = self._posed(fit, model) if fit.mesh_path is None else posed_surface(fit.mesh_path, model)
        posed = posed + fit.translation
        return posed[self._mirror(fit, model)] * MIRROR if fit.mirrored else posed

    def _posed(self, fit: Fit, model: BodyModel) -> Float[np.ndarray, "K 3"]:
        key = _key(fit, self.bodies)
        if key not in self._tensors:
            self._tensors[key] = body_tensors(model)
        scales = None if fit.joint_scales is None else joint_scales(model, fit.joint_scales[None])
        posed = pose_body(self._tensors[key], fit.pose[None], fit.betas[None], None, scales)
        return posed[0].numpy().astype(np.float64)

    def _mirror(self, fit: Fit, model: BodyModel) -> Int[np.ndarray, "K"]:
        key = _key(fit, self.bodies)
        if key not in self._mirrors:
            self._mirrors[key] = mirrored_vertices(model.template, model.faces)
        mirror = self._mirrors[key]
        if mirror is None:
            expected = "one whose left half mirrors its right in y"
            raise ShapeError("a mirrored fit needs a symmetric body model", got=model.name, expected=expected)
        return mirror


def _key(fit: Fit, bodies: Bodies) -> str:
    return fit.body if fit.body in bodies.named else ""


def posed_surface(path: Path, model: BodyModel) -> Float[np.ndarray, "K 3"]:
    """The vertices of a posed surface in a file, which must be the model's own surface.

    Raises:
        InputMissing, InputCorrupt: no such file, no mesh, or one of other vertices or faces than the model's.
    """
    mesh = read_mesh(path)
    if len(mesh.vertices) != model.num_vertices:
        expected = f"{model.num_vertices}, those of {model.name}"
        raise InputCorrupt(
            "a surface of another number of vertices", got=len(mesh.vertices), expected=expected, path=path
        )
    if not np.array_equal(_rolled(mesh.faces), _rolled(model.faces)):
        got, expected = f"{len(mesh.faces)} faces", f"the {len(model.faces)} of {model.name}"
        raise InputCorrupt("a surface with other faces than the body model's", got=got, expected=expected, path=path)
    return np.asarray(mesh.vertices, dtype=np.float64)


def _rolled(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """The faces, each from its smallest vertex on, sorted: the same for every order in which they are listed."""
    faces = np.asarray(faces, dtype=np.int64)
    if not len(faces):
        return faces
    first = faces.argmin(axis=1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    return turned[np.lexsort(turned.T[::-1])]


def check_labels(fit: Fit, model: BodyModel, posed: Float[np.ndarray, "K 3"]) -> None:
    """Compare the joints of the posed body with those that somebody marked in the image, where a fit has them.

    Raises:
        ShapeError: a joint that the model does not have.
        InputCorrupt: half of them lie farther off than a quarter of the marked joints' extent.
    """
    if (
        fit.labels is None
        or len(fit.labels) < FEWEST_LABELS
        or fit.camera.kind != "perspective"
        or fit.camera.focal is None
    ):
        return
    ids = fit.labels[:, 0].astype(int)
    if ids.min() < 0 or ids.max() >= model.num_joints:
        raise ShapeError(
            "marked joints that the body does not have", got=ids.tolist(), expected=f"0 to {model.num_joints - 1}"
        )
    joints = model.joint_regressor[ids] @ posed
    seen = project_perspective(
        to_camera(joints, fit.camera.rotation, fit.camera.translation), fit.camera.focal, fit.camera.centre
    )
    off = float(np.median(np.linalg.norm(seen - fit.labels[:, 1:], axis=1)))
    limit = float(np.ptp(fit.labels[:, 1:], axis=0).max()) / 4
    if off > limit:
        got, expected = f"{off:.0f} pixels off (median of {len(fit.labels)})", f"at most {limit:.0f}"
        raise InputCorrupt("the fit lies beside the joints marked in the image", got=got, expected=expected)
