"""The shape of a command: options from a configuration, help by group, errors with their exit code."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from dp3d_data.config import setting
from dp3d_data.errors import Dp3dError, NothingToDo, PathUnusable
from pipelines.cli.commandline import command, config_options, require_place, say, say_table


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Two settings."""

    score: float = setting(0.5, "Smallest score.", group="Detection", minimum=0, maximum=1)
    images: tuple[str, ...] = setting((), "Images.", group="Input")


@command("sample", example="dp3d-data sample --score 0.7")
@config_options(Sample)
def sample(config):
    """Show the configuration."""
    if config.score == 0:
        raise NothingToDo("no images", hint="give --images", path="folder")
    print(config.score, config.images)


def run(*arguments):
    return CliRunner().invoke(sample, arguments)


def test_help_has_groups_defaults_and_the_example():
    text = run("--help").output
    assert "Detection:" in text and "Input:" in text
    assert "[default: 0.5]" in text
    assert "Example:\n  dp3d-data sample --score 0.7" in text


def test_command_line_beats_file_beats_default(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('score = 0.25\nimages = ["a"]\n')
    assert run().output == "0.5 ()\n"
    assert run("--config", str(path)).output == "0.25 ('a',)\n"
    assert run("--config", str(path), "--score", "0.5", "--images", "b", "--images", "c").output == "0.5 ('b', 'c')\n"


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A section."""

    arap: float = setting(1.0, "Rigidity.", common=False, was="arap_weight", minimum=0)
    steps: int = setting(3, "Steps.", was="iterations")


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Own settings and a section."""

    seed: int = setting(0, "Seed.", common=False)
    wide: bool = setting(False, "Wide.", common=False)
    names: tuple[str, ...] = setting((), "Names.", common=False)
    kind: str = setting("one", "Kind.", common=False, choices=("one", "two"))
    loss: Loss = Loss()


PRESETS = {"plain": dict, "strong": lambda: {"loss": {"arap": 5.0, "steps": 7}, "seed": 2}}


@command("nested", example="dp3d-data nested --set loss.arap=0.3")
@config_options(Nested, PRESETS)
def nested(config):
    """Show the configuration."""
    print(config.seed, config.wide, config.names, config.kind, config.loss.arap, config.loss.steps)


def shown(*arguments):
    result = CliRunner().invoke(nested, arguments)
    return result.output.strip().replace("\n", " "), result.exit_code


def test_what_is_given_beats_the_file_beats_the_preset_beats_the_default(tmp_path):
    (tmp_path / "run.toml").write_text("[loss]\narap = 0.5\n")
    file = ("--config", str(tmp_path / "run.toml"))
    assert shown() == ("0 False () one 1.0 3", 0)
    assert shown("--preset", "strong") == ("2 False () one 5.0 7", 0)
    assert shown("--preset", "strong", *file) == ("2 False () one 0.5 7", 0)
    assert shown("--preset", "strong", *file, "--set", "loss.arap=0.25", "--steps", "9") == ("2 False () one 0.25 9", 0)
    assert shown(*file, "--set", "loss.steps=4", "--set", "seed=1") == ("1 False () one 0.5 4", 0)


def test_words_become_values_of_the_setting_s_type():
    words = ("wide=true", "names=a=b", "names=c", "kind=two", "seed=12", "loss.arap=1e-3")
    assert shown(*(part for word in words for part in ("--set", word))) == ("12 True ('a=b', 'c') two 0.001 3", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--set", "loss.arapp=1"), 5, "unknown setting 'loss.arapp'   hint: did you mean 'loss.arap'?"),
        (("--set", "arap=1"), 5, "did you mean 'loss.arap'?"),
        (("--set", "arap_weight=1"), 5, "unknown setting 'arap_weight'   hint: since version 0.2 it is 'loss.arap'"),
        (("--set", "nothing-like-it=1"), 5, "known settings: seed, wide"),
        (("--set", "loss=1"), 5, "unknown setting 'loss'"),
        (("--set", "seed"), 5, "not a setting and its value   got: 'seed'   expected: NAME=VALUE"),
        (("--set", "seed=many"), 5, "'seed' has the wrong type   got: 'many'   expected: int"),
        (("--set", "wide=2"), 5, "'wide' has the wrong type   got: '2'   expected: bool"),
        (("--set", "loss.arap=-1"), 5, "'loss.arap' is out of range"),
        (("--set", "kind=tow"), 5, "did you mean 'two'?"),
        (("--set", "seed=1", "--set", "seed=2"), 5, "'seed' is set twice   got: 1 and 2"),
        (
            ("--set", "loss.steps=1", "--steps", "2"),
            2,
            "'loss.steps' is given twice   got: --steps and --set loss.steps",
        ),
        (("--arap-weight", "2"), 2, "No such option: --arap-weight. Set it by: --set loss.arap=VALUE"),
        (("--iterations", "2"), 2, "No such option: --iterations. It is --steps now"),
        (("--no-wide",), 2, "No such option: --no-wide. Set it by: --set wide=VALUE"),
        (("--nothing",), 2, "No such option"),
    ],
)
def test_a_setting_that_is_none_and_a_bad_value_are_one_clear_error(arguments, code, words):
    output, found = shown(*arguments)
    assert found == code and words in output and "Traceback" not in output, output


