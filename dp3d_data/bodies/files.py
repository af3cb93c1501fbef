"""Files of body models: the published .pkl and .npz read without running them, and our plain .npz."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from dp3d_data.bodies.model import DOG_JOINTS, DOG_SCALES, BodyModel, dog_scale_basis
from dp3d_data.config import workspace
from dp3d_data.errors import CheckpointError, InputCorrupt, InputMissing, ShapeError, UnsafePickle, UsageError
from dp3d_data.files import write_arrays
from dp3d_data.limits import DAMAGE, read_arrays
from dp3d_data.unpickling import read_pickle

FORMAT = 1
KEYS = ("v_template", "f", "shapedirs", "J_regressor", "kintree_table", "weights")
SMAL_VERTICES = 3889


@dataclass(frozen=True)
class Published:
    """A published model: the words that a name of it holds, where its owner offers it and as what file, and its betas.

    betas tells models of one topology apart by their content, where they differ in it; None where it does not.
    """

    words: tuple[str, ...]
    what: str
    where: str
    file: str
    betas: int | None = None


# BARC's and BITE's dogs have shape spaces of their own, made of other dogs: betas of one mean nothing in the other.
BARC = Published(
    ("barc", "nbj"), "BARC's dog model", "its authors' page, barc.is.tue.mpg.de", "my_smpl_SMBLD_nbj_v3.pkl", 54
)
BITE = Published(
    ("bite", "39dogs"),
    "BITE's dog model",
    "its authors' page, bite.is.tue.mpg.de",
    "my_smpl_39dogsnorm_newv3_dog.pkl",
    39,
)
SMBLD = Published(
    ("smbld", "wldo", "smalify", "00781"),
    "SMBLD, the dog model of WLDO",
    "its authors' page, github.com/benjiebob/WLDO and SMALify",
    "my_smpl_00781_4_all.pkl",
    41,
)
DOGS = (BARC, BITE, SMBLD)
OTHERS = (
    Published(("smal",), "SMAL", "smal.is.tue.mpg.de", "smal_CVPR2017.pkl"),
    Published(
        ("smpl", "basicmodel"),
        "SMPL",
        "smpl.is.tue.mpg.de",
        "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl (or its _f_ and _m_ files)",
    ),
)


def bodies_folder() -> Path:
    """Where `dp3d-data body import` puts body models."""
    return workspace() / "bodies"


def imported_bodies() -> list[str]:
    """The body models that were imported into the workspace."""
    return sorted(path.stem for path in bodies_folder().glob("*.npz"))


def load_body_model(name_or_path: str | Path) -> BodyModel:
    """A body model by its name in the workspace, or from a file: our .npz, or a published .pkl or .npz.

    Raises:
        InputMissing: no such model or file; says where its owner offers it.
        InputCorrupt: not a body model.
        UnsafePickle: a pickle that asks for more than arrays; nothing of it was run.
    """
    path = Path(name_or_path)
    if not path.suffix and path.name == str(name_or_path):
        named = bodies_folder() / f"{path.name}.npz"
        if not named.is_file():
            expected = ", ".join(imported_bodies()) or "none is imported yet"
            raise InputMissing("no body model of that name", got=path.name, expected=expected, hint=offered(path.name))
        path = named
    try:
        with zipfile.ZipFile(path) as archive:
            ours = "dp3d_body.npy" in archive.namelist()
    except DAMAGE:
        ours = False
    if not ours:
        return import_body_model(path)
    model = _read_ours(path)
    _check_claims(path, model.name, model)
    return model


def import_body_model(
    path: str | Path, name: str | None = None, kind: str | None = None, betas: int | None = None
) -> BodyModel:
    """A body model from a published file.

    Args:
        path: .pkl (chumpy and scipy objects included) or .npz with v_template, f, shapedirs, J_regressor,
            kintree_table, weights and, where the model has them, posedirs.
        name: what to call it; the file's stem where not given.
        kind: smpl or smal; by the number of joints and vertices where not given. A smal model of 35 joints has limb
            scales.
        betas: how many to keep; all where not given.

    Raises:
        InputMissing: no such file; says where its owner offers it.
        InputCorrupt: not a body model, or one that is another than its file or name says.
        UnsafePickle: a pickle that asks for more than arrays; nothing of it was run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such body model file", path=path, hint=offered(path.name))
    if betas is not None and betas < 0:
        raise UsageError("a number of betas to keep", got=betas, expected="0 or more")
    content = _content(path)
    try:
        model = _model(content, name or path.stem, kind)
        _check_claims(path, model.name, model)
        return model if betas is None else replace(model, shape_basis=model.shape_basis[..., :betas])
    except InputCorrupt:
        raise
    except (ShapeError, ValueError, TypeError, IndexError, OverflowError) as error:
        got, expected = str(error).replace("\n  ", "; "), f"arrays {', '.join(KEYS)}"
        raise InputCorrupt("not a usable body model", got=got, expected=expected, path=path) from error


