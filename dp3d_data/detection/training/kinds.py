"""The kinds of animals that one network learns: a template each, the class it is, and whether pixels are matched to
it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dp3d_data.categories import category
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.errors import UsageError
from dp3d_data.geometry import Template, load_template

OTHER = "other"
ENTRY = re.compile(r"(?P<name>\w+)(?P<matched>[=~])(?P<template>[^:]+?)(:(?P<share>[0-9.]+))?")
EXPECTED = (
    "CLASS=TEMPLATE, or CLASS~TEMPLATE without matches, each with :SHARE, such as"
    " dog=dog:6,dog~husky.glb:1,other~deer.glb"
)


@dataclass(frozen=True)
class Kind:
    """A template whose renders a network learns from.

    name: of its class; matched: whether pixels are matched to its vertices, else only box and mask are learned.
    share: of the renders, over all kinds about 1.
    """

    name: str
    template: Template
    matched: bool
    share: float


def kinds_of(config: TrainCseConfig) -> tuple[Kind, ...]:
    """The kinds of a training: those asked for, else the category's template alone.

    Raises:
        UsageError: a text that is none, no template, or a class that is matched to two.
    """
    if not config.kinds:
        return (Kind(config.category, _template_of(config), True, 1.0),)
    found = [_kind(text.strip(), config.rigs) for text in config.kinds.split(",") if text.strip()]
    matched = [one.name for one in found if one.matched]
    if not matched or len(set(matched)) < len(matched) or OTHER in matched:
        raise UsageError("every class but 'other' is matched to one template", got=config.kinds, expected=EXPECTED)
    total = sum(one.share for one in found)
    return tuple(replace(one, share=one.share / total) for one in found)


def class_names(kinds: tuple[Kind, ...]) -> list[str]:
    """Classes in order: those that are matched, then the others."""
    matched = [one.name for one in kinds if one.matched]
    return matched + sorted({one.name for one in kinds} - set(matched))


def _kind(text: str, rigs: str) -> Kind:
    entry = ENTRY.fullmatch(text)
    if entry is None:
        raise UsageError("no kind of animal", got=text, expected=EXPECTED)
    place = entry["template"]
    template = load_template(Path(rigs) / place if "." in place and rigs else place)
    return Kind(entry["name"], template, entry["matched"] == "=", float(entry["share"] or 1))


def _template_of(config: TrainCseConfig) -> Template:
    name = config.template or category(config.category).template
    if not name:
        raise UsageError(f"no built-in template for {config.category!r}", hint="give your mesh: --template MESH.obj")
    return load_template(name)