def test_help_shows_what_is_common_and_help_all_every_setting():
    text, everything = (CliRunner().invoke(nested, [word]).output for word in ("--help", "--help-all"))
    assert "--steps" in text and "arap" not in text.partition("Example")[0] and "\nmore: nested --help-all\n" in text
    assert (
        "loss.arap" in everything
        and "[float >= 0; default: 1.0]" in everything
        and "[one|two; default: one]" in everything
    )
    assert "Loss:" in everything and "[true|false; default: false]" in everything and "--steps" in everything


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--score", "0"), 12), (("--score", "3"), 5), (("--config", "none.toml"), 3)]
)
def test_errors_leave_with_their_exit_code(arguments, code):
    result = run(*arguments)
    assert result.exit_code == code
    assert result.output.startswith("error: ") and "Traceback" not in result.output


@dataclass(frozen=True, kw_only=True)
class Writing:
    """One setting."""

    out: str = setting("", "Folder.")


@command("write", example="dp3d-data write --out DIR")
@config_options(Writing)
def write(config):
    """Write a file where nothing was checked."""
    Path(config.out).mkdir(parents=True)
    (Path(config.out) / "file").write_text("")
    print("written")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file/out", "file/out: Not a directory"),
        ("file", "file: File exists"),
        ("o" * 300, "File name too long"),
        ("\udcff", r"a name that is not UTF-8"),
        ("\ud800", r"a name that is not UTF-8"),
        ("a\0b", "a name with a zero byte in it"),
        ("locked/out", "locked: nothing can be written here"),
    ],
)
def test_places_where_nothing_can_be_written_are_one_error(tmp_path, monkeypatch, out, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(
        os, "access", lambda path, mode, original=os.access: path.name != "locked" and original(path, mode)
    )
    result = CliRunner().invoke(write, ["--out", out])
    assert result.exit_code == 19 and words in result.output and "Traceback" not in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "locked"] and not list(
        (tmp_path / "locked").iterdir()
    )


def test_a_full_disk_a_missing_library_and_ctrl_c_have_their_codes(monkeypatch, tmp_path):
    for error, code, words in (
        (OSError(28, "No space left on device", "a"), 18, "a: the disk is full"),
        (OSError(122, "Disk quota exceeded", "a"), 18, "the disk is full"),
        (ModuleNotFoundError("no", name="detectron2.modeling"), 10, "hint: dp3d-data install-detectron2"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", lambda *args, error=error, **kwargs: (_ for _ in ()).throw(error))
            result = CliRunner().invoke(write, ["--out", str(tmp_path / "out")])
        assert result.exit_code == code and words in result.output, result.output


def test_an_error_says_what_got_expected_and_mend():
    import pickle

    error = Dp3dError("wrong", got=1, expected=2, hint="do this", path="file")
    assert str(error) == "file: wrong\n  got: 1\n  expected: 2\n  hint: do this"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_folder_without_the_right_to_write_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PathUnusable, match="nothing can be written here"):
        require_place(tmp_path / "new")


HOSTILE = "\x1b[2K\x1b]0;title\x07red\x9b31m\r\b\u202egpj.\u2028\ud800"


@command("speak", example="dp3d-data speak")
def speak():
    """Say what a hostile name holds, as a line, in a table and in an error."""
    say(f"犬 👩\u200d🚀\t{HOSTILE}")
    say_table(("name",), [(f"[bold]{HOSTILE}[/]",)])
    raise NothingToDo(HOSTILE, got=HOSTILE, path=HOSTILE)


def test_codes_that_a_terminal_obeys_are_shown_and_not_executed():
    text = CliRunner().invoke(speak).output
    assert not {c for c in text if c in set(HOSTILE) - set("[2K]0;titlered31mgpj.")}
    assert "犬 👩\u200d🚀\t" in text and r"\x1b[2K\x1b]0;title\x07red\x9b31m\r\x08\u202egpj.\u2028\ud800" in text
    assert "[bold]" in text, "nor are rich's own marks"
