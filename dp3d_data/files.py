"""Files on disk: what stands in the place of a file that was never fetched."""

from __future__ import annotations

from pathlib import Path

from dp3d_data.errors import InputCorrupt, InputMissing

# How a pointer begins -> the command that fetches what it points to. Both are texts of some hundred bytes.
POINTERS = {
    b"version https://git-lfs.github.com/spec/": "git lfs pull --include={name}",
    b"version https://hawser.github.com/spec/": "git lfs pull --include={name}",
    b"/annex/objects/": "git annex get {name}",
}


def require_no_pointer(path: str | Path) -> None:
    """Refuse a pointer of Git LFS or git-annex in the place of a file; every reader of a binary file asks here first.

    Raises:
        InputMissing: no such file, or one that may not be read.
        InputCorrupt: it is a pointer; says how the file is fetched.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(max(map(len, POINTERS)))
    except OSError as error:
        raise InputMissing("the file cannot be opened", got=error.strerror, path=path) from error
    command = next((command for begin, command in POINTERS.items() if start.startswith(begin)), None)
    if command is not None:
        got = f"{path.stat().st_size} bytes of text that say where it is kept"
        hint = f"in its repository: {command.format(name=path.name)}; or download the file itself from the project's page"
        raise InputCorrupt("this is a pointer, fetch the file", got=got, expected="the file itself", hint=hint, path=path)
