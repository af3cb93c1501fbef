"""Images: files, patterns and folders searched to the bottom, on disk or at any address that fsspec reaches."""

from __future__ import annotations

import difflib
import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.images import NEED_HEIF, readable_formats
from dp3d_data.datasets.locations import fixed_part, is_address, is_folder, listed
from dp3d_data.errors import InputMissing, NothingToDo
from dp3d_data.records import ImageRecord

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pnm .jp2".split())
# Read where Pillow can: its name of the format -> extensions.
SOMETIMES = {"AVIF": (".avif",), "HEIF": (".heic", ".heif", ".hif")}
# Images of formats that are never read: raw ones of cameras, and those of other programs.
NEVER = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf"
    " .srw .x3f .exr .hdr .jxl .jxr .psd .psb .svg .tga .xcf .dds .dcm .j2k .jpx .eps".split(),
)

# An image found: the folder it was looked for in, and its path.
Found = tuple[str, str]


@dataclass(frozen=True)
class Folder(Dataset):
    """Files, glob patterns and folders.

    A folder gives every file with an image's extension below it, sorted by path; hidden files and folders (a name that
    starts with a dot) are left out, links are followed, and a folder met twice is entered once. A file that is named is
    taken whatever its extension. A file met twice counts once. A folder that may not be read gives one record, which
    fails when it is read, so that it is accounted for.

    Ids: the path below the folder given (below a pattern's fixed part; the name of a file). Where two inputs would
    share an id, all ids are paths below the inputs' common folder.
    """

    seen: dict[str, Counter[str]] = field(default_factory=dict, init=False, compare=False, repr=False)
    name = "folder"

    @property
    def entries(self) -> tuple[str, ...]:
        return (*self.options.images, self.options.path) if self.options.path else self.options.images

    def records(self) -> list[ImageRecord]:
        found = self._look()
        if not found:
            where = ", ".join(map(str, self.entries)) or "nothing"
            expected = "files with one of the extensions " + " ".join(sorted(extensions()))
            hint = NEED_HEIF if self.unread() else "name the folder that holds the photographs: --images FOLDER"
            raise NothingToDo(f"no image in {where}", got=self._contents(), expected=expected, hint=hint)
        ids = _names(list(found.items()))
        return [ImageRecord(name, path, source=self.name) for name, (_, path) in zip(ids, found.values(), strict=True)]

    def unread(self) -> Counter[str]:
        """How many images of formats that are not read lie in the folders, by extension."""
        if "unread" not in self.seen:
            self._look()
        return self.seen["unread"]

    def _look(self) -> dict[str, Found]:
        """The images by absolute path; those in folders whose formats are not read are counted and left out."""
        skipped = NEVER.union(*SOMETIMES.values()) - extensions()
        found, unread = dict[str, Found](), dict[str, str]()
        for entry in map(str, self.entries):
            for root, path, named in _expand(entry, extensions() | skipped):
                if is_address(path):
                    place = path
                else:  # what `os.path.abspath` says, sooner for a plain path
                    place = os.path.join(os.getcwd(), path) if _is_plain(path) else os.path.abspath(path)
                if named or (extension := _extension(path)) not in skipped:
                    found.setdefault(place, (root, path))
                else:
                    unread[place] = extension
        self.seen["unread"] = Counter(unread.values())
        return found

    def _contents(self) -> str:
        """What the folders hold instead, by extension."""
        kinds: Counter[str] = Counter()
        for entry in filter(os.path.isdir, self.entries):
            for _, _, files in os.walk(entry):
                kinds.update(_extension(name) or "no extension" for name in files)
        return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5)) or "no file at all"


class Samples(Folder):
    """The photographs that are shipped with the package: two with dogs, two without; see LICENSE beside them."""

    name = "samples"

    @property
    def entries(self) -> tuple[str, ...]:
        return (str(Path(__file__).parent / "samples"),)


