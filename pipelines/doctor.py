"""What is installed, found and missing on this machine, and the command that mends each."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dp3d_data.categories import CATEGORIES
from dp3d_data.config import cache_dir, workspace
from dp3d_data.errors import Dp3dError

HERE = Path(__file__).parents[1]
CHECKOUT = (HERE / "Makefile").is_file() and (HERE / "pyproject.toml").is_file()  # else an installed wheel
OWN_IMPORTS = {
    "embreex": "pip install embreex",
    "faiss": "pip install faiss-cpu",
    "detectron2": "dp3d-data install-detectron2",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        group: heading it stands under.
        name: what was looked at.
        state: "ok", "missing" (something needed) or "absent" (something optional).
        detail: version, place or reason.
        hint: the command that mends it; empty where nothing is to be mended.
    """

    group: str
    name: str
    state: str
    detail: str
    hint: str = ""


def examine() -> list[Finding]:
    """Look at everything that the commands stand on."""
    return [*python(), *libraries(), *extras(), *native(), *embedded(), *devices(), *folders()]


def setup() -> str:
    """The command that installs everything: in a checkout its own, elsewhere pip's and what detectron2 needs."""
    return "make setup" if CHECKOUT else "pip install dp3d, then: dp3d-data install-detectron2"


def python() -> list[Finding]:
    """The interpreter and the machine."""
    fine = sys.version_info >= (3, 11)
    new = f"{setup()} PYTHON=/path/to/python3.11" if CHECKOUT else f"with Python 3.11 or later: {setup()}"
    hint = "" if fine else new
    return [
        Finding(
            "Python", "python", "ok" if fine else "missing", f"{platform.python_version()} at {sys.executable}", hint
        )
    ]


def declared() -> list[str]:
    """The requirements as the installed project declares them, extras included; empty where it is not installed."""
    try:
        return metadata.requires("dp3d") or []
    except metadata.PackageNotFoundError:
        return []


def state_of(requirement: str) -> tuple[str, str, str]:
    """Name, installed version (or "") and the complaint (or "") of one requirement such as numpy>=1.26."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return wanted.name, "", "not installed"
    complaint = "" if wanted.specifier.contains(version, prereleases=True) else f"{version}, needs {wanted.specifier}"
    return wanted.name, version, complaint


def libraries() -> list[Finding]:
    """Every declared library with its version."""
    if not importlib.util.find_spec("packaging"):
        return [Finding("Libraries", "packaging", "missing", "not installed", setup())]
    if not declared():
        return [Finding("Libraries", "dp3d", "missing", "the project is not installed in this Python", setup())]
    found = []
    for requirement in (line for line in declared() if "extra ==" not in line):
        name, version, complaint = state_of(requirement)
        hint = f"pip install '{requirement}'" if complaint else ""
        found.append(Finding("Libraries", name, "missing" if complaint else "ok", complaint or version, hint))
    return found


def extras() -> list[Finding]:
    """Every optional set of libraries: complete, or what it lacks."""
    lacking: dict[str, list[str]] = {}
    for line in (line for line in declared() if "extra ==" in line):
        requirement, _, marker = line.partition(";")
        extra = marker.split("extra ==")[1].strip(" '\")")
        name, _, complaint = state_of(requirement.strip())
        lacking.setdefault(extra, []).extend([name] if complaint else [])
    return [
        Finding("Optional", extra, "absent", "lacks " + ", ".join(names), f"pip install 'dp3d[{extra}]'")
        if names
        else Finding("Optional", extra, "ok", "complete")
        for extra, names in lacking.items()
    ]


def native() -> list[Finding]:
    """Libraries with compiled parts are loaded, not only looked up."""
    found = []
    for name, hint in OWN_IMPORTS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # detectron2 compiles functions with torch.jit as it is imported
                module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            found.append(Finding("Loaded", name, "missing", str(error).splitlines()[0], hint))
        else:
            found.append(Finding("Loaded", name, "ok", origin(name, module)))
    return found


def origin(name: str, module: object) -> str:
    """Version, distribution and place of an imported module: detectron2 comes under several names."""
    place = Path(getattr(module, "__file__", None) or "").parent
    names = sorted(set(metadata.packages_distributions().get(name, [])))
    parts = [getattr(module, "__version__", "")]
    for distribution in names:
        parts.append(f"{distribution} {metadata.version(distribution)}")
        source = metadata.distribution(distribution).read_text("direct_url.json")
        if source:
            parts.append("from " + json.loads(source).get("url", "?"))
    return " · ".join(part for part in [*parts, str(place)] if part)


def embedded() -> list[Finding]:
    """Templates and models that the project ships: each is read, not only seen."""
    names = sorted({entry.template for entry in CATEGORIES.values() if entry.template})
    models = {entry.model: entry.name for entry in CATEGORIES.values() if entry.model}
    return [shipped_template(name) for name in names] + [shipped_model(model, name) for model, name in models.items()]


def shipped_again(room: str) -> str:
    """The command that brings back files that the project ships in one of its rooms."""
    return f"git checkout -- dp3d_data/{room}" if CHECKOUT else "pip install --force-reinstall --no-deps dp3d"


def shipped_template(name: str) -> Finding:
    """A built-in template, loaded."""
    from dp3d_data.geometry import load_template

    try:
        template = load_template(name)
    except (Dp3dError, OSError) as error:
        return Finding("Shipped", f"template {name}", "missing", str(error), shipped_again("geometry"))
    return Finding("Shipped", f"template {name}", "ok", f"{template.num_vertices} vertices, {template.content_hash}")


def shipped_model(model: str, category: str) -> Finding:
    """An embedded model: its weights fill its network."""
    try:
        from dp3d_data.detection import load_predictor

        predictor = load_predictor(model, category=category)
    except (Dp3dError, ImportError, OSError) as error:
        hint = shipped_again("detection")
        return Finding("Shipped", f"model {model}", "missing", str(error).splitlines()[0], hint)
    millions = sum(weight.numel() for weight in predictor.network.parameters()) / 1e6
    return Finding("Shipped", f"model {model}", "ok", f"{millions:.1f} million weights, finds {category}")


def devices() -> list[Finding]:
    """Processors and CUDA devices."""
    found = [Finding("Machine", "cpu", "ok", f"{os.cpu_count()} cores")]
    if not importlib.util.find_spec("torch"):
        return found
    import torch

    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        text = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        found.append(Finding("Machine", f"cuda:{index}", "ok", text))
    if not torch.cuda.is_available():
        found.append(Finding("Machine", "cuda", "absent", "no CUDA device; everything runs on the CPU"))
    return found


def folders() -> list[Finding]:
    """Whether the workspace and the cache can be written, and the space that is left."""
    found = []
    for name, path, variable in (("workspace", workspace(), "DP3D_WORKSPACE"), ("cache", cache_dir(), "DP3D_CACHE")):
        place = path.resolve()
        parent = next(folder for folder in (place, *place.parents) if folder.exists())
        fine = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        text = (
            f"{place} · {shutil.disk_usage(parent).free / 2**30:.0f} GiB free" if fine else f"{place} cannot be written"
        )
        hint = "" if fine else f"export {variable}=/a/folder/you/can/write"
        found.append(Finding("Folders", name, "ok" if fine else "missing", text, hint))
    return found
