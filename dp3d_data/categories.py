"""The one table of categories: class id of the published models, meshes, built-in template, embedded model, LVIS id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_data.errors import UsageError, near_match

SCORE = 0.5  # detections below are not looked at, unless the user asks for them


@dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
        name: as the user types it.
        class_id: class of the nine-class animal models; None where they do not know it.
        mesh_4k: CSE mesh of the 4k models.
        mesh_16k: CSE mesh of the 16k models.
        lvis_id: category id in LVIS; None where it is not one of its animals.
        template: built-in template; None where the user must bring one.
        model: embedded CSE model; None where the user must bring weights.
    """

    name: str
    class_id: int | None
    mesh_4k: str
    mesh_16k: str
    lvis_id: int | None = None
    template: str | None = None
    model: str | None = None


CATEGORIES = {
    entry.name: entry
    for entry in (
        Category("bear", 0, "bear_4936", "bear_4936", 76),
        Category("cow", 1, "cow_5002", "cow_5002", 80, template="cow", model="animals-3"),
        Category("cat", 2, "cat_5001", "cat_7466", 225),
        Category("dog", 3, "dog_5002", "dog_7466", 378, template="dog", model="animals-3"),
        Category("elephant", 4, "elephant_5002", "elephant_5002", 422),
        Category("giraffe", 5, "giraffe_5002", "giraffe_5002", 496),
        Category("horse", 6, "horse_5004", "horse_5004", 569),
        Category("sheep", 7, "sheep_5004", "sheep_5004", 943),
        Category("zebra", 8, "zebra_5002", "zebra_5002", 1202),
        Category("chimpanzee", None, "chimp_5029", "chimp_5029"),
        Category("person", None, "smpl_27554", "smpl_27554"),
    )
}

GROUPS = {"lvis-animals": tuple(entry.name for entry in CATEGORIES.values() if entry.lvis_id is not None)}
# What the help of commands says.
SEVERAL = "Also a list (dog,cow), or lvis-animals: the nine of the published networks."


def categories(names: str) -> tuple[str, ...]:
    """The categories of a list such as "dog,cow", each once, in order; a group's name stands for its members.

    Raises:
        UsageError: an empty list.
    """
    given = [name.strip() for name in names.split(",") if name.strip()]
    if not given:
        raise UsageError("no category", got=repr(names), expected="names with commas between them, such as dog,cow")
    return tuple(dict.fromkeys(member for name in given for member in GROUPS.get(name, (name,))))


def folder_of(folder: str | Path, name: str, names: tuple[str, ...]) -> Path:
    """A category's part of a folder that is given for several; of one category the folder itself."""
    return Path(folder) / name if len(names) > 1 else Path(folder)


def category(name: str) -> Category:
    """Look a category up by name.

    Raises:
        UsageError: no such category; names the near match.
    """
    if name in CATEGORIES:
        return CATEGORIES[name]
    hint, expected = near_match(name, [*CATEGORIES, *GROUPS]), "one of " + ", ".join(CATEGORIES)
    raise UsageError(f"unknown category {name!r}", expected=expected, hint=hint)
