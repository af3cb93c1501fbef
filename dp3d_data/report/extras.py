"""What other programs left in folders beside the runs: their pictures, Markdown and JSON, as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dp3d_data.errors import InputCorrupt
from dp3d_data.files import read_text
from dp3d_data.report import charts, page
from dp3d_data.report.pictures import file_address, is_wide

TITLES = {"model": "Parts", "predictions": "Lifted instances", "evaluation": "Evaluation"}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif")
_FIRST = ("parts", "turntable", "lift", "predict", "evaluation")
# Sheets of pictures that lie beside them one by one.
SHEETS = ("sheet", "lifted")


def extras(folders: Sequence[Path], limit: int) -> str:
    """Pictures, tables and measures that other programs left in the folders, folder by folder, as they are."""
    return "\n".join(_extra(folder, limit) for folder in folders if folder.is_dir())


def _extra(folder: Path, limit: int) -> str:
    texts = [page.markdown(read_text(path, errors="replace")) for path in _files(folder, (".md",))]
    pictures = sorted(_files(folder, _PICTURES), key=lambda path: (_rank(path), str(path)))
    pictures = [path for path in pictures if path.stem not in SHEETS or len(pictures) == 1][:limit]
    wide: list[str] = []
    narrow: list[str] = []
    for path in pictures:
        try:
            figure = page.figure(file_address(path), path.stem.replace("_", " "))
        except InputCorrupt:
            continue
        (wide if is_wide(path) else narrow).append(figure)
    grids = [page.grid(figures, cell) for figures, cell in ((narrow, 480), (wide, 1000)) if figures]
    tables = []
    for path in _files(folder, (".json",)):
        if not path.with_suffix(".md").exists() and (rows := _measures(path)):
            tables.append(page.folded(path.name, page.table(["measure", "value"], rows)))
    parts = [*texts, *grids, *tables]
    heading = TITLES.get(folder.name, folder.name.capitalize())
    return "\n".join([*([] if texts else [f"<h3>{heading}</h3>"]), *parts]) if parts else ""


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes]


def _rank(path: Path) -> int:
    return next((rank for rank, word in enumerate(_FIRST) if word in path.name.lower()), len(_FIRST))


def _measures(path: Path) -> list[tuple[str, str]]:
    try:
        content = json.loads(read_text(path))
    except ValueError:
        return []
    return list(_leaves(content, ""))[:200]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Single values inside nested dictionaries, with their path; lists of many values are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, float):
        yield name, charts.number(value)
    elif not isinstance(value, list):
        yield name, str(value)
