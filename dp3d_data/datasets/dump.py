"""Dumps of the reference implementation's apply_net: boxes, scores, and charts or embeddings of each detection."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.config import file_digest
from dp3d_data.datasets import BadInstance, Dataset, InstanceReader, ReadyInstance
from dp3d_data.datasets.annotations import MALFORMED, in_words, instance_of, reading
from dp3d_data.datasets.iuv import decode_png, finite, from_text
from dp3d_data.datasets.locations import find_image, is_address, is_file, require_images
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing, NothingToDo, TemplateError, UsageError
from dp3d_data.matching import ChartIndex, VertexIndex, chart_pixels, chart_prediction, dense_prediction, integer_box
from dp3d_data.matching.charts import require_person
from dp3d_data.records import Box, DensePrediction, ImageRecord
from dp3d_data.unpickling import Tensor, Unread, read_pickle

EXPECTED = "apply_net's dump: a list of dicts with file_name, scores, pred_boxes_XYXY and pred_densepose"
HINT = "name the folder of the photographs: --images FOLDER"
AGAIN = "make the dump again with apply_net.py dump, or fetch it again"
# The packages whose objects stand in a dump.
PACKAGES = ("densepose", "detectron2")
EMBEDDINGS, CHARTS = {"embedding", "coarse_segm"}, {"coarse_segm", "fine_segm", "u", "v"}


class Dump(Dataset):
    """--category says whose detections a dump holds; charts need --charts, embeddings the --weights of its network.

    Photographs are looked for where the dump says, then by name below --images or beside the dump. Detections below
    --score are left out; a dump keeps those from 0.05.
    """

    name = "dump"
    model = "dump"

    def records(self) -> list[ImageRecord]:
        entries = read_dump(self.path(EXPECTED))
        if not entries:
            raise NothingToDo("no image in this dump", path=self.options.path)
        self._require_vertices(entries.values())
        folders = [*self.options.images, str(Path(self.options.path).parent)]
        records = [ImageRecord(name, self._place(entry, folders), self.name) for name, entry in entries.items()]
        require_images(records, folders, HINT)
        return records

    def digest(self) -> str:
        return file_digest(self.options.path)

    def reader(self, num_vertices: int, index: VertexIndex | ChartIndex | None) -> InstanceReader:
        if isinstance(index, ChartIndex):
            require_person(num_vertices)
        elif index is None:
            hint = "name them: --charts UV_Processed.mat or --weights FILE"
            raise UsageError("a dump needs charts or weights", hint=hint)
        elif index.num_vertices != num_vertices:
            what, got = "template and weights do not belong together", f"{num_vertices} vertices"
            expected = f"the {index.num_vertices} of the weights"
            raise TemplateError(what, got=got, expected=expected, hint="name it: --template")
        entries = read_dump(self.path(EXPECTED))

        def instances(record: ImageRecord, size: tuple[int, int]) -> list[ReadyInstance | BadInstance]:
            return _instances(entries[record.image_id], index)

        return instances

    def _require_vertices(self, entries: Any) -> None:
        kinds, wrong = set(), None
        for entry in entries:
            try:
                kinds |= {kind_of(entry.get("pred_densepose"))} - {""}
            except InputCorrupt as error:  # a row of the failures table, where other images have detections
                wrong = error
        if wrong is not None and not kinds:
            raise wrong
        if "embeddings" in kinds and not self.options.weights:
            hint = "name the weights that made it, for their vertices: --weights FILE"
            raise UsageError("this dump holds embeddings", hint=hint)
        if "embeddings" in kinds and self.options.charts:
            raise UsageError("this dump holds embeddings", got="--charts", hint="leave out --charts")
        if kinds - {"embeddings"}:
            self.require_charts()

    def _place(self, entry: Mapping[str, Any], folders: list[str]) -> str:
        written = str(entry["file_name"])
        here = not is_address(written) and is_file(written)  # a dump has nothing fetched
        return written if here else find_image([written.lstrip("/"), os.path.basename(written)], folders)


def read_dump(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a dump in its order, by the end of the path that tells them apart; of two of an image the last.

    Args:
        path: a plain pickle, as apply_net wrote until October 2022, or an archive of torch, as it has written since.
    """
    if not path.is_file():
        raise InputMissing("no such file", expected=EXPECTED, path=path)
    content = read_pickle(path, PACKAGES)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "file_name" in entry for entry in content):
        raise InputCorrupt("not a dump", got=type(content).__name__, expected=EXPECTED, hint=AGAIN, path=path)
    by_path = {str(entry["file_name"]).replace("\\", "/"): entry for entry in content}
    parts = [path.split("/") for path in by_path]
    shared = min(len(os.path.commonprefix(parts)), min((len(part) for part in parts), default=1) - 1)
    return dict(zip(("/".join(part[shared:]) for part in parts), by_path.values(), strict=True))


