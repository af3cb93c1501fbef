"""Landmarks for template adopt: from keypoints that a dataset names, or from clicks on photographs and on the mesh."""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.coco import category_ids, key_of, read_coco
from dp3d_data.datasets.images import MIRRORS, read_image, turn_of, turned_record
from dp3d_data.errors import Dp3dError, InputCorrupt, NothingToDo, UsageError
from dp3d_data.files import read_text, write_text
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.geometry.subsets import DOG, named_keypoints
from dp3d_data.geometry.template import Template
from dp3d_data.matching.landmarks import Landmark, name_key, read_landmarks, read_named_vertices
from dp3d_data.records import GivenObject, ImageRecord, present
from pipelines.chunks import Say
from pipelines.local_page import HTML, Reply
from pipelines.report.page import SCRIPT, Body, Layer, asset, html, jpeg_bytes, page, safe_json, viewer

COLUMNS = ("name", "vertex", "image", "x", "y")
# What a page asks for: spread over the body, and both sides.
ASKED = (
    "Nose",
    "Left ear tip",
    "Right ear tip",
    "Withers",
    "Chest",
    "Belly",
    "Tail start",
    "Tail end",
    "Left front leg: paw",
    "Right front leg: paw",
    "Left rear leg: paw",
    "Right rear leg: paw",
)
SIDE = 1400  # of photographs on the page
MOST_VERTICES = 1 << 31  # of a checkpoint's mesh, which nobody opens here
LEAST = 3  # keypoints of an animal that is worth its photograph


def write_marks(path: str | Path, marks: Sequence[Landmark]) -> Path:
    """The csv of `template adopt --landmarks`, with photographs by path from its folder, or of names and vertices."""
    folder = Path(path).absolute().parent
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    photographs = any(mark.image for mark in marks)
    rows.writerow(COLUMNS if photographs else COLUMNS[:2])
    for mark in marks:
        place: list[str] = []
        if photographs:
            image, (x, y) = present(mark.image), present(mark.point)
            place = [os.path.relpath(os.path.abspath(image), folder), f"{x:.1f}", f"{y:.1f}"]
        rows.writerow([mark.name, mark.vertex, *place])
    return write_text(path, text.getvalue())


def read_marks(path: Path, vertices: int) -> list[Landmark]:
    """The landmarks of a csv that `write_marks`, or a person, has written, named; photographs as absolute paths.

    Raises:
        InputMissing, InputCorrupt: no such photograph, or a row that is no landmark; names the line.
        UsageError: landmarks on the checkpoint's mesh, which no photograph shows.
    """
    header = read_text(path, "file of landmarks").partition("\n")[0]
    if "image" not in header and "cse_vertex" not in header:
        return [Landmark(0, vertex, name=name) for name, vertex in read_named_vertices(path, vertices).items()]
    marks = read_landmarks(path, vertices, MOST_VERTICES)
    if any(mark.cse_vertex is not None for mark in marks):
        hint = "name another file, so that these stay: --out FILE"
        raise UsageError("landmarks without photographs, which a page cannot show", path=path, hint=hint)
    return [
        replace(mark, image=Path(os.path.abspath(present(mark.image))), name=mark.name or f"vertex {mark.vertex}")
        for mark in marks
    ]


def marks_of_keypoints(
    annotations: str | Path, table: Mapping[str, int], options: DatasetOptions, photographs: int, say: Say
) -> list[Landmark]:
    """Landmarks from annotated keypoints whose names the table knows: of the animals that show most, one a photograph.

    Args:
        annotations: StanfordExtra's json, or COCO's whose category names its keypoints, as AP-10K has it.
        photographs: how many of them.
        say: told of names that the table lacks, and of photographs that cannot be used.

    Raises:
        InputMissing, InputCorrupt, UsageError: no such annotations, or none of the names is in the table.
        NothingToDo: no photograph with three of the keypoints.
    """
    names, records = _named_records(annotations, options)
    known = {name_key(name): (name, vertex) for name, vertex in table.items()}
    wanted = {number: known[name_key(name)] for number, name in enumerate(names) if name_key(name) in known}
    if not wanted:
        raise UsageError("the table has none of the keypoints", got=", ".join(table), expected=", ".join(names))
    if missing := [name for number, name in enumerate(names) if number not in wanted]:
        say(f"  not in the table: {', '.join(missing)}")
    found: list[Landmark] = []
    for record, number in _most_shown(records, wanted):
        try:
            found += _marks(record, number, wanted)
            photographs -= 1
        except Dp3dError as error:
            say(f"  left out: {error}")
        if photographs <= 0:
            return found
    if not found:
        raise NothingToDo(f"no photograph shows {LEAST} of the keypoints", path=annotations)
    return found


