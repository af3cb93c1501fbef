"""The dataset card of a shard folder: README.md as the Hugging Face hub reads it, filled from the manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dp3d_data.files import write_whole
from dp3d_data.shards.schema import INSTANCE_COLUMNS
from pipelines.report.page import asset, number

CARD = "README.md"
# Names of the hub for a number of rows below each power of ten.
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
_HUB_NAMES = {"val": "validation"}
_SHOWN = ("score", "visible_area", "spread", "pixel_counts", "keypoints_x", "keypoints_y", "true_scale")


def write_card(folder: Path, manifest: Mapping[str, Any], title: str, licence: str) -> Path:
    """Write the card beside the shards."""
    text = card(manifest, title, licence).encode("utf-8", "replace")
    return write_whole(folder / CARD, lambda stream: stream.write(text))


def card(manifest: Mapping[str, Any], title: str, licence: str) -> str:
    """The card's text: `card.md` filled; a function of the manifest alone."""
    template, tally, splits = manifest["template"], manifest["account"], manifest["splits"]
    unit, together = template["unit"], manifest["settings"].get("together", "group") == "group"
    total = sum(split["instances"] for split in splits.values())
    names = {name: _word(_HUB_NAMES.get(name, name)) for name in splits}
    groups = "No group (video, breed, subject) and no image lies in two splits."
    reasons = ", ".join(f"{_plain(reason)} {count:,}" for reason, count in tally["rejected"].items())
    told = {
        "pretty_name": _quoted(title),
        "license": _quoted(licence),
        "category": _quoted(manifest["category"]),
        "size": _SIZES[min(max(len(str(total)) - 3, 0), len(_SIZES) - 1)],
        "data_files": _lines(f"  - split: {names[name]}\n    path: {_word(name + '-*.parquet')}" for name in splits),
        "split_rows": _lines(
            f"  - name: {names[name]}\n    num_examples: {splits[name]['instances']}" for name in splits
        ),
        "title": _plain(title),
        "template": _plain(template["name"]),
        "vertices": f"{template['num_vertices']:,}",
        "hash": _plain(template["hash"]),
        "unit": "" if unit == "unknown" else f" One template unit is {template['factor']:.4g} {_plain(unit)}.",
        "inputs": f"{tally['inputs']:,}",
        "kept": f"{tally['kept']:,}",
        "reasons": reasons or "none",
        "splits": _lines(_split(manifest, name) for name in splits),
        "apart": groups if together else "No image lies in two splits; groups may.",
        "first": _plain(next(iter(splits))).replace('"', " "),
        "columns": _lines(f"| `{c.name}` | {c.text} | {c.unit} |" for c in INSTANCE_COLUMNS),
        "statistics": _lines(_statistics(manifest)),
        "schema_version": manifest["schema_version"],
        "recipe": _plain(manifest["recipe"]),
        "runs": _lines(map(_run, manifest["inputs"])),
    }
    return asset("card.md").format_map(told)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A YAML string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    """A name in YAML: in quotes where it is more than a word."""
    return text if re.fullmatch(r"[A-Za-z][\w-]*", text) else _quoted(text)


def _plain(text: object) -> str:
    """A name in Markdown: nothing in it is a tag, a cell, code or a line."""
    return re.sub(r"[<>&|`\\\s]+", " ", str(text))


def _split(manifest: Mapping[str, Any], name: str) -> str:
    split, size = manifest["splits"][name], sum(e["bytes"] for e in manifest["shards"] if e["split"] == name)
    return (
        f"| {_plain(name)} | {split['instances']:,} | {split['groups']:,} | {split['shards']:,} | {size / 1e6:,.1f} |"
    )


def _statistics(manifest: Mapping[str, Any]) -> Iterable[str]:
    found = {name: manifest["statistics"].get(name, {}) for name in _SHOWN}
    for name, row in found.items():
        if "mean" in row:
            yield f"| `{name}` | " + " | ".join(number(row[key]) for key in ("min", "mean", "max", "std")) + " |"


def _run(run: Mapping[str, Any]) -> str:
    counts = " | ".join(
        f"{run.get('counts', {}).get(name, 0):,}" for name in ("inputs", "instances", "rejects", "failures")
    )
    return f"| {_plain(run['kind'])} | `{_plain(run['recipe'])}` | {counts} |"