def _instances(entry: Mapping[str, Any], index: VertexIndex | ChartIndex) -> list[ReadyInstance | BadInstance]:
    """The detections of an image, numbered as in the dump; one that cannot be read costs the others nothing."""
    with reading("not the detections of a dump", EXPECTED, AGAIN):
        boxes = _array(entry.get("pred_boxes_XYXY", ())).reshape(-1, 4).astype(np.float64)
        scores = _array(entry.get("scores", ())).ravel().astype(np.float64)
        if "pred_boxes_XYXY" not in entry and kind_of(entry.get("pred_densepose")):
            raise KeyError("pred_boxes_XYXY")
        found = _detections(entry.get("pred_densepose"), len(boxes), index) if len(boxes) else []
        if not len(boxes) == len(scores) == len(found):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores, {len(found)} detections")
    each = enumerate(zip(boxes, scores, found, strict=True))
    return [instance_of(str(number), _instance, *one) for number, one in each]


def _detections(dense: Any, count: int, index: Any) -> list[Callable[[Box], DensePrediction]]:
    """What reads each detection, given its box."""
    kind, fields = kind_of(dense), fields_of(dense)
    if kind in ("results", "encoded"):
        return [partial(_result, one, index) for one in (dense if kind == "results" else fields["results"])]
    names = CHARTS if kind == "charts" else EMBEDDINGS
    maps = {name: _array(fields[name]).astype(np.float32) for name in names}
    if any(len(values) < count for values in maps.values()):
        raise ValueError(f"{count} boxes, {len(maps['coarse_segm'])} detections")
    return [partial(_maps, {name: values[row] for name, values in maps.items()}, index) for row in range(count)]


def _maps(row: dict[str, Any], index: Any, box: Box) -> DensePrediction:
    if "embedding" in row:
        return dense_prediction(box, row["embedding"], row["coarse_segm"], index)
    return _placed(box, *chart_pixels(box, **row), index)


def _result(one: Any, index: ChartIndex, box: Box) -> DensePrediction:
    """Labels and u, v of every pixel; in dumps of 2019 and 2020 the shape and a PNG of I, U, V in base64."""
    if not isinstance(one, (list, tuple)):
        labels, places = (_array(fields_of(one)[name]) for name in ("labels", "uv"))
        return _placed(box, labels.astype(np.int64), places.astype(np.float64), index)
    pixels = decode_png(from_text(one[1]), "a detection")
    return _placed(box, pixels[..., 0].astype(np.int64), pixels[..., 1:].transpose(2, 0, 1) / 255, index)


def _placed(box: Box, labels: np.ndarray, places: np.ndarray, index: ChartIndex) -> DensePrediction:
    x, y, width, height = integer_box(box)
    if labels.shape != (height, width) or places.shape != (2, height, width):
        what, got = "a detection of another size than its box", f"{labels.shape}, its u and v {places.shape}"
        raise InputCorrupt(what, got=got, expected=(height, width), hint=AGAIN)
    return chart_prediction((x, y), labels, np.clip(places, 0, 1), index)


def fields_of(item: Any) -> Mapping[str, Any]:
    """The fields of an object of the reference; empty where it is none."""
    return item.state if isinstance(item, Unread) and isinstance(item.state, dict) else {}


def kind_of(dense: Any) -> str:
    """What the detections of an entry are: embeddings, charts, results or encoded; empty where there are none."""
    fields = set(fields_of(dense))
    if dense is None or (isinstance(dense, list) and not dense):
        return ""
    if isinstance(dense, list) and any(isinstance(one, Unread) for one in dense):
        return "results"
    for kind, names in (("charts", CHARTS), ("embeddings", EMBEDDINGS), ("encoded", {"results"})):
        if names <= fields:
            return kind
    got = ", ".join(sorted(fields)) or type(dense).__name__
    raise InputCorrupt("detections that are neither charts nor embeddings", got=got)


def _instance(name: str, numbers: np.ndarray, score: float, read: Callable[[Box], DensePrediction]) -> ReadyInstance:
    try:
        x0, y0, x1, y1 = (finite(value) for value in numbers)
        box = x0, y0, x1, y1
        return ReadyInstance(name, box, finite(score), read(box))
    except Dp3dError:
        raise
    except MALFORMED as error:
        what, got = f"detection {name}: not a detection", in_words(error)[:120]
        raise InputCorrupt(what, got=got, expected=EXPECTED, hint=AGAIN) from error


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, Tensor | np.ndarray | list | tuple):
        raise TypeError(f"{type(value).__name__} in the place of numbers")
    return value.array() if isinstance(value, Tensor) else np.asarray(value)