def _named_records(annotations: str | Path, options: DatasetOptions) -> tuple[Sequence[str], list[ImageRecord]]:
    """The names of the keypoints of a file, and its images with their animals."""
    content = read_coco(Path(annotations))
    if isinstance(content, list):
        return named_keypoints()[1], open_images("stanford-extra", options).records()
    records = open_images("coco", options).records()
    categories = content.get("categories") or ()
    ids = category_ids(categories, options.category_in_file or options.category, Path(annotations))
    for entry in categories:
        names = entry.get("keypoints") if ids is None or key_of(entry["id"]) in ids else None
        if names and isinstance(names, list):
            return [str(name) for name in names], records
    expected = 'a category with "keypoints", a list of their names, as in AP-10K'
    raise InputCorrupt("the keypoints have no names", expected=expected, path=annotations)


def _shown(one: GivenObject, wanted: Iterable[int]) -> list[int]:
    """The wanted keypoints of an animal that are visible; of visibility 1, "hidden" in COCO, where none has 2."""
    points = one.keypoints or ()
    best = min(max((seen for _, _, seen in points), default=0), 2)
    return [number for number in wanted if best > 0 and number < len(points) and points[number][2] >= best]


def _most_shown(records: Sequence[ImageRecord], wanted: Mapping[int, Any]) -> list[tuple[ImageRecord, int]]:
    """Image and number of its animal that shows most, those that show most first; others of the image are left out."""
    found = []
    for record in records:
        counts = [len(_shown(one, wanted)) for one in record.objects or ()]
        if counts and max(counts) >= LEAST:
            found.append((record, counts.index(max(counts)), max(counts)))
    return [(record, number) for record, number, _ in sorted(found, key=lambda one: -one[2])]


def _marks(record: ImageRecord, number: int, wanted: Mapping[int, tuple[str, int]]) -> list[Landmark]:
    """The landmarks of one animal in the upright photograph."""
    photograph = read_image(record.path)
    if turn_of(record.size, photograph) in MIRRORS:
        raise InputCorrupt("keypoints of a photograph that EXIF mirrors", path=record.path)
    one = (turned_record(record, photograph).objects or ())[number]
    points, image = one.keypoints or (), Path(record.path)
    return [
        Landmark(0, wanted[i][1], image=image, point=(points[i][0], points[i][1]), name=wanted[i][0])
        for i in _shown(one, wanted)
    ]


def table_for(path: str | None, template: Template) -> dict[str, int]:
    """The named vertices of a template: those of a file, or of the built-in dog.

    Raises:
        UsageError: another template, and no file.
    """
    from dp3d_data.geometry.builtin import load_template

    if path:
        return read_named_vertices(path, template.num_vertices)
    if template.content_hash != load_template("dog").content_hash:
        first = f"dp3d-data template landmarks {template.name} --out names.csv"
        hint = f"click them on the mesh: {first}; then give --table names.csv"
        raise UsageError("nothing says which vertex a name is", got=template.name, hint=hint)
    return read_named_vertices(DOG, template.num_vertices)


