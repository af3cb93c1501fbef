"""Rooms import in one direction, also inside functions."""

import pytest

from tests.house.source_tree import imports, module_name, modules, short

WORDS = {"errors", "config", "device", "files", "logs", "limits", "pickled_arrays", "unpickling", "records", "run_lengths", "categories"}
PURE = WORDS | {"matching", "bodies"}
EDGES = PURE | set("sources fits inference world shards loader filters training report doctor install_detectron2".split())
# room of dp3d_data -> the rooms of dp3d_data that it may import
ALLOWED = {
    "errors": set(),
    "config": {"errors", "files", "limits"},
    "files": {"errors"},
    "logs": {"files"},
    "limits": {"errors", "files"},
    "pickled_arrays": {"errors"},
    "unpickling": {"errors", "files", "limits", "pickled_arrays"},
    "records": {"errors"},
    "run_lengths": {"errors", "records"},
    "categories": {"errors"},
    "device": {"errors"},
    "ranks": {"errors", "device"},
    "commandline": {"errors", "config", "files"},
    "matching": WORDS,
    "bodies": PURE,
    "sources": PURE,
    "inference": PURE,
    "world": PURE | {"sources"},
    "shards": PURE | {"filters"},
    "loader": PURE | {"shards"},
    "filters": PURE,
    "fits": PURE | {"sources"},
    "report": PURE | {"shards", "sources"},
    "doctor": PURE | {"inference", "world"},
    "install_detectron2": {"errors"},
    "training": PURE | {"ranks", "inference", "world"},
    "commands": EDGES | {"commandline"},
    "cli": {"commandline"},
    "__main__": {"cli"},
}
MODEL_MAY_SEE = WORDS - {"categories"} | {"shards", "loader", "bodies", "sources", "commandline", "ranks"}


def room(module: str) -> tuple[str, str]:
    """dp3d_data.bodies.template -> ("dp3d_data", "bodies")."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def allowed(importer: str, imported: str) -> bool:
    """Whether one module may import another."""
    (here, my_room), (there, its_room) = room(importer), room(imported)
    if there not in ("dp3d_data", "dp3d_model", "pipelines", "tests"):
        return True
    if there == "tests":
        return False
    if here == "pipelines":
        return True
    if there == "pipelines":
        return my_room == "commands"
    if here == "dp3d_model":
        return there == "dp3d_model" or its_room in MODEL_MAY_SEE
    if there == "dp3d_model":
        return False
    return my_room == its_room or its_room in ALLOWED.get(my_room, set())


@pytest.mark.parametrize("path", modules(), ids=short)
def test_imports_only_lower_rooms(path):
    wrong = [f"{short(path)}:{line} imports {name}" for line, name in imports(path) if not allowed(module_name(path), name)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "answer"),
    [
        ("dp3d_data.bodies.template", "dp3d_data.errors.MeshIsEmpty", True),
        ("dp3d_data.bodies.template", "dp3d_data.world.World", False),
        ("dp3d_data.errors", "dp3d_data.config.fingerprint", False),
        ("dp3d_data.world.sample", "pipelines.synth", False),
        ("dp3d_data.commands.synth", "pipelines.synth.run", True),
        ("dp3d_data.cli", "dp3d_data.bodies", False),
        ("dp3d_model.camera", "dp3d_data.shards.ShardReader", True),
        ("dp3d_model.camera", "dp3d_data.inference.find_spec", False),
        ("dp3d_data.shards.reader", "dp3d_model.camera", False),
        ("pipelines.demo", "dp3d_model.cli", True),
    ],
)
def test_the_rule_itself(importer, imported, answer):
    assert allowed(importer, imported) is answer


def test_only_inference_imports_detectron2():
    seen = {module_name(path) for path in modules() for _, name in imports(path) if name.split(".")[0] == "detectron2"}
    assert all(room(name) == ("dp3d_data", "inference") for name in seen), sorted(seen)
