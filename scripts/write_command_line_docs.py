"""Write docs/command_line.md from the help texts of both programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from dp3d_data.config import declared
from pipelines.cli.commandline import shown_default
from pipelines.cli.data import main as data
from pipelines.cli.model import main as model

PAGE = Path(__file__).resolve().parent.parent / "docs" / "command_line.md"
HEAD = """# Command line

Written by `python scripts/write_command_line_docs.py` from the help texts; a test keeps it in step.

A command shows the options that most users need. `--set NAME=VALUE` reaches each setting of the table below it;
`--help-all` lists them in the terminal. A value on the command line beats the file that `--config` names, the file
beats the preset, the preset beats the default. A setting that takes several values is given several times.
"""


def sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    """The help of a command and of everything below it, one section each."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    yield f"\n## {context.command_path}\n\n```text\n{plain(command.get_help(context))}\n```\n"
    if getattr(command, "settings", None):
        yield table(command.settings)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from sections(command.get_command(context, child), child, context)


def table(cls: type) -> str:
    """The settings that are no options, for --set."""
    rare = [one for one in declared(cls).values() if not one.field.metadata.get("common", True)]
    rows = [
        (f"`{one.name}`", one.values().replace("|", ", "), shown_default(one), one.field.metadata["help"])
        for one in rare
    ]
    lines = ["| `--set` | value | default | |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n" + "\n".join(lines) + "\n" if rows else ""


def plain(text: str) -> str:
    """Help without trailing blanks, which editors remove."""
    return "\n".join(line.rstrip() for line in click.unstyle(text).splitlines())


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        part for name, group in (("dp3d-data", data), ("dp3d-model", model)) for part in sections(group, name, None)
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
