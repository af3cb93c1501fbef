"""Score a CSE network on held-out synthetic images and on annotated photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp3d_data.bodies import load_template
from dp3d_data.bodies.geodesics import geodesic_distances
from dp3d_data.categories import category
from dp3d_data.errors import UsageError
from dp3d_data.inference import load_predictor
from dp3d_data.sources.images import read_image
from dp3d_data.sources.stanford_extra import read_stanford_extra
from dp3d_data.training.evaluation import TrueObject, evaluate
from dp3d_data.training.held_out import scenes_with_truth
from dp3d_data.training.recipe import EvaluateCseConfig

Images = Iterator[tuple[np.ndarray, list[TrueObject]]]


def run(config: EvaluateCseConfig) -> dict[str, dict[str, float]]:
    """Measures by part: "synthetic", "photographs".

    Raises:
        UsageError: no template to render, or photographs without their folder.
    """
    predictor = load_predictor(config.model, config.weights, category=config.category, device=config.device)
    own = category(config.category).template
    scores = {}
    if config.count:
        name = config.template or own
        if not name:
            raise UsageError(f"no built-in template for {config.category!r}", hint="give the network's template: --template MESH")
        template = load_template(name)
        same = template.num_vertices == len(predictor.vertex_embeddings(predictor.class_of(config.category)))
        geodesics = geodesic_distances(template) if same else None
        scores["synthetic"] = evaluate(predictor, scenes_with_truth(template, config.seed, config.size, config.count), geodesics)
    if config.stanford_extra:
        if not config.images:
            raise UsageError("--stanford-extra needs the folder of its photographs", hint="add --images FOLDER")
        scores["photographs"] = evaluate(predictor, annotated_photographs(config))
    if config.out:
        Path(config.out).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores


def annotated_photographs(config: EvaluateCseConfig) -> Images:
    """StanfordExtra photographs with box and mask; their keypoints are no template vertices."""
    for entry in read_stanford_extra(config.stanford_extra, config.images):
        image = read_image(entry.path).pixels
        yield np.ascontiguousarray(image[:, :, ::-1]), [TrueObject(entry.box, entry.mask)]
