"""The truth of rendered animals, and what a network finds in their images joined with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp3d_data.geometry import Template
from dp3d_data.records import RunLength
from dp3d_data.run_lengths import mask_pixels
from dp3d_data.shards.instances import Camera, Truth, truth_columns
from dp3d_data.synthesis import SyntheticInstance, SyntheticScene
from pipelines.annotate import Annotator, limited_threads
from pipelines.extract import MakePredictor, network_of, require_own_template
from pipelines.extract_settings import ExtractConfig
from pipelines.rows import Rows

# Least overlap (intersection over union) of a detection's mask with an animal that it is taken for.
OVERLAP = 0.4
NO_ANIMAL = "no animal of the world"


@dataclass(frozen=True)
class Annotation:
    """How a network looks at the images of a world: its settings, the template of its answers, its name and how it is
    loaded."""

    config: ExtractConfig
    template: Template
    model: str
    digest: str
    make_predictor: MakePredictor

    def annotator(self) -> Annotator:
        """Load the network."""
        with limited_threads(self.config.threads):
            return Annotator(self.config, self.make_predictor(), self.template, self.model)


def annotation_of(category: str, weights: str, template: Template) -> Annotation:
    """Find the network.

    Raises:
        InputMissing, CheckpointError: no weights.
        TemplateError: weights of another template.
    """
    config = ExtractConfig(category=category, weights=weights, template=template.name)
    make_predictor, model, digest = network_of(config)
    require_own_template(config, template)
    return Annotation(config, template, model, digest, make_predictor)


def with_truth(rows: Rows, scene: SyntheticScene, template: Template) -> Rows:
    """Rows of a scene's image with the truth of the animals that they show, each once and best first; the others are
    rejected."""
    kept, left = Rows(failures=rows.failures, rejects=list(rows.rejects)), list(scene.animals)
    for row in sorted(rows.instances, key=lambda one: (-one["score"], one["instance_id"])):
        found = mask_pixels(RunLength(row["image_height"], row["image_width"], row["mask"].encode()))
        overlaps = [float((found & one.mask).sum() / (found | one.mask).sum()) for one in left]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < OVERLAP:
            kept.reject(row["instance_id"], row["image_id"], NO_ANIMAL, max(overlaps, default=0.0))
            continue
        animal = left.pop(best)
        kept.instances.append(row | {"group": animal.group} | truth_columns(known_truth(template, animal)))
    return kept


def known_truth(template: Template, instance: SyntheticInstance) -> Truth:
    """Shape, scale and camera of an instance."""
    camera, scale = _camera(instance)
    return Truth(instance.true_vertices, scale, template.metres, camera)


def _camera(instance: SyntheticInstance) -> tuple[Camera, float]:
    """The camera of the image, and pixels per template unit: of a pinhole at the mean depth, as `project` has it."""
    strength, scale = instance.strength, instance.scale
    if not strength:
        return Camera.orthographic(scale, instance.translation), scale
    x, y = instance.translation
    camera = Camera.perspective((scale / strength, scale / strength), (x, y), 1.0, np.array([0.0, 0.0, 1.0 / strength]))
    return camera, float(scale / (1.0 + strength * instance.true_vertices[:, 2].mean()))
