"""Which class and which mesh of a network stand for a category."""

from __future__ import annotations

from dp3d_data.categories import CATEGORIES
from dp3d_data.categories import category as category_named
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.errors import UsageError


def class_and_mesh(spec: ModelSpec, category: str) -> tuple[int, str]:
    """Class and mesh that stand for a category; the mesh is empty for charts.

    Raises:
        UsageError: this network does not know it.
    """
    entry = category_named(category)
    if spec.kind == "chart":
        if category == "person":
            return 0, ""
        raise UsageError(f"{spec.name} knows people only", got=category, hint="choose a CSE model: dp3d-data zoo list")
    own = next(
        (number for number, name in spec.class_names.items() if name == category and number in spec.class_to_mesh), None
    )
    if own is not None:
        return own, spec.class_to_mesh[own]
    names = {name for name in (entry.template, entry.mesh_4k, entry.mesh_16k) if name}
    for class_id, mesh in spec.class_to_mesh.items():
        if mesh in names:
            return class_id, mesh
    held = sorted(names & set(spec.mesh_sizes))
    if held and spec.num_classes == 1:
        return 0, held[0]
    mesh = spec.class_to_mesh.get(0, "")
    if spec.num_classes == 1 and mesh not in _meshes_of_categories():  # trained by the user, on a template of their own
        return 0, mesh
    if entry.class_id is not None and spec.class_to_mesh.get(entry.class_id) not in {None, *_meshes_of_categories()}:
        return entry.class_id, spec.class_to_mesh[entry.class_id]  # carried to the user's own: dp3d-data template adopt
    known = ", ".join(sorted(spec.class_to_mesh.values()))
    raise UsageError(
        f"{spec.name} does not know {category!r}", expected=f"one of its meshes: {known}", hint="dp3d-data zoo list"
    )


def _meshes_of_categories() -> set[str | None]:
    return {mesh for entry in CATEGORIES.values() for mesh in (entry.template, entry.mesh_4k, entry.mesh_16k)}
