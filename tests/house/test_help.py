"""Help is product: every command says what it does, every option has a text, every example works."""

import ast
import re

import click
import pytest

from dp3d_data.config import declared
from dp3d_data.errors import ConfigError
from tests.house.program_words import all_commands, options, parse
from tests.house.source_tree import ROOT, modules, short, tree

MOST, MOST_IN_ALL = 25, 250


@pytest.fixture(scope="module")
def commands():
    return all_commands()


def test_every_command_says_what_it_does(commands):
    assert not [name for name, command in commands.items() if not (command.help or "").strip()]


def test_no_command_shows_more_options_than_a_user_can_read(commands):
    counts = {
        name: sum(isinstance(one, click.Option) and not one.hidden for one in command.params)
        for name, command in commands.items()
    }
    assert not {name: count for name, count in counts.items() if count > MOST}
    assert sum(counts.values()) <= MOST_IN_ALL


def test_help_names_no_option_that_is_none(commands):
    """Texts of options and settings that mention another option of the command."""
    wrong = []
    for name, command in commands.items():
        settings = declared(command.settings).values() if getattr(command, "settings", None) else ()
        texts = [one.help or "" for one in command.params if isinstance(one, click.Option)]
        texts += [one.field.metadata["help"] for one in settings]
        flags = {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
        wrong += [f"{name}: {flag}" for flag in sorted(flags - options(command) - {"--nproc-per-node"})]
    assert not wrong, wrong


def test_every_option_has_a_text(commands):
    silent = []
    for name, command in commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and not (option.help or "").strip():
                silent.append(f"{name} {option.opts[0]}")
    assert not silent


def test_every_command_has_an_example_that_parses(commands):
    wrong = []
    for name, command in commands.items():
        if isinstance(command, click.Group):
            continue
        lines = [line.strip() for line in getattr(command, "example", "").splitlines() if line.strip()]
        if not lines:
            wrong.append(f"{name}: no example")
        for line in lines:
            try:
                parse(line)
            except (LookupError, click.UsageError, ConfigError) as error:
                wrong.append(f"{line}: {error}")
            recipes = [word for word in line.split() if word.startswith("pipelines/")]
            wrong += [f"{line}: no {word}" for word in recipes if not (ROOT / word).is_file()]
    assert not wrong, "\n".join(wrong)


def test_short_help_of_the_group_is_one_sentence(commands):
    for name in ("dp3d-data", "dp3d-model"):
        for word, (_, text) in commands[name].lazy.items():
            assert text.endswith(".") and len(text) < 90, f"{name} {word}: {text}"


def config_classes():
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                yield path, node


@pytest.mark.slow
def test_every_setting_has_a_text():
    wrong = []
    for path, node in config_classes():
        for field in [item for item in node.body if isinstance(item, ast.AnnAssign)]:
            place = f"{short(path)}:{field.lineno} {node.name}.{field.target.id}"
            call = field.value
            if ast.unparse(field.annotation).endswith("Config"):  # a section
                continue
            if not (
                isinstance(call, ast.Call) and ast.unparse(call.func) in ("setting", "rare") and len(call.args) == 2
            ):
                wrong.append(f"{place}: declare it with setting(default, help) or rare(default, help)")
            elif not ast.unparse(call.args[1]).strip("'\"f "):
                wrong.append(f"{place}: empty help")
    assert not wrong, "\n".join(wrong)


def test_every_configuration_is_frozen():
    wrong = [
        f"{short(path)}:{node.lineno} {node.name}"
        for path, node in config_classes()
        if not any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not wrong, wrong
