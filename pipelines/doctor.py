"""dp3d-data doctor and install-detectron2: what is installed, found and missing, with the command that mends each."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click

from dp3d_data.categories import CATEGORIES
from dp3d_data.config import cache_dir, workspace
from dp3d_data.errors import DependencyMissing, Dp3dError
from pipelines.cli.commandline import command, say

HERE = Path(__file__).parents[1]
CHECKOUT = (HERE / "Makefile").is_file() and (HERE / "pyproject.toml").is_file()  # else an installed wheel
OWN_IMPORTS = {
    "embreex": "pip install embreex",
    "faiss": "pip install faiss-cpu",
    "detectron2": "dp3d-data install-detectron2",
}


@dataclasses.dataclass(frozen=True)
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
    detail = f"{platform.python_version()} at {sys.executable}"
    return [Finding("Python", "python", "ok" if fine else "missing", detail, "" if fine else new)]


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
    found = []
    for extra, names in lacking.items():
        state, detail = ("absent", "lacks " + ", ".join(names)) if names else ("ok", "complete")
        found.append(Finding("Optional", extra, state, detail, f"pip install 'dp3d[{extra}]'" if names else ""))
    return found


def native() -> list[Finding]:
    """Libraries with compiled parts are loaded, not only looked up."""
    found = []
    for name, hint in OWN_IMPORTS.items():
        try:
            with warnings.catch_warnings():
                # detectron2 compiles functions with torch.jit as it is imported
                warnings.simplefilter("ignore", FutureWarning)
                module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            found.append(Finding("Loaded", name, "missing", str(error).splitlines()[0], hint))
        else:
            found.append(Finding("Loaded", name, "ok", origin(name, module)))
    return found


def origin(name: str, module: object) -> str:
    """Version, distribution and place of an imported module: detectron2 comes under several names."""
    place = Path(getattr(module, "__file__", None) or "").parent
    parts = [getattr(module, "__version__", "")]
    for distribution in sorted(set(metadata.packages_distributions().get(name, []))):
        parts.append(f"{distribution} {metadata.version(distribution)}")
        source = metadata.distribution(distribution).read_text("direct_url.json")
        if source:
            parts.append("from " + json.loads(source).get("url", "?"))
    return " · ".join(part for part in [*parts, str(place)] if part)


def embedded() -> list[Finding]:
    """Templates and models that the project ships: each is read, not only seen."""
    templates = sorted({entry.template for entry in CATEGORIES.values() if entry.template})
    models = {entry.model: entry.name for entry in CATEGORIES.values() if entry.model}
    found = [_shipped(f"template {name}", "geometry", _template, name) for name in templates]
    return found + [_shipped(f"model {model}", "detection", _model, model, own) for model, own in models.items()]


def shipped_again(package: str) -> str:
    """The command that brings back files that the project ships in one of its packages."""
    return f"git checkout -- dp3d_data/{package}" if CHECKOUT else "pip install --force-reinstall --no-deps dp3d"


def _shipped(name: str, package: str, read: Callable[..., str], *of: str) -> Finding:
    """What a file that the project ships turns out to be when it is read."""
    try:
        return Finding("Shipped", name, "ok", read(*of))
    except (Dp3dError, ImportError, OSError) as error:
        return Finding("Shipped", name, "missing", str(error).splitlines()[0], shipped_again(package))


def _template(name: str) -> str:
    from dp3d_data.geometry import load_template

    template = load_template(name)
    return f"{template.num_vertices} vertices, {template.content_hash}"


def _model(model: str, category: str) -> str:
    from dp3d_data.detection import load_predictor

    predictor = load_predictor(model, category=category)
    millions = sum(weight.numel() for weight in predictor.network.parameters()) / 1e6
    return f"{millions:.1f} million weights, finds {category}"


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
        free = shutil.disk_usage(parent).free / 2**30
        text = f"{place} · {free:.0f} GiB free" if fine else f"{place} cannot be written"
        hint = "" if fine else f"export {variable}=/a/folder/you/can/write"
        found.append(Finding("Folders", name, "ok" if fine else "missing", text, hint))
    return found


MARKS = {"ok": "ok     ", "missing": "MISSING", "absent": "absent "}


@command("doctor", example="dp3d-data doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--brief", is_flag=True, help="Print only what is missing, and one line of summary.")
def doctor(as_json: bool, brief: bool) -> None:
    """Say what is installed, what is found, what is missing, and the command that mends each.

    Libraries with compiled parts are loaded and shipped templates and models are read. Exits with code 10 where
    something needed is missing; what is optional never fails.
    """
    findings = examine()
    missing = [finding for finding in findings if finding.state == "missing"]
    if as_json:
        say(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        show(missing if brief else findings)
    if missing:
        what, names = f"{len(missing)} of {len(findings)} things are missing", ", ".join(one.name for one in missing)
        raise DependencyMissing(what, got=names, hint=missing[0].hint)
    if not as_json:
        say(f"doctor: {len(findings)} things looked at, nothing needed is missing")


def show(findings: list[Finding]) -> None:
    """Print findings under their headings."""
    width = max((len(finding.name) for finding in findings), default=0)
    heading = ""
    for finding in findings:
        if finding.group != heading:
            heading = finding.group
            click.secho(heading, bold=True)
        say(f"  {MARKS[finding.state]} {finding.name:<{width}}  {finding.detail}")
        if finding.hint:
            say(f"          hint: {finding.hint}")


@command("install-detectron2", example="dp3d-data install-detectron2")
def install_detectron2() -> None:
    """Install detectron2's Python code into the Python that runs this command, without a compiler, pinned by hash.

    One that is there is left alone. Needs pip and the package registry.
    """
    from dp3d_data.detection.install_detectron2 import install

    say(f"detectron2 is {install()}")