def save_body_model(model: BodyModel, path: str | Path) -> Path:
    """Write our .npz without pickles; same model, same bytes; the file appears whole or not at all."""
    arrays: dict[str, Any] = {"dp3d_body": np.array(FORMAT)}
    for field in fields(BodyModel):
        value = getattr(model, field.name)
        if value is not None:
            arrays[field.name] = np.array(value, dtype=np.str_) if isinstance(value, str | tuple) else value
    return write_arrays(path, compressed=False, **arrays)


def offered(name: str) -> str:
    """Where the model of such a name can be had, and how to bring it in."""
    found = claimed(name, (*DOGS, *OTHERS))
    places = [found] if found else list(DOGS) if "dog" in _letters(name) else [*DOGS, *OTHERS]
    texts = [f"{one.what}: register at {one.where}, the file is called {one.file}" for one in places]
    return "; ".join([*texts, "then: dp3d-data body import FILE --name NAME"])


def claimed(name: str, among: tuple[Published, ...] = DOGS) -> Published | None:
    """The published model that a name of a file or an import says to be; None where it says nothing."""
    return next((one for one in among if any(word in _letters(name) for word in one.words)), None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _check_claims(path: Path, name: str, model: BodyModel) -> None:
    """Refuse a dog model whose file, name and content are not of one and the same publication."""
    says = {"file": claimed(path.name), "name": claimed(name)}
    if (model.num_vertices, model.num_joints) == (SMAL_VERTICES, DOG_JOINTS):
        says["content"] = {one.betas: one for one in DOGS}.get(model.num_betas)
    if len({one.what for one in says.values() if one is not None}) > 1:
        got = ", ".join(f"by its {word} {one.what}" for word, one in says.items() if one is not None)
        wanted = says["name"] or says["file"] or BITE
        hint = f"their shape spaces differ, so fits of one do not suit the other; {offered(wanted.file)}"
        raise InputCorrupt("a dog model that is two at once", got=got, expected="one", hint=hint, path=path)


def _content(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() == ".npz":
        content = read_arrays(path, (*KEYS, "posedirs"), "not an .npz of a body model")
    else:
        try:
            content = read_pickle(path)
        except UnsafePickle:
            raise
        except CheckpointError as error:
            expected = "a .pkl or .npz of a body model"
            raise InputCorrupt(error.what, got=error.got, expected=expected, path=path) from error
    missing = [key for key in KEYS if not isinstance(content, dict) or not isinstance(content.get(key), np.ndarray)]
    if missing:
        got = ", ".join(map(str, content))[:200] if isinstance(content, dict) else type(content).__name__
        what = f"no body model: it has no {', '.join(missing)}"
        raise InputCorrupt(what, got=got, expected=", ".join(KEYS), path=path)
    return content


def _model(content: Mapping[str, Any], name: str, kind: str | None) -> BodyModel:
    template, parents = np.asarray(content["v_template"], dtype=np.float64), _parents(content["kintree_table"])
    kind = kind or ("smal" if len(template) == SMAL_VERTICES or len(parents) in (33, DOG_JOINTS) else "smpl")
    scaled = kind == "smal" and len(parents) == DOG_JOINTS
    pose_basis = content.get("posedirs")
    if pose_basis is not None and not isinstance(pose_basis, np.ndarray):
        raise ValueError("posedirs of a kind that cannot be read")
    return BodyModel(
        name=name,
        kind=kind,
        template=template,
        faces=np.asarray(content["f"]).astype(np.int64),
        shape_basis=np.asarray(content["shapedirs"], dtype=np.float64),
        pose_basis=None if pose_basis is None else np.asarray(pose_basis, dtype=np.float64),
        joint_regressor=np.asarray(content["J_regressor"], dtype=np.float64),
        parents=parents,
        weights=np.asarray(content["weights"], dtype=np.float64),
        scale_joints=tuple(name for name, _, _ in DOG_SCALES) if scaled else None,
        scale_basis=dog_scale_basis() if scaled else None,
    )


def _parents(table: np.ndarray) -> Int[np.ndarray, "J"]:
    """Row 0 names each joint's parent, row 1 the joint; the root's parent is a number that no joint has."""
    table = np.asarray(table).astype(np.int64)
    if table.ndim != 2 or len(table) != 2:
        raise ValueError(f"a kintree_table of shape {table.shape}")
    place = {int(joint): number for number, joint in enumerate(table[1])}
    return np.array([place.get(int(parent), -1) for parent in table[0]], dtype=np.int32)


def _read_ours(path: Path) -> BodyModel:
    arrays = read_arrays(path, ("dp3d_body", *(field.name for field in fields(BodyModel))), "a damaged body model")
    try:
        if int(arrays.pop("dp3d_body")) != FORMAT:
            raise ValueError(f"of another format than {FORMAT}")
        known: dict[str, Any] = {"pose_basis": None} | arrays
        known |= {name: known[name].item() for name in ("name", "kind")}
        if "scale_joints" in known:
            known["scale_joints"] = tuple(known["scale_joints"].tolist())
        return BodyModel(**known)
    except (KeyError, TypeError, ValueError) as error:
        raise InputCorrupt("a damaged body model", got=str(error).splitlines()[0], path=path) from error
