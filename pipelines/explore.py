"""The page to look through a dataset: instances in a grid, found, sorted, compared and chosen, and lists of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from dp3d_data.errors import UsageError
from dp3d_data.files import write_text
from dp3d_data.shards.inputs import SHARDS
from dp3d_data.shards.plan import SPLITS
from pipelines.catalogue import NOTHING, Catalogue, unit_and_text
from pipelines.local_page import Reply
from pipelines.report.page import asset, html, page
from pipelines.report.viewer import safe_json

BINS, MOST_KINDS, ALIKE = 24, 40, 12
SIDES = {"small": 176, "large": 720}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,80}")


class Explorer:
    """What the page asks of a catalogue.

    Args:
        lists: folder into which lists are written.
    """

    def __init__(self, catalogue: Catalogue, lists: Path) -> None:
        self.catalogue, self.lists = catalogue, lists
        self.gets = {"": self.page, "picture": self.picture, "one": self.one}
        self.posts = {"rows": self.rows, "save": self.save}

    def page(self, _: Mapping[str, Any]) -> Reply:
        """The whole page; instances come later, a screen at a time."""
        found = self.catalogue.found
        category = self.catalogue.kinds["category"].unique().to_pylist()
        title = f"{', '.join(category[:3])}: {len(self.catalogue):,} instances"
        words = f"{found.folder} · {found.kind} · template {self.catalogue.template.name}"
        body = html(asset("explore.html"), style=Markup(asset("explore.css")), facts=safe_json(self.facts()))
        text = page(title, words, [("Instances", body)], "dp3d", asset("explore.js"), served=True)
        return Reply(text, "text/html; charset=utf-8")

    def facts(self) -> dict[str, Any]:
        """The columns that vary: of few values with counts, of numbers with histogram; and the choice of splits."""
        kinds = {}
        for name, column in self.catalogue.kinds.items():
            counts = {one["values"]: one["counts"] for one in column.value_counts().to_pylist()}
            if 1 < len(counts) <= MOST_KINDS:
                kinds[name] = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        known = {name: values[np.isfinite(values)] for name, values in self.catalogue.numbers.items()}
        numbers = {name: _histogram(values) for name, values in known.items() if values.min() < values.max()}
        words = {name: unit_and_text(name) for name in (*self.catalogue.kinds, *numbers)}
        found = {"kinds": kinds, "numbers": numbers, "words": words}
        return {"count": len(self.catalogue), "splits": self.splits, **found}

    @property
    def splits(self) -> list[str]:
        """The splits that a list may put instances in."""
        own = self.catalogue.kinds["split"].unique().to_pylist() != [NOTHING]
        return [*(["as it is"] if own else []), *SPLITS]

    def rows(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """A screen of instances, from `start` on, with the value that they are sorted by; with `all` every row."""
        rows, distance = self.catalogue.rows(query)
        if query.get("all"):
            return {"rows": rows.tolist()}
        start = max(int(query.get("start", 0)), 0)
        some = rows[start : start + min(int(query.get("count", 60)), 500)]
        shown = [self._card(int(row), query, distance) for row in some]
        return {"total": len(rows), "rows": shown}

    def _card(self, row: int, query: Mapping[str, Any], distance: np.ndarray | None) -> dict[str, Any]:
        value = ""
        if query.get("sort"):
            value = self._text(str(query["sort"]), row)
        elif distance is not None:
            value = f"{distance[row]:.3f} away" if np.isfinite(distance[row]) else "first" if query.get("near") else ""
        return {"row": row, "name": self.catalogue.texts["instance_id"][row].as_py(), "value": value}

    def _text(self, name: str, row: int) -> str:
        if name in self.catalogue.numbers:
            value = float(self.catalogue.numbers[name][row])
            return NOTHING if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return {**self.catalogue.kinds, **self.catalogue.texts}[name][row].as_py() or NOTHING

    def picture(self, words: Mapping[str, Any]) -> Reply:
        """One instance, small or large, with or without its keypoints."""
        row = self._row(words)
        return Reply(
            self.catalogue.picture(row, SIDES[words["size"]], words.get("dots") == "1"), "image/jpeg", kept=True
        )

    def one(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """All that is known of an instance, and those most like it."""
        row, found = self._row(words), self.catalogue
        names = [*found.texts, *found.kinds, *found.numbers]
        values = [(name, self._text(name, row), *unit_and_text(name)) for name in names]
        near = [{"row": other, "value": f"{apart:.3f} away"} for other, apart in found.similar(row, ALIKE)]
        return {"row": row, "values": [one for one in values if one[1] != NOTHING], "similar": near}

    def _row(self, words: Mapping[str, Any]) -> int:
        row = int(words["row"])
        if not 0 <= row < len(self.catalogue):
            raise UsageError("no such instance", got=row, expected=f"0..{len(self.catalogue) - 1}")
        return row

    def save(self, wanted: Mapping[str, Any]) -> dict[str, str]:
        """Write the chosen instances as a list that build-shards takes, and tell the command.

        Args:
            wanted: rows; name of the file; split: one of `splits`, or "out" to leave them out.

        Raises:
            UsageError: nothing chosen, no such split or file name, or a name that no line of a list can hold.
        """
        rows, split = np.unique(np.asarray(wanted["rows"], dtype=np.int64)), str(wanted["split"])
        if not len(rows):
            raise UsageError("nothing is chosen", hint="choose instances by the boxes in their corners")
        if not _NAME.fullmatch(str(wanted["name"])):
            raise UsageError("no name of a file", got=wanted["name"], expected="letters, digits, - _ . and spaces")
        if split not in ("out", *self.splits):
            raise UsageError("no such split", got=split, expected=", ".join(("out", *self.splits)))
        self.lists.mkdir(parents=True, exist_ok=True)
        path = write_text(_free(self.lists / str(wanted["name"])), self._list(rows, split))
        return {"path": str(path), "command": self._command(path, split), "count": str(len(rows))}

    def _list(self, rows: np.ndarray, split: str) -> str:
        lines = [f"# {len(rows)} instances of {str(self.catalogue.found.folder)!r}"]
        for row in rows.tolist():
            name = self.catalogue.texts["instance_id"][row].as_py()
            if not name or name != name.strip() or "\n" in name:
                raise UsageError("a list holds a name a line, without space around it", got=repr(name))
            name = f" {name}" if name.startswith("#") else name
            own = self._text("split", row) if split == "as it is" else split
            lines.append(f"{name},{own}")
        return "\n".join(lines) + "\n"

    def _command(self, path: Path, split: str) -> str:
        """The build that goes on from the list."""
        found = self.catalogue.found
        words = ["dp3d-data", "build-shards", "--input", str(found.folder), "--out", f"{found.folder}-chosen"]
        kept = ["--split", "kept"] if found.kind == SHARDS else []
        words += [*(kept if split == "out" else []), "--split-list", str(path)]
        return shlex.join(words)


def _free(path: Path) -> Path:
    """The path, or with a number behind its name where there is such a file."""
    number, free = 2, path
    while free.exists():
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free


def _histogram(values: np.ndarray) -> dict[str, Any]:
    counts, ends = np.histogram(values, BINS)
    return {"low": float(ends[0]), "high": float(ends[-1]), "counts": counts.tolist()}
