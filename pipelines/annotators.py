"""Annotators that need no network of ours: ready correspondences of a dataset, and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

from dp3d_data.categories import category
from dp3d_data.datasets import BadInstance, Dataset, ReadyInstance
from dp3d_data.datasets.images import Photograph, read_image, turn_of, turned_instance, turned_record
from dp3d_data.errors import InputCorrupt
from dp3d_data.geometry import Template
from dp3d_data.matching import ChartIndex, VertexIndex, view_of
from dp3d_data.matching.charts import read_charts
from dp3d_data.plugins import load
from dp3d_data.records import Box, DensePrediction, ImageRecord, VertexView, present
from dp3d_data.shards import ImageInfo, Truth
from pipelines.annotate import RowMaker, Views, box_problem, image_info, limited_threads, tell
from pipelines.chunks import NOTHING_FOUND, Advance, Rows, annotation_rows, failure_row
from pipelines.settings import ExtractConfig

GROUP = "dp3d.annotators"


class OwnAnnotator(Protocol):
    """What an entry point of dp3d.annotators names: a class of which each process makes one."""

    def __init__(self, template: Template, category: str, device: str) -> None: ...

    def annotate(
        self, image: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "N 4"] | None
    ) -> Sequence[ReadyInstance | BadInstance]:
        """The instances of an upright RGB image, in a fixed order; `boxes`, xyxy in pixels, where they are given."""


def own_version(name: str) -> str:
    """The package that adds an annotator, with its version: blobs@dp3d-example-1.0; empty for none."""
    for point in entry_points(group=GROUP, name=name) if name else ():
        return f"{name}@{point.dist.name}-{point.dist.version}" if point.dist else name
    return ""


def own_annotator(config: ExtractConfig, template: Template) -> OwnAnnotator:
    """The annotator of another package that the settings name.

    Raises:
        UsageError, DependencyMissing: there is none, or its package cannot be imported.
    """
    return load(GROUP, config.model, {})(template, config.category, config.device)


# Pixels by which a keypoint may miss the edge of its image or box.
SLACK = 1.0


class PrecomputedAnnotator(RowMaker):
    """What others have found, in the place of a network.

    Args:
        source: whose correspondences they are, or what finds them.

    Raises:
        TemplateError: they are of another template.
    """

    def __init__(self, config: ExtractConfig, source: Dataset | OwnAnnotator, template: Template, model: str) -> None:
        super().__init__(config, template, model)
        self.source = source
        self.reader = source.reader(template.num_vertices, given_index(config)) if isinstance(source, Dataset) else None

    def annotate(self, record: ImageRecord) -> Rows:
        """The rows of one image; never raises for what is wrong with the image."""
        if record.faults and not record.path:
            return annotation_rows(record)  # those of no image
        failed = Rows()
        with failed.failing(record, "read"):
            photograph = self._read(record)
        if not failed.failures:
            with failed.failing(record, "detect"):
                found = self._instances(record, photograph)
        if not failed.failures:
            with failed.failing(record, "match"):
                return self._match(record, photograph, found)
        return failed

    def _read(self, record: ImageRecord) -> Photograph:
        """The photograph; where there is none, an empty one of the size that the source tells."""
        if record.path or not isinstance(self.source, Dataset):
            return read_image(record.path, self.config.max_pixels)
        width, height = self.source.size_of(record)
        return Photograph(np.broadcast_to(np.uint8(0), (height, width, 3)), "")

    def _instances(self, record: ImageRecord, photograph: Photograph) -> list[ReadyInstance | BadInstance]:
        """What there is for an image, in pixels of the upright photograph."""
        if not isinstance(self.source, Dataset):
            boxes = turned_record(record, photograph).boxes
            given = None if boxes is None else np.array(boxes, dtype=np.float32).reshape(-1, 4)
            return list(self.source.annotate(photograph.pixels, given))
        turn = turn_of(record.size, photograph)
        size = photograph.width, photograph.height
        found = present(self.reader)(record, size[::-1] if turn else size)
        if not turn:
            return list(found)
        return [one if isinstance(one, BadInstance) else turned_instance(one, turn, size[::-1]) for one in found]

    def _match(self, record: ImageRecord, photograph: Photograph, found: Sequence[ReadyInstance | BadInstance]) -> Rows:
        """A row, or the reason for none, for each instance of enough score; one that fails is a row of its own."""
        rows, info = annotation_rows(record), image_info(record, photograph)
        kept = [one for one in found if isinstance(one, BadInstance) or one.score >= self.config.score]
        if not kept and not rows.failures:
            rows.reject(record.image_id, record.image_id, NOTHING_FOUND)
        for one in kept:
            instance_id = f"{record.image_id}#{one.name}"
            if isinstance(one, BadInstance):
                rows.failures.append(failure_row(record, "detect", one.error, instance_id))
            else:
                with rows.failing(record, "match", instance_id):
                    self._add(rows, one, instance_id, info)
        return rows

    def _add(self, rows: Rows, one: ReadyInstance, instance_id: str, info: ImageInfo) -> None:
        """The row of one instance, or the reason for none."""
        view = view_of(one.found, self.template.num_vertices) if isinstance(one.found, DensePrediction) else one.found
        if len(view.ids) >= self.config.min_vertices:
            require_inside(one.box, view.keypoints, (info.width, info.height))
        truth = None if one.points is None else truth_of(one.points, view, self.template)
        self.add_instance(rows, instance_id, info, one.box, one.score, one.found, truth=truth)


def annotate_one_by_one(
    annotators: Mapping[str, PrecomputedAnnotator], images: Sequence[Views], advance: Advance
) -> list[dict[str, Rows]]:
    """The rows of each image in each category that it has a record in; see `Annotate`."""
    found = []
    with limited_threads(next(iter(annotators.values())).config.threads):
        for views in images:
            found.append({name: annotators[name].annotate(record) for name, record in views.items()})
            tell(advance, found[-1])
    return found


def require_inside(box: Box, keypoints: Float[np.ndarray, "V 2"], size: tuple[int, int]) -> None:
    """Refuse an instance that cannot be of an image of (width, height).

    Raises:
        InputCorrupt: the box has no area or lies outside the image, or no keypoint lies in the image and in the box.
    """
    problem = box_problem(box, size)
    if problem is not None:
        raise problem
    (x0, y0), (x1, y1) = keypoints.min(axis=0), keypoints.max(axis=0)
    for what, low, high in (("image", (0, 0), size), ("box", box[:2], box[2:])):
        if not ((keypoints >= np.subtract(low, SLACK)) & (keypoints <= np.add(high, SLACK))).all(axis=1).any():
            got, expected = f"keypoints {x0:g}, {y0:g} to {x1:g}, {y1:g}", f"keypoints between {low} and {high}"
            raise InputCorrupt(f"the keypoints lie outside their {what}", got=got, expected=expected)


def given_index(config: ExtractConfig) -> VertexIndex | ChartIndex | None:
    """What the settings give pixels to be matched to: the charts of a body, or the vertices of some weights.

    Raises:
        InputMissing, InputCorrupt, CheckpointError, UnsafePickle: of the file.
    """
    if config.charts:
        return read_charts(config.charts)
    if not config.weights:
        return None
    from dp3d_data.detection import read_vertex_embeddings

    entry = category(config.category)
    meshes = tuple(name for name in (entry.template, entry.mesh_16k, entry.mesh_4k) if name)
    return VertexIndex(read_vertex_embeddings(config.weights, meshes), config.device)


def truth_of(points: Float[np.ndarray, "K 3"], view: VertexView, template: Template) -> Truth:
    """Known points in template units, and the scale of the orthographic projection that fits the keypoints best.

    Args:
        points: in the camera frame (x right, y down, z away from the viewer) and the unit of the template's file.
    """
    placed = (points - points.mean(axis=0)) / template.factor
    seen = placed[view.ids, :2] - placed[view.ids, :2].mean(axis=0)
    spread = np.square(seen).sum()
    keypoints = view.keypoints - view.keypoints.mean(axis=0)
    scale = float((seen * keypoints).sum() / spread) if spread > 0 else 0.0
    return Truth(placed, scale, template.factor if template.unit == "m" else None)
