"""Run a command line of ours in this process, as a user types it."""

import shlex

from click.testing import CliRunner, Result

from tests.house.program_words import PROGRAMS


def run(line: str) -> Result:
    """Run `dp3d-data ...` or `dp3d-model ...`; what it prints is in stdout and stderr, how it ends in exit_code."""
    program, *arguments = shlex.split(line)
    result = CliRunner().invoke(PROGRAMS[program], arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def succeeds(line: str) -> Result:
    """Run a command that must end well."""
    result = run(line)
    assert result.exit_code == 0, f"{line}\n{result.output}"
    return result
