"""The shape of every command: lazy subcommands, options from a configuration, grouped help, clean errors."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import re
import stat
import sys
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from dp3d_data.config import Declared, changed, declared, former_names, from_mapping, from_words, read_toml, workspace
from dp3d_data.errors import Dp3dError, InputMissing, NothingToDo, PathUnusable, UsageError, own_error

# Options beside --out that name what a command writes, where they are texts.
WRITTEN = {"picture": "file", "mesh": "file", "pictures": "folder"}
# As shells have it: 128 and the number of the signal.
INTERRUPTED = 130

# What a terminal obeys instead of showing: control characters, the marks that turn the direction of text; and half
# characters, which no terminal takes.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Text with what a terminal would obey written out, so that a name can neither colour, move nor hide a line."""
    return _OBEYED.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def say(text: str, err: bool = False) -> None:
    """A line for whoever runs the command; nothing in it is executed by the terminal."""
    click.echo(visible(text), err=err)


def say_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and what is known of them, a line each."""
    for name, value in facts:
        say(f"{name:>12}  {value}")


def say_table(head: Sequence[str], rows: Iterable[Sequence[object]], width: int = 120) -> None:
    """Rows under their headings; nothing in them is executed, neither by the terminal nor as rich's own marks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head)
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    Console(width=width, highlight=False).print(table)


