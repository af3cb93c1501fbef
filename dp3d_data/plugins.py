"""Datasets, annotators and bodies by name: those of the project, and those that other packages add as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dp3d_data.errors import DependencyMissing, UsageError, near_match


def names(group: str, own: Mapping[str, Any]) -> list[str]:
    """Every name of a group, the project's first.

    Args:
        group: of entry points: dp3d.datasets, dp3d.annotators or dp3d.bodies.
        own: the project's, name -> object, or "module:attribute" to import it from.
    """
    return [*own, *sorted({point.name for point in entry_points(group=group)} - set(own))]


def load(group: str, name: str, own: Mapping[str, Any]) -> Any:
    """What a name means. The project's own names cannot be taken by another package.

    Raises:
        UsageError: no such name, with the near match.
        DependencyMissing: the package that adds it cannot be imported.
    """
    found: Any = own[name] if name in own else next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        known = names(group, own)
        what, expected = group.partition(".")[2].removesuffix("s"), "one of " + ", ".join(known)
        raise UsageError(f"unknown {what} {name!r}", expected=expected, hint=near_match(name, known))
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        return getattr(import_module(module), attribute)
    if not isinstance(found, EntryPoint):
        return found
    try:
        return found.load()
    except (ImportError, AttributeError) as error:
        package = found.dist.name if found.dist else found.value
        raise DependencyMissing(f"{name!r} of the package {package} cannot be imported", got=error) from error
