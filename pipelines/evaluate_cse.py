"""Score a CSE network on held-out synthetic images and on annotated photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dp3d_data.bodies import Template, load_template
from dp3d_data.bodies.geodesics import geodesic_distances
from dp3d_data.bodies.keypoints import DOG, named_keypoints
from dp3d_data.categories import category
from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.inference import DensePredictor, load_predictor
from dp3d_data.sources.images import read_image
from dp3d_data.sources.stanford_extra import read_stanford_extra
from dp3d_data.training.evaluate_recipe import EvaluateCseConfig
from dp3d_data.training.evaluation import Tally, TrueObject, examine
from dp3d_data.training.grouping import grouped_scenes
from dp3d_data.training.held_out import rendered_side
from pipelines.evaluation_pictures import Pictures

Images = Iterator[tuple[np.ndarray, list[TrueObject]]]
Scores = dict[str, dict[str, float]]


BESIDE = "beside, "
RATIO = "geodesic_ratio"


def run(config: EvaluateCseConfig) -> Scores:
    """Measures by part: "synthetic", "synthetic, view: side" and its other groups, "photographs".

    With `config.beside` also those of the second checkpoint, their names after BESIDE, and in "synthetic" RATIO, the
    geodesic error of the first over that of the second.

    Raises:
        As `scored`.
    """
    predictor = load_predictor(config.model, config.weights, category=config.category, device=config.device)
    config = replace(config, size=rendered_side(predictor.spec, config.size))  # the second one sees the same images
    scores = scored(config, predictor)
    if config.beside:
        beside = load_predictor(config.model, config.beside, category=config.category, device=config.device)
        other = scored(replace(config, pictures=""), beside)
        means = [part["synthetic"]["geodesic_mean"] for part in (scores, other) if "geodesic_mean" in part.get("synthetic", {})]
        if len(means) == 2:
            scores["synthetic"][RATIO] = means[0] / max(means[1], 1e-12)
        scores |= {f"{BESIDE}{title}": measures for title, measures in other.items()}
    if config.out:
        Path(config.out).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores


def scored(config: EvaluateCseConfig, predictor: DensePredictor) -> Scores:
    """The measures of one network.

    Raises:
        UsageError: no template to render, or photographs without their folder.
        InputMissing, InputCorrupt: photographs, annotations or keypoints that are not there or not usable.
    """
    class_id = predictor.class_of(config.category)
    name = config.template or category(config.category).template
    template = load_template(name) if name else None
    own = template is not None and belongs(template, predictor, class_id)
    geodesics = geodesic_distances(template) if own else None
    scores: Scores = {}

    def part(title: str, images: Images, **more) -> Tally:
        pictures = Pictures(config.pictures, title, config.pictures_count, predictor, template if own else None)
        tally = examine(predictor, images, geodesics, classes=[class_id], watch=pictures, **more)
        scores[title] = tally.result()
        return tally

    if config.count:
        if template is None:
            raise UsageError(f"no built-in template for {config.category!r}", hint="give the network's template: --template MESH")
        tally = part("synthetic", grouped_scenes(template, config.seed, config.size, config.count))
        scores |= {f"synthetic, {group}": measures for group, measures in tally.by_group().items()}
    if config.stanford_extra:
        if not config.images:
            raise UsageError("--stanford-extra needs the folder of its photographs", hint="add --images FOLDER")
        part("photographs", annotated_photographs(config), named_vertices=_named(config, template if own else None))
    return scores


def belongs(template: Template, predictor: DensePredictor, class_id: int) -> bool:
    """Whether the network's vertices are the template's: by content hash, by number where the weights name none."""
    if predictor.template_hash:
        return predictor.template_hash == template.content_hash
    return template.num_vertices == len(predictor.vertex_embeddings(class_id))


def _named(config: EvaluateCseConfig, template: Template | None) -> np.ndarray | None:
    """Vertices of the annotated keypoints; None where they are not known for this template."""
    if template is None:
        return None
    if config.keypoints:
        return named_keypoints(config.keypoints, vertices=template.num_vertices)
    builtin = load_template("dog").content_hash == template.content_hash
    return named_keypoints(DOG) if builtin else None


def annotated_photographs(config: EvaluateCseConfig) -> Images:
    """StanfordExtra photographs with box, mask and keypoints."""
    for entry in read_stanford_extra(config.stanford_extra, config.images):
        photograph = read_image(entry.path)
        if entry.mask.shape != photograph.pixels.shape[:2]:
            got, expected = (f"{shape[1]} x {shape[0]}" for shape in (entry.mask.shape, photograph.pixels.shape))
            raise InputCorrupt("annotations of an image of another size", got=got, expected=expected, path=entry.path)
        yield np.ascontiguousarray(photograph.pixels[:, :, ::-1]), [TrueObject(entry.box, entry.mask, named=entry.keypoints)]
