"""The fenced blocks and inline commands of README.md and docs/."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.house.source_tree import short
from tests.shared import ROOT

PROGRAM = re.compile(r"^(?:\$ )?((?:[A-Z0-9_]+=\S+ )*)(dp3d-(?:data|model) .*)$")
INLINE = re.compile(r"`(dp3d-(?:data|model) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, first line, info string (`sh run`) and text."""

    path: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{short(self.path)}:{self.line}"


def documents() -> list[Path]:
    """README.md, CONTRIBUTING.md and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a page."""
    found, info, start, lines = [], None, 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if info is None:
                info, start, lines = line[3:].strip(), number + 1, []
            else:
                found.append(Block(path, start, info, "\n".join(lines)))
                info = None
        elif info is not None:
            lines.append(line)
    return found


def fenced_commands(block: Block) -> list[str]:
    """The command lines of our programs in a block, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [match[2] for line in joined.splitlines() if (match := PROGRAM.match(line.strip()))]


def inline_commands(path: Path) -> list[str]:
    """The commands of our programs between single backticks, outside fenced blocks."""
    outside = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return INLINE.findall(outside)


def runnable(path: Path, slow: bool) -> list[Block]:
    """The blocks of a page that a test runs in order in one folder: fenced as `sh run`, and `sh run slow` where asked
    for."""
    wanted = ("sh run", "sh run slow") if slow else ("sh run",)
    return [block for block in blocks(path) if block.info in wanted]


def pages_to_run(slow: bool) -> list[Path]:
    """The pages that have such blocks; each page is run once, by the slow test where a block of it is slow."""
    kinds = {path: {block.info for block in blocks(path)} for path in documents()}
    return [
        path for path, found in kinds.items() if ("sh run slow" in found) is slow and found & {"sh run", "sh run slow"}
    ]
