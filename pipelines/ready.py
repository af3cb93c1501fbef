"""Correspondences of a source that needs no network, to rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dp3d_data.bodies import Template
from dp3d_data.bodies.chart_files import read_charts
from dp3d_data.categories import category
from dp3d_data.matching import ChartIndex, VertexIndex, view_of
from dp3d_data.records import DensePrediction, Detection, ImageRecord, VertexView
from dp3d_data.shards import Truth
from dp3d_data.sources import Photograph, ReadyInstance, ReadySource, read_image
from pipelines.annotate import NOTHING_FOUND, RowMaker, Rows, attempt, image_info
from pipelines.extract_settings import ExtractConfig


class ReadyAnnotator(RowMaker):
    """What others have found, in the place of a network.

    Args:
        source: whose correspondences they are.
        template: whose vertices they name.
        model: the name that rows carry.

    Raises:
        TemplateError: they are of another template.
    """

    def __init__(self, config: ExtractConfig, source: ReadySource, template: Template, model: str) -> None:
        super().__init__(config, template, model)
        self.reader = source.reader(template.num_vertices, given_index(config))

    def annotate(self, record: ImageRecord) -> Rows:
        """The rows of one image; never raises for what is wrong with the image."""
        photograph = attempt(record, "read", lambda: self._read(record))
        if isinstance(photograph, Rows):
            return photograph
        size = photograph.width, photograph.height
        found = attempt(record, "detect", lambda: self.reader.instances(record, size))
        if isinstance(found, Rows):
            return found
        return attempt(record, "match", lambda: self._match(record, photograph, found))

    def _read(self, record: ImageRecord) -> Photograph:
        """The photograph; where there is none, an empty one of the size that the source tells."""
        if record.path:
            return read_image(record.path, self.config.max_pixels)
        width, height = self.reader.size(record)
        return Photograph(np.broadcast_to(np.uint8(0), (height, width, 3)), "")

    def _match(self, record: ImageRecord, photograph: Photograph, found: Sequence[ReadyInstance]) -> Rows:
        """A row, or the reason for none, for each instance with a score that is high enough."""
        rows, info = Rows(), image_info(record, photograph)
        kept = [one for one in found if one.score >= self.config.score]
        if not kept:
            rows.reject(record.image_id, record.image_id, NOTHING_FOUND)
        for one in kept:
            detection = Detection(one.box, one.score, self.config.category)
            if isinstance(one.found, DensePrediction):
                view, area = view_of(one.found, self.template.num_vertices), int(one.found.mask.sum())
            else:
                view, area = one.found, None
            truth = None if one.points is None else truth_of(one.points, view, self.template)
            self.add_instance(rows, f"{record.image_id}#{one.name}", info, detection, view, area, truth=truth)
        return rows


def given_index(config: ExtractConfig) -> VertexIndex | ChartIndex | None:
    """What the settings give pixels to be matched to: the charts of a body, or the vertices of some weights.

    Raises:
        InputMissing, InputCorrupt, CheckpointError, UnsafePickle: of the file.
    """
    if config.charts:
        return read_charts(config.charts)
    if not config.weights:
        return None
    from dp3d_data.inference import read_vertex_embeddings

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
