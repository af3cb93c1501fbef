"""The errors a user can meet: what happened, what was got, what was expected, how to mend it, and the exit code."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any


class Dp3dError(Exception):
    """Base of every error that the project raises on purpose.

    Args:
        what: one sentence on what is wrong.
        got: what was found.
        expected: what would have been right.
        hint: how to mend it; defaults to the class's own hint.
        path: the file or folder at fault.
    """

    exit_code = 1
    hint = ""

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        expected: object = None,
        hint: str | None = None,
        path: str | Path | None = None,
    ) -> None:
        self.what, self.got, self.expected, self.path = what, got, expected, path
        if hint is not None:
            self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.what}" if self.path is not None else self.what]
        for label, value in (("got", self.got), ("expected", self.expected), ("hint", self.hint)):
            if value not in (None, ""):
                lines.append(f"  {label}: {value}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Callable[[], Dp3dError], tuple[()]]:
        """Errors cross process borders: keep every part through pickling."""
        parts: dict[str, Any] = {"got": self.got, "expected": self.expected, "hint": self.hint, "path": self.path}
        return partial(type(self), self.what, **parts), ()


class UsageError(Dp3dError, ValueError):
    """Options that contradict each other or name nothing."""

    exit_code = 2


class InputMissing(Dp3dError, FileNotFoundError):
    """A path that does not exist."""

    exit_code = 3
    hint = "check the spelling and the working directory"


class InputCorrupt(Dp3dError, ValueError):
    """A file that exists and cannot be what it should be."""

    exit_code = 4
    hint = "open the file in another program; fetch it again if that fails too"


class ConfigError(Dp3dError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 5


class TemplateError(Dp3dError, ValueError):
    """A template mesh that cannot be used."""

    exit_code = 6


class CheckpointError(Dp3dError, ValueError):
    """A file of weights that cannot be read."""

    exit_code = 7
    hint = "see which files fit: dp3d-data zoo list; look into one: dp3d-data zoo check FILE"


class UnsafePickle(CheckpointError):
    """A pickle that asks for something other than arrays and plain containers; nothing of it was run."""

    hint = (
        "do not load this file with other tools unless you trust its author; fetch the weights again from their"
        " publisher"
    )


class FingerprintMismatch(Dp3dError):
    """An output folder that holds the results of other settings."""

    exit_code = 8
    hint = "choose another folder with --out, or discard the old results with --overwrite"


class ShardError(Dp3dError, ValueError):
    """Shards that are damaged, incomplete or foreign."""

    exit_code = 9
    hint = "dp3d-data verify PATH names every bad file; build them again: dp3d-data build-shards"


class DependencyMissing(Dp3dError, ImportError):  # type: ignore[misc]  # both have a path
    """A library that this step needs is not installed."""

    exit_code = 10
    hint = "dp3d-data doctor says what is missing and how to install it"


class ShapeError(Dp3dError, ValueError):
    """Arrays whose shapes do not belong together."""

    exit_code = 11


class NothingToDo(Dp3dError):
    """A command that was given no input to work on."""

    exit_code = 12


class TrainingDiverged(Dp3dError, ArithmeticError):
    """A loss that became NaN or infinite; the last good state is kept."""

    exit_code = 13
    hint = (
        "lower the learning rate; dp3d-model train then goes on from the last good state (--resume), train-cse begins"
        " again in another folder (--out)"
    )


class NotFinite(Dp3dError, ArithmeticError):
    """NaN or infinity where a network should have given numbers."""

    exit_code = 14
    hint = "the weights are damaged or ran in too low a precision: dp3d-data zoo check FILE"


class Unaccounted(Dp3dError):
    """Inputs that are neither kept nor rejected nor failed: a mistake of this program."""

    exit_code = 15
    hint = "please report this with the command you ran; until then: --overwrite"


class WorkerLost(Dp3dError, ChildProcessError):
    """A worker process that the system ended, most often for want of memory."""

    exit_code = 16
    hint = "run the same command again, it goes on where it stopped; with less memory in use: --workers 1"


class FolderBusy(Dp3dError):
    """A folder in which another process is writing."""

    exit_code = 17
    hint = "wait until it has ended, or choose another folder with --out; finished shards are joined by dp3d-data merge"


class PathUnusable(Dp3dError, OSError):
    """A file or folder that the system does not let be made, read or written."""

    exit_code = 19
    hint = "choose another place: --out DIR, DP3D_WORKSPACE, DP3D_CACHE; or mend what is there"


class DiskFull(Dp3dError, OSError):
    """No space, or no quota, left for the results."""

    exit_code = 18
    hint = "make room, then run the same command again: it goes on where it stopped"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The question for a name that is like a known one; None where none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else None


def own_error(error: Exception) -> Dp3dError | None:
    """What Python raises for want of a library, of room or of a right, as an error of ours; None for the rest."""
    if isinstance(error, Dp3dError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.partition(".")[0]
        own = {"hint": "dp3d-data install-detectron2"} if name == "detectron2" else {}
        return DependencyMissing(f"{name} is not installed", **own)
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        path = None if error.filename is None else readable(error.filename)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull("the disk is full", path=path)
        return PathUnusable(error.strerror or str(error), path=path)
    if isinstance(error, UnicodeEncodeError) and error.reason.startswith("surrogates"):
        hint = "rename it, or choose another place"
        return PathUnusable("a name that is not UTF-8", got=readable(error.object), hint=hint)
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return PathUnusable("a name with a zero byte in it", hint="choose another name")
    return None


class Asking(AbstractContextManager):
    """Around what asks another machine: errors of the libraries that speak to it (aiohttp, botocore) become OSErrors;
    Python's own errors and ours pass as they are.

    Raises:
        ConnectionError: a library's own error, which it gives as its cause.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = isinstance(error, Dp3dError | OSError) or not isinstance(error, Exception)
        if not ours and type(error).__module__ != "builtins":
            raise ConnectionError(f"{type(error).__name__}: {error}".strip(": ")) from error


def unwritable(error: BaseException, path: Path, unfinished: Path) -> Dp3dError | None:
    """What kept a file from being written, in terms of that file.

    Args:
        path: the file that was to be.
        unfinished: its temporary name, which nobody outside knows.

    Returns:
        DiskFull or PathUnusable; None where the error tells nothing of the disk, or is one of ours already.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, Dp3dError):
        if isinstance(found, UnicodeEncodeError):
            return own_error(found)
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull("the disk is full", got=found.strerror, path=readable(str(path)))
        if isinstance(found, OSError) and found.errno is not None:
            place = None if found.filename in (None, str(path), str(unfinished)) else readable(found.filename)
            return PathUnusable(found.strerror or str(found), got=place, path=readable(str(path)))
        found = found.__cause__ or found.__context__
    return None


def readable(name: str | bytes | int) -> str:
    """A file's name with what is not UTF-8 in it written out."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
    with suppress(UnicodeEncodeError):  # half characters that stand for no byte
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.encode("utf-8", "backslashreplace").decode()
