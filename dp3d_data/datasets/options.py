"""What a source may be told by its user."""

from __future__ import annotations

from dataclasses import dataclass

from dp3d_data.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where inputs lie and what is wanted of them; each source uses what concerns it.

    Attributes:
        path: file of annotations or results, or root folder of a dataset.
        images: folders in which photographs are looked for; files and patterns, too, for the source "folder".
        category: of the run.
        category_in_file: name or id of the category in the file, where it differs.
        masks: whether masks are wanted.
        charts: file that says which body vertex lies where on the charts of people.
        weights: file of weights whose vertex embeddings the pixel embeddings belong to.
    """

    path: str = ""
    images: tuple[str, ...] = ()
    category: str = "dog"
    category_in_file: str = ""
    masks: bool = False
    charts: str = ""
    weights: str = ""


def required_path(options: SourceOptions, name: str, expected: str) -> str:
    """The path.

    Raises:
        UsageError: none was given.
    """
    if not options.path:
        raise UsageError(f"the source {name!r} needs a path", expected=expected, hint=f"add it: --source {name} --path PATH")
    return options.path