class LandmarkPage:
    """The page of clicks: a photograph on the left, the mesh on the right, a landmark a line.

    Args:
        mesh: as the user names the template.
        photographs: files to click on; none where vertices alone are named.
        out: the csv, whose landmarks are there again when the page is opened again.
        table: vertices whose names are known.

    Raises:
        InputMissing, InputCorrupt, UsageError: `out` holds what a page cannot show, and would lose.
    """

    def __init__(
        self,
        mesh: str,
        template: Template,
        photographs: Sequence[str],
        out: Path,
        table: Mapping[str, int] | None = None,
    ) -> None:
        self.mesh, self.template, self.out = mesh, template, out
        self.saved = read_marks(out, template.num_vertices) if out.is_file() else []
        if photographs and any(not mark.image for mark in self.saved):
            hint = f"name another file for the landmarks: --table {out} --out FILE"
            raise UsageError("this file is a table of named vertices", path=out, hint=hint)
        known = {name_key(mark.name) for mark in self.saved}
        others = {name: vertex for name, vertex in (table or {}).items() if name_key(name) not in known}
        self.table = [Landmark(0, vertex, name=name) for name, vertex in others.items()]
        self.asked = [] if table else [name for name in ASKED if name_key(name) not in known]
        marked = [str(mark.image) for mark in self.saved if mark.image]
        self.photographs = list(dict.fromkeys(os.path.abspath(path) for path in [*photographs, *marked]))
        self.gets = {"": self.page, "photograph": self.photograph}
        self.posts = {"save": self.save}

    def page(self, _: Mapping[str, Any]) -> Reply:
        """The whole page but the photographs."""
        colours = {"vertices": colour_by_vertex(self.template)}
        layers = [Layer("vertices", "Click where the landmark is.")]
        body = viewer(self.template.faces, layers, [Body(self.template.vertices, self.template.name, colours)])
        names = [Path(path).name for path in self.photographs]
        facts = {"photographs": names, "marks": self.marks(), "asked": self.asked, "out": str(self.out)}
        style = Markup(asset("landmarks.css"))
        inner = html(asset("landmarks.html"), style=style, viewer=body, facts=safe_json(facts))
        words = "choose a landmark, click it in a photograph and on the mesh; left is the animal's own left"
        title, script = f"{self.template.name}: landmarks", SCRIPT + asset("landmarks.js")
        return page(title, words, [("Landmarks", inner)], "dp3d", script, served=True), HTML, False

    def marks(self) -> list[dict[str, Any]]:
        """What the file holds, as the page has it: points in shares of the photograph's sides."""
        found: list[dict[str, Any]] = []
        for mark in [*self.saved, *self.table]:
            point = None
            if mark.image:
                seen, (x, y) = read_image(mark.image), present(mark.point)
                number = self.photographs.index(str(mark.image))
                point = {"photograph": number, "x": x / seen.width, "y": y / seen.height}
            found.append({"name": mark.name, "vertex": mark.vertex, "point": point})
        return found

    def photograph(self, words: Mapping[str, Any]) -> Reply:
        """A photograph upright, at most SIDE pixels large; its own size tells the page the scale."""
        image = Image.fromarray(read_image(self._path(words["number"])).pixels)
        return jpeg_bytes(image, SIDE, 88), "image/jpeg", True

    def _path(self, number: Any) -> str:
        number = int(number)
        if not 0 <= number < len(self.photographs):
            raise UsageError("no such photograph", got=number, expected=f"0..{len(self.photographs) - 1}")
        return self.photographs[number]

    def save(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Write the landmarks, with x and y in shares of the photograph's sides, and tell the command.

        Raises:
            UsageError: none, one without a name, or a vertex or photograph that is not there.
        """
        marks = [self._mark(one) for one in wanted["marks"]]
        if not marks:
            raise UsageError("no landmark is whole", hint="a landmark has a point in a photograph and one on the mesh")
        path, self.saved = write_marks(self.out, marks), marks
        words = ["dp3d-data", "template"]
        words += ["adopt", self.mesh, "--landmarks"] if self.photographs else ["landmarks", self.mesh, "--table"]
        how = shlex.join([*words, str(path)])
        return {"path": str(path), "count": len(marks), "command": how}

    def _mark(self, one: Mapping[str, Any]) -> Landmark:
        name, vertex = " ".join(str(one["name"]).split()), int(one["vertex"])
        if not name or not 0 <= vertex < self.template.num_vertices:
            raise UsageError("no landmark", got=f"{name or 'no name'}, vertex {vertex}")
        if not self.photographs:
            return Landmark(0, vertex, name=name)
        path = self._path(one["photograph"])
        found = read_image(path)
        x, y = float(one["x"]) * found.width, float(one["y"]) * found.height
        if not (0 <= x <= found.width and 0 <= y <= found.height):
            raise UsageError("a point outside of its photograph", got=f"{x:.0f}, {y:.0f}", path=path)
        return Landmark(0, vertex, None, Path(path), (x, y), name)