@contextmanager
def progress(name: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """A bar, told of inputs, instances and failures that are finished; in a file or pipe only its last state."""
    from rich import progress as rich
    from rich.console import Console

    columns = rich.TextColumn(name), rich.BarColumn(24), rich.MofNCompleteColumn()
    words = rich.TextColumn("{task.fields[rate]}"), rich.TextColumn("{task.fields[fate]}")
    times = rich.TimeElapsedColumn(), rich.TimeRemainingColumn()
    failed = 0
    with rich.Progress(*columns, *words, *times, console=Console()) as bar:
        task = bar.add_task(name, total=total, rate="", fate="")

        def advance(inputs: int, instances: int = 0, failures: int | None = None) -> None:
            nonlocal failed
            failed += failures or 0
            bar.update(task, advance=inputs, fate="" if failures is None else f"failed {failed}")
            row = bar.tasks[0]
            bar.update(task, rate=f"{row.completed / max(row.elapsed or 0.0, 1e-9):.1f} {unit}")

        yield advance


class Command(click.Command):
    """A command whose help shows its options by group and ends with an example; project errors exit with their code.

    Args:
        writes: what its --out names, a "folder" or a "file".
        always: without --out it writes into the workspace.
    """

    def __init__(
        self, *args: Any, example: str = "", writes: str = "folder", always: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.example, self.writes, self.always = example, writes, always
        self.settings: type | None = getattr(self.callback, "settings", None)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an option that is given twice and holds one value: click would take the last without a word."""
        try:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            if name := self._setting_of(error.option_name):
                options = {option for one in self.get_params(ctx) for option in one.opts}
                option = "--" + name.rpartition(".")[2].replace("_", "-")
                now = f"It is {option} now" if option in options else f"Set it by: --set {name}=VALUE"
                raise click.UsageError(f"No such option: {error.option_name}. {now}", ctx) from None
            raise
        for parameter, count in Counter(order).items():
            if count > 1 and isinstance(parameter, click.Option) and not (parameter.multiple or parameter.count):
                raise click.UsageError(f"{parameter.opts[0]} is given {count} times; it takes one value.", ctx)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "extra argument" in error.message:
                more = "An option takes one value: give it again for the next, or a pattern in quotes."
                raise click.UsageError(f"{error.message}. {more}", error.ctx) from None
            raise

    def _setting_of(self, option: str) -> str | None:
        """The setting that was an option once, or is none because few need it."""
        if self.settings is None:
            return None
        leaf = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        found = former_names(self.settings).get(leaf)
        return found or next((name for name, one in declared(self.settings).items() if one.leaf == leaf), None)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        settings = declared(self.settings).items() if self.settings else ()
        own = {name.replace(".", "_"): one.group for name, one in settings}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                groups.setdefault(own.get(parameter.name or "", "Options"), []).append(record)
        general = groups.pop("Options", [])
        for title, rows in [*groups.items(), ("Options", general)]:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if any(parameter.name == "words" for parameter in self.params):
            formatter.write(f"\n{'':{formatter.current_indent}}more: {ctx.command_path} --help-all\n")
        if self.example:
            with formatter.section("Example"):
                for line in self.example.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            options = {one.name for one in self.params if isinstance(one, click.Option)}
            given = {name: value for name, value in ctx.params.items() if name in options}
            self.require_places(given, bool(ctx.params.get("config_file")))
            return super().invoke(ctx)
        except (Dp3dError, OSError, ImportError, ValueError) as error:
            own = own_error(error)
            if own is None:
                raise
            say(f"error: {own}", err=True)
            sys.exit(own.exit_code)
        except KeyboardInterrupt:
            say("interrupted: what was finished stays", err=True)
            sys.exit(INTERRUPTED)

    def require_places(self, values: Mapping[str, Any], more: bool = False) -> None:
        """Refuse, before any work, places of options or settings where nothing can be written; see `require_place`.

        Args:
            values: those given, by name.
            more: a file of settings, which is not read yet, may say where --out is.
        """
        if values.get("out"):
            require_place(values["out"], self.writes)
        elif "out" in values and self.always and not more:
            require_place(workspace(), "folder")
        for name, kind in WRITTEN.items():
            if isinstance(values.get(name), str) and values[name]:
                require_place(values[name], kind)


def require_place(path: str | Path, kind: str = "") -> None:
    """Refuse, before any work, a place where nothing can be written.

    Args:
        kind: what it is to be, a "folder" or a "file"; empty for either.

    Raises:
        PathUnusable: one of the other kind is in the way, or no right.
        OSError, UnicodeEncodeError: a file in the way, no right, a name that is too long or not UTF-8; see `own_error`.
    """
    place = Path(path).absolute()
    str(place).encode()
    for folder in (place, *place.parents):
        with suppress(FileNotFoundError):
            mode = os.stat(folder).st_mode
            break
    if folder == place and kind and stat.S_ISDIR(mode) is not (kind == "folder"):
        raise PathUnusable(os.strerror(errno.EEXIST if kind == "folder" else errno.EISDIR), path=folder)
    if not os.access(folder, os.W_OK):
        raise PathUnusable("nothing can be written here", path=folder)


def shards_folder(path: str | None, category: str) -> Path:
    """The folder that a command looks at: the one given, else the category's shards in the workspace.

    Raises:
        InputMissing: there is none.
    """
    folder = Path(path) if path else workspace(category) / "shards"
    if not folder.is_dir():
        raise InputMissing("no such folder", path=folder, hint="build the shards: dp3d-data build-shards")
    return folder


def runs_in(root: Path) -> list[Path]:
    """The finished runs in a category's part of the workspace."""
    return [root / name for name in ("extract", "synth", "project") if (root / name / "run.json").is_file()]


def each(names: Sequence[str], work: Callable[[str], None]) -> None:
    """Do the work of each category; of several, those that have nothing to work on are told and left out.

    Raises:
        NothingToDo: none has.
    """
    left: list[NothingToDo] = []
    for name in names:
        try:
            work(name)
        except NothingToDo as error:
            left.append(error)
            if len(left) == len(names):
                raise
            say(f"{name}: left out: {error}")


def next_step(kept: int, inputs: int, failed: int, folder: Path, command: str) -> str:
    """What to do after a run: the command that works on what was kept, or what may help where nothing was.

    Raises:
        NothingToDo: every input failed.
    """
    if failed and failed >= inputs:
        got, hint = f"{inputs} inputs, {failed} of them failed", f"dp3d-data failures {folder} says why"
        raise NothingToDo("no instance was kept", got=got, hint=hint, path=folder)
    nothing = "nothing was kept: lower --score or --set min_vertices=N, or look at the overlays"
    return f"next: {command}" if kept else nothing


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is run or asked for help.

    Args:
        lazy: name -> ("module:attribute", one-line help).
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.lazy:
            return None
        module, _, attribute = self.lazy[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


def command(name: str | None = None, *, example: str, **kwargs: Any) -> Callable[[Callable], Command]:
    """Declare a command; its docstring is the help and `example` is shown below the options."""
    settings = {"show_default": True, "max_content_width": 110}
    return click.command(name, cls=Command, example=example, context_settings=settings, **kwargs)


def config_options(
    cls: type, presets: Mapping[str, Callable[[], Mapping[str, Any]]] | None = None, sections: bool = True
) -> Callable[[Callable], Callable]:
    """Options of a configuration: each common setting, --set for any, --config and --preset; gives the built `config`.

    What is given (as an option or by --set) beats the file, the file beats the preset, the preset beats the default.

    Args:
        presets: what gives the values of each preset; the first is taken where none is named.
        sections: common settings of sections are options too; otherwise they are reached by --set alone.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def configured(*args: Any, config_file: str | None = None, words: Sequence[str] = (), **kwargs: Any) -> Any:
            ctx = click.get_current_context()
            options = {name: kwargs.pop(key) for name, key in common.items()}
            default = click.core.ParameterSource.DEFAULT
            told = {name for name in options if ctx.get_parameter_source(common[name]) is not default}
            given = {name: value for name, value in options.items() if name in told}
            config = from_mapping(cls, presets[kwargs.pop("preset_name")]()) if presets else cls()
            if config_file:
                config = changed(config, read_toml(config_file), path=config_file)
            worded = from_words(cls, words)
            if twice := sorted(worded.keys() & given.keys()):
                flag = "--" + declared(cls)[twice[0]].leaf.replace("_", "-")
                got = f"{flag} and --set {twice[0]}"
                raise UsageError(f"{twice[0]!r} is given twice", got=got, expected="one of them")
            config = changed(config, given | worded)
            if (config_file or words) and isinstance(ctx.command, Command):
                own = {"out": kwargs["out"]} if "out" in kwargs else {}
                settings = {name: getattr(config, name) for name in declared(cls) if "." not in name}
                ctx.command.require_places(own | settings)
            return function(*args, config=config, **kwargs)

        shown = {name: one for name, one in declared(cls).items() if sections or "." not in name}
        common = {name: name.replace(".", "_") for name, one in shown.items() if one.field.metadata.get("common", True)}
        setattr(configured, "settings", cls)  # noqa: B010
        text = "Read settings from this TOML file; what is given here wins."
        run: Callable = click.option("--config", "config_file", metavar="FILE", help=text)(configured)
        if len(common) < len(declared(cls)):
            text = "Any setting; again for more."
            run = click.option("--set", "words", multiple=True, metavar="NAME=VALUE", help=text)(run)
        if presets:
            text = "Settings to start from; others win."
            names = list(presets)
            run = click.option("--preset", "preset_name", default=names[0], type=click.Choice(names), help=text)(run)
        for name in reversed(common):
            run = _option(declared(cls)[name], common[name])(run)
        text = "Show every setting and exit."
        shown_all = functools.partial(click.option, is_flag=True, is_eager=True, hidden=True, expose_value=False)
        return shown_all("--help-all", callback=_help_all, help=text)(run)

    return decorate


def _help_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the help with every setting, and leave."""
    if wanted:
        formatter = ctx.make_formatter()
        ctx.command.format_help(ctx, formatter)
        groups: dict[str, list[tuple[str, str]]] = {}
        for one in declared(typing.cast(Any, ctx.command).settings).values():
            text = f"{one.field.metadata.get('help', '')}  [{one.values()}; default: {shown_default(one)}]"
            groups.setdefault(one.group, []).append((one.name, text))
        formatter.write("\nEvery setting, as --set NAME=VALUE and in a file for --config:\n")
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        click.echo(formatter.getvalue().rstrip("\n"))
        ctx.exit()


def shown_default(one: Declared) -> str:
    """The default of a setting, as a file of settings has it."""
    value = one.field.default
    return "none" if value in (None, (), "") else str(value).lower() if isinstance(value, bool) else str(value)


def _option(one: Declared, name: str) -> Callable[[Callable], Callable]:
    """The click option of a common setting: type, choices, default and heading come from its declaration."""
    flag = "--" + one.leaf.replace("_", "-")
    settings: dict[str, Any] = {
        "help": one.field.metadata.get("help", ""),
        "default": one.field.default,
        "multiple": one.several,
        "show_default": one.field.default not in (None, (), ""),
    }
    if one.item is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, **settings)
    choices = one.field.metadata.get("choices")
    if choices and "" in choices:
        settings["metavar"] = f"[{one.values()}]"
    settings["type"] = click.Choice(choices) if choices else {int: int, float: float}.get(one.item, str)
    return click.option(flag, name, **settings)