@cache
def extensions() -> frozenset[str]:
    """The extensions of images that are read here."""
    return EXTENSIONS.union(*(SOMETIMES[name] for name in readable_formats() if name in SOMETIMES))


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _is_plain(path: str) -> bool:
    """Whether no part of a path is empty or begins with a dot, so that the path is in its normal form."""
    return os.sep == "/" and "//" not in path and "/." not in path and path[:1] != "." and path[-1:] != "/"


def _expand(entry: str, wanted: frozenset[str]) -> Iterator[tuple[str, str, bool]]:
    """The images of one entry, in folders those with a wanted extension, and whether each is named."""
    if is_address(entry):
        root, named = fixed_part(entry), not is_folder(entry)
        yield from ((root, path, named) for path in listed(entry, wanted))
    elif os.path.isdir(entry):
        yield from ((entry, path, False) for path in walk_images(entry, wanted))
    elif os.path.lexists(entry):
        yield os.path.dirname(entry) or ".", entry, True
    elif glob.has_magic(entry):
        matches = sorted(glob.glob(entry, recursive=True))
        if not matches:
            hint = "quote the pattern, or check the folder before it"
            raise InputMissing("this pattern matches nothing", path=entry, hint=hint)
        root = entry  # the folders before the first wildcard
        while glob.has_magic(root):
            root = os.path.dirname(root)
        for match in matches:
            folder = os.path.isdir(match)
            yield from ((root or ".", path, not folder) for path in (walk_images(match, wanted) if folder else [match]))
    else:
        raise InputMissing("no such file or folder", path=entry, hint=_near(entry))


def walk_images(
    folder: str, wanted: frozenset[str] | None = None, entered: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """Image files below a folder, by name; links are followed, but no folder is entered twice.

    Args:
        wanted: their extensions; None for those that are read here.
    """
    wanted = extensions() if wanted is None else wanted
    entered = set() if entered is None else entered
    try:
        status = os.stat(folder)
        names = sorted(os.listdir(folder))
    except OSError:
        yield folder
        return
    if (status.st_dev, status.st_ino) in entered:
        return
    entered.add((status.st_dev, status.st_ino))
    for name in names:
        path = f"{folder.rstrip('/')}/{name}" if os.sep == "/" else os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            yield from walk_images(path, wanted, entered)
        elif _extension(name) in wanted:
            yield path


def names_below(folder: Path) -> list[str]:
    """The images below a folder, as names in it, by name."""
    return [Path(path).relative_to(folder).as_posix() for path in walk_images(str(folder))]


def _names(found: list[tuple[str, Found]]) -> list[str]:
    """Unique ids with forward slashes; bytes that are no UTF-8 are written as escapes, since tables hold text."""
    names = [_readable(_below(path, root)) for _, (root, path) in found]
    if len(set(names)) < len(names):
        places = [path.replace(os.sep, "/").split("/") for path, _ in found]
        shared = len(os.path.commonprefix(places))
        names = [_readable("/".join(place[shared:])) for place in places]
    return names


def _below(path: str, root: str) -> str:
    """The path without the folder it was looked for in."""
    if is_address(path):
        return path.removeprefix(root).lstrip("/").partition("::")[0]
    rest = path.removeprefix(f"{root.rstrip('/')}/")
    return rest if len(rest) < len(path) and _is_plain(rest) else os.path.relpath(path, root)


def _readable(path: str) -> str:
    if path.isascii() and os.sep == "/":
        return path
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def _near(entry: str) -> str:
    """A name beside the missing one that looks like it."""
    folder, name = os.path.split(os.path.abspath(entry))
    while folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder, name = os.path.split(folder)
    near = difflib.get_close_matches(name, os.listdir(folder), n=1) if os.access(folder, os.R_OK) else []
    if near:
        return f"did you mean {os.path.join(folder, near[0])!r}?"
    return f"the folder {folder} exists, {name!r} is not in it"
