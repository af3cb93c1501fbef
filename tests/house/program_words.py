"""The commands of both programs, walked through click."""

import shlex
from collections.abc import Iterator

import click

from dp3d_data.config import from_words
from pipelines.cli.data import main as data
from pipelines.cli.model import main as model

PROGRAMS = {"dp3d-data": data, "dp3d-model": model}


def walk(group: click.Group, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group with its full name, groups included."""
    yield prefix, group
    context = click.Context(group)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        if isinstance(child, click.Group):
            yield from walk(child, (*prefix, name))
        else:
            yield (*prefix, name), child


def all_commands() -> dict[str, click.Command]:
    """Full name -> command: "dp3d-data template show"."""
    return {" ".join(names): command for name, group in PROGRAMS.items() for names, command in walk(group, (name,))}


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line of words names, and the words left over for it.

    Raises:
        LookupError: no such command.
    """
    if words[0] not in PROGRAMS:
        raise LookupError(f"no program {words[0]!r}")
    command, rest = PROGRAMS[words[0]], words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        child = command.get_command(click.Context(command), rest[0])
        if child is None:
            raise LookupError(f"no command {rest[0]!r} in {' '.join(words)!r}")
        command, rest = child, rest[1:]
    return command, rest


def parse(line: str) -> None:
    """Parse a whole command line as click would, without running it.

    Raises:
        LookupError: no such command.
        click.UsageError: an unknown option, a bad value or a missing argument.
        ConfigError: --set of no such setting, or of a bad value.
    """
    command, rest = find(shlex.split(line, comments=True))
    try:
        context = command.make_context(command.name, rest)
    except click.exceptions.Exit:
        return
    if words := context.params.get("words"):
        from_words(command.settings, words)


def options(command: click.Command) -> set[str]:
    """Every spelling of every option of a command."""
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"--help", "--version"}
