"""HTML that is safe to join: what is filled into a template is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup


def html(template: str, /, *parts: object, **named: object) -> Markup:
    """A template with its {} and {names} filled; every part that is no Markup itself is escaped."""
    return Markup(template).format(*parts, **named)


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Parts one after the other; those that are no Markup are escaped."""
    return Markup(between).join(parts)
