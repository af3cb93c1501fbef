"""Dumps of the reference implementation's apply_net: boxes, scores, and charts or embeddings of each detection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dp3d_data.bodies.chart_files import require_person
from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError, InputCorrupt, NothingToDo, TemplateError, UsageError
from dp3d_data.matching import ChartIndex, VertexIndex, chart_pixels, chart_prediction, dense_prediction, integer_box
from dp3d_data.records import Box, DensePrediction, ImageRecord
from dp3d_data.sources.addresses import is_file
from dp3d_data.sources.iuv import decode_png, from_text
from dp3d_data.sources.options import SourceOptions, required_path
from dp3d_data.sources.ready import ReadyInstance, required_charts
from dp3d_data.sources.torch_pickle import TorchArchive, state_of
from dp3d_data.sources.trees import find_image, require_images

EXPECTED = "apply_net's dump: a list of dicts with file_name, scores, pred_boxes_XYXY and pred_densepose"
HINT = "name the folder of the photographs: --images FOLDER"
# The packages whose objects stand in a dump.
PACKAGES = ("densepose", "detectron2")
EMBEDDINGS, CHARTS = {"embedding", "coarse_segm"}, {"coarse_segm", "fine_segm", "u", "v"}
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True)
class DumpSource:
    """A dump holds no class, so --category says whose detections these are; and no vertices: charts (people) need --charts,
    embeddings the --weights of the network that made the dump.

    Photographs are looked for where the dump says, then by name below --images or beside the dump. Detections below
    --score are left out; a dump keeps those from 0.05.
    """

    options: SourceOptions
    name: ClassVar[str] = "dump"
    model: ClassVar[str] = "dump"

    def records(self) -> list[ImageRecord]:
        """Every image of the dump, in its order.

        Raises:
            InputMissing, CheckpointError, UnsafePickle: no such file, no torch archive, or one that wants to run something.
            InputCorrupt: another content.
            UsageError: what its detections need was not given.
            NothingToDo: no image.
        """
        entries = Dump(required_path(self.options, self.name, EXPECTED)).entries
        if not entries:
            raise NothingToDo("no image in this dump", path=self.options.path)
        self._require_vertices(entries.values())
        folders = [*self.options.images, str(Path(self.options.path).parent)]
        records = [ImageRecord(name, self._place(entry, folders), self.name) for name, entry in entries.items()]
        require_images(records, folders, HINT)
        return records

    def digest(self) -> str:
        """Of the dump."""
        return file_digest(self.options.path)

    def reader(self, num_vertices: int, index: VertexIndex | ChartIndex) -> DumpReader:
        """What reads the detections; see `ReadySource`."""
        if isinstance(index, ChartIndex):
            require_person(num_vertices)
        elif index.num_vertices != num_vertices:
            got, expected = f"{num_vertices} vertices", f"the {index.num_vertices} of the weights"
            raise TemplateError("template and weights do not belong together", got=got, expected=expected, hint="name it: --template")
        return DumpReader(Dump(self.options.path), index)

    def _require_vertices(self, entries: Any) -> None:
        kinds = {kind_of(entry.get("pred_densepose")) for entry in entries} - {""}
        if "embeddings" in kinds and not self.options.weights:
            raise UsageError("this dump holds embeddings", hint="name the weights that made it, for their vertices: --weights FILE")
        if "embeddings" in kinds and self.options.charts:
            raise UsageError("this dump holds embeddings", got="--charts", hint="leave out --charts")
        if kinds - {"embeddings"}:
            required_charts(self.options, self.name)

    def _place(self, entry: Mapping[str, Any], folders: list[str]) -> str:
        written = str(entry["file_name"])
        return written if is_file(written) else find_image([written.lstrip("/"), os.path.basename(written)], folders)


class Dump:
    """The entries of a dump by the id of their image: the end of the path that tells the images apart."""

    def __init__(self, path: str | Path) -> None:
        self.archive = TorchArchive(path, PACKAGES)
        content = self.archive.content
        if not isinstance(content, list) or not all(isinstance(entry, dict) and "file_name" in entry for entry in content):
            raise InputCorrupt("not a dump", got=type(content).__name__, expected=EXPECTED, path=path)
        self._content = content

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """Image id -> entry, in the order of the dump; an image named twice is taken as it was last."""
        by_path = {str(entry["file_name"]).replace("\\", "/"): entry for entry in self._content}
        parts = [path.split("/") for path in by_path]
        shared = min(len(os.path.commonprefix(parts)), min((len(part) for part in parts), default=1) - 1)
        return dict(zip(("/".join(part[shared:]) for part in parts), by_path.values(), strict=True))


@dataclass(frozen=True)
class DumpReader:
    """Reads the detections of an image; see `ReadyReader`."""

    dump: Dump
    index: VertexIndex | ChartIndex

    def instances(self, record: ImageRecord, size: tuple[int, int]) -> list[ReadyInstance]:
        """The detections of an image, numbered as in the dump."""
        entry = self.dump.entries[record.image_id]
        try:
            boxes = self._array(entry, "pred_boxes_XYXY").reshape(-1, 4).astype(np.float64)
            scores = self._array(entry, "scores").ravel().astype(np.float64)
            if len(boxes) != len(scores):
                raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores")
            found = self._found(entry.get("pred_densepose"), [_four(box) for box in boxes])
        except MALFORMED as error:
            if isinstance(error, Dp3dError):
                raise
            raise InputCorrupt("not the detections of a dump", got=repr(error)[:120], expected=EXPECTED) from error
        each = enumerate(zip(boxes, scores, found, strict=True))
        return [ReadyInstance(str(number), _four(box), float(score), one) for number, (box, score, one) in each]

    def size(self, record: ImageRecord) -> tuple[int, int]:
        """A dump does not tell the size of its images."""
        raise InputCorrupt("no photograph, and a dump does not tell its size", hint=HINT)

    def _array(self, entry: Mapping[str, Any], name: str) -> np.ndarray:
        return self.dump.archive.array(entry[name]) if name in entry else np.zeros(0)

    def _found(self, dense: Any, boxes: list[Box]) -> list[DensePrediction]:
        kind, fields = kind_of(dense), state_of(dense)
        if not boxes:
            return []
        if kind == "results":
            return [self._result(one, box) for one, box in zip(dense, boxes, strict=True)]
        if kind == "encoded":
            return [self._encoded(one, box) for one, box in zip(fields["results"], boxes, strict=True)]
        names = CHARTS if kind == "charts" else EMBEDDINGS
        maps = {name: self.dump.archive.array(fields[name]).astype(np.float32) for name in names}
        rows = [{name: values[row] for name, values in maps.items()} for row in range(len(boxes))]
        if kind == "charts":
            return [self._placed(box, *chart_pixels(box, **row)) for box, row in zip(boxes, rows, strict=True)]
        return [dense_prediction(box, row["embedding"], row["coarse_segm"], self.index) for box, row in zip(boxes, rows, strict=True)]

    def _result(self, one: Any, box: Box) -> DensePrediction:
        """Labels and u, v of every pixel of the box."""
        fields = state_of(one)
        labels, places = (self.dump.archive.array(fields[name]) for name in ("labels", "uv"))
        return self._placed(box, labels.astype(np.int64), places.astype(np.float64))

    def _encoded(self, one: Any, box: Box) -> DensePrediction:
        """Shape and a PNG of I, U, V in base64, as dumps of 2019 and 2020 hold them."""
        pixels = decode_png(from_text(one[1]), "a detection")
        return self._placed(box, pixels[..., 0].astype(np.int64), pixels[..., 1:].transpose(2, 0, 1) / 255)

    def _placed(self, box: Box, labels: np.ndarray, places: np.ndarray) -> DensePrediction:
        x, y, width, height = integer_box(box)
        if labels.shape != (height, width) or places.shape != (2, height, width):
            raise InputCorrupt("a detection of another size than its box", got=list(labels.shape), expected=[height, width])
        return chart_prediction((x, y), labels, np.clip(places, 0, 1), self.index)


def kind_of(dense: Any) -> str:
    """What the detections of an entry are: "embeddings", "charts", "results" or "encoded"; empty where there are none.

    Raises:
        InputCorrupt: something else.
    """
    fields = set(state_of(dense))
    if dense is None or (isinstance(dense, list) and not dense):
        return ""
    if isinstance(dense, list) and all({"labels", "uv"} <= set(state_of(one)) for one in dense):
        return "results"
    for kind, names in (("charts", CHARTS), ("embeddings", EMBEDDINGS), ("encoded", {"results"})):
        if names <= fields:
            return kind
    raise InputCorrupt("detections that are neither charts nor embeddings", got=", ".join(sorted(fields)) or type(dense).__name__)


def _four(values: Any) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1
