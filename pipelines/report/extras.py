"""What other programs left in folders beside the runs: their pictures, Markdown and JSON, as they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.limits import parse_json, require_size
from pipelines.report import charts, page
from pipelines.report.markup import joined
from pipelines.report.pictures import shown_file

TITLES = {"model": "Parts", "predictions": "Lifted instances", "evaluation": "Evaluation"}
MOST_SHOWN = 1 << 24  # bytes of a json file whose values are shown
_PICTURES = (".png", ".jpg", ".jpeg", ".gif")
_FIRST = ("parts", "turntable", "lift", "predict", "evaluation")
# Sheets of pictures that lie beside them one by one.
SHEETS = ("sheet", "lifted")


def extras(folders: Sequence[Path], limit: int) -> Markup:
    """Pictures, tables and measures that other programs left in the folders, folder by folder, as they are."""
    return joined((_extra(folder, limit) for folder in folders if folder.is_dir()), "\n")


def _extra(folder: Path, limit: int) -> Markup:
    texts = [page.markdown(read_text(path, errors="replace")) for path in _files(folder, (".md",))]
    pictures = sorted(_files(folder, _PICTURES), key=lambda path: (_rank(path), str(path)))
    pictures = [path for path in pictures if path.stem not in SHEETS or len(pictures) == 1][:limit]
    wide: list[Markup] = []
    narrow: list[Markup] = []
    for path in pictures:
        try:
            picture = shown_file(path)
        except (InputCorrupt, InputMissing):
            continue
        (wide if picture.wide else narrow).append(page.figure(picture.address, path.stem.replace("_", " ")))
    grids = [page.grid(figures, cell) for figures, cell in ((narrow, 480), (wide, 1000)) if figures]
    tables = []
    for path in _files(folder, (".json",)):
        if not path.with_suffix(".md").exists() and (rows := _measures(path)):
            tables.append(page.folded(path.name, page.table(["measure", "value"], rows)))
    parts = [*texts, *grids, *tables]
    heading = TITLES.get(folder.name, folder.name.capitalize())
    return joined([*([] if texts else [page.titled(heading)]), *parts], "\n") if parts else Markup("")


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes]


def _rank(path: Path) -> int:
    return next((rank for rank, word in enumerate(_FIRST) if word in path.name.lower()), len(_FIRST))


def _measures(path: Path) -> list[tuple[str, str]]:
    try:
        require_size(path, MOST_SHOWN)
        return list(itertools.islice(_leaves(parse_json(read_text(path)), ""), 200))
    except (ValueError, RecursionError):
        return []


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Single values inside nested dictionaries, with their path; lists of many values are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, float):
        yield name, charts.number(value)
    elif not isinstance(value, list):
        yield name, str(value)
