"""Templates by name or path: built in, imported into the workspace, or a mesh file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dp3d_data.config import workspace
from dp3d_data.errors import InputMissing, TemplateError, UsageError, did_you_mean
from dp3d_data.geometry.template import Template

DATA = Path(__file__).parent / "data"
SUFFIXES = (".npz", ".obj", ".ply", ".glb")
LICENCES = {"cow": "public domain (spot, Keenan Crane)", "dog": "Apache-2.0 (derived from dm-control's dog)"}


def builtin_names() -> list[str]:
    """The templates that are shipped."""
    return sorted(path.stem for path in DATA.glob("*.npz"))


def imported_folder() -> Path:
    """Where `dp3d-data template import` puts templates."""
    return workspace() / "templates"


def imported_names() -> list[str]:
    """The templates that were imported into the workspace."""
    return sorted(path.stem for path in imported_folder().glob("*.npz"))


def first_imported(names: Iterable[str]) -> str:
    """The first of some names that a template of the workspace has; empty where none has."""
    held = set(imported_names())
    return next((name for name in names if name in held), "")


def is_folder_of_templates(name_or_path: str) -> bool:
    """Whether a folder is named, and no template."""
    return name_or_path not in {"", *builtin_names(), *imported_names()} and Path(name_or_path).is_dir()


def template_in(folder: str | Path, names: Sequence[str]) -> str:
    """The file of a folder of templates that has the first of `names` that there is.

    Raises:
        InputMissing: none of the folder has such a name.
    """
    folder = Path(folder)
    places = [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        got = ", ".join(sorted(place.name for place in folder.iterdir())[:6]) or "an empty folder"
        what, expected = "no template of this category in the folder", " or ".join(names)
        raise InputMissing(what, got=got, expected=expected, path=folder)
    return str(found)


def free_path(name: str, overwrite: bool = False) -> Path:
    """Where a template of that name is to be kept in the workspace.

    Raises:
        UsageError: no name for a template, a built-in one's, or one that is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError("this is no name for a template", got=repr(name), expected="letters, digits, - and _")
    path = imported_folder() / f"{name}.npz"
    if name in builtin_names():
        raise UsageError("a built-in template has that name", got=name, hint="choose another --name")
    if path.exists() and not overwrite:
        raise UsageError("a template of that name exists", got=path, hint="choose another --name, or add --overwrite")
    return path


def load_template(name_or_path: str | Path) -> Template:
    """A template by its name (built in, or imported into the workspace) or from a file (.npz, .obj, .ply, .glb).

    A name never means a file in the working directory: a path has a suffix or a folder in it.

    Raises:
        TemplateError: no template of that name, with the near match; or an unusable mesh.
        InputMissing, InputCorrupt: no such file, or not a mesh.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if not path.suffix and path.name == text:
        for folder in (DATA, imported_folder()):
            if (folder / f"{text}.npz").is_file():
                return Template.load(folder / f"{text}.npz")
        known = builtin_names() + imported_names()
        listing = "dp3d-data template list; or: dp3d-data template import MESH --name NAME"
        hint = did_you_mean(text, known) or listing
        raise TemplateError("no template of that name", got=repr(text), expected=", ".join(known), hint=hint)
    if not path.is_file():
        expected = "a built-in name or .npz, .obj, .ply, .glb"
        raise InputMissing("no such template file", got=text, expected=expected, path=path)
    if path.suffix.lower() == ".npz":
        return Template.load(path)
    from dp3d_data.geometry.mesh_files import import_mesh

    return import_mesh(path)[0]
