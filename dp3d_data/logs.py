"""Logs of lines of JSON, which grow as a training goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp3d_data.files import write_whole


def trim_lines(path: Path, step: int) -> None:
    """Keep the lines of a log that are whole and of no later step: what a training that goes on from there writes
    after."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= step]
        if kept != lines:
            write_whole(path, lambda stream: stream.writelines(kept))


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return float("inf")


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """One more line of JSON; a kill in between tears this line alone, and trim_lines drops it."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(content) + "\n")
