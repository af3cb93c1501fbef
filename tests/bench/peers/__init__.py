"""Comparisons with peers: python -m tests.bench.peers.NAME. Peers come with pip install 'dp3d[peers]'."""

import importlib
import importlib.metadata
from types import ModuleType


def peer(module: str, package: str) -> ModuleType | None:
    """A peer, if it is installed; else one line says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(f"{package}: left out ({error}); install it: pip install {package}", flush=True)
        return None


def versions(*packages: str) -> str:
    """Names and versions of those packages that are installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
