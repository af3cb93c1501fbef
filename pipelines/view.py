"""Lifted instances on one HTML page: photograph, keypoints, a body to turn, coloured by part, visibility or error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets.images import local_pixels
from dp3d_data.files import write_whole
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.evaluation.evaluator import Errors, errors_of
from dp3d_model.export.gallery import crop_box, figures_text, model_colours, photograph_texture, square_in
from dp3d_model.lifting.prediction import Prediction, network_alone, predict
from dp3d_model.networks.lifter import Lifter
from pipelines.report.page import cards, jpeg_address, page
from pipelines.report.viewer import SCRIPT, Body, Layer, packed, viewer

SIDE = 480
STAGES = ("network alone", "optimised")
VISIBLE, HIDDEN = (37, 99, 235), (203, 213, 225)


def write_view(
    lifter: Lifter,
    instances: KeypointBatch,
    lifted: Sequence[Prediction],
    path: str | Path,
    title: str,
    done: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write the page; everything is in it, nothing is fetched. Where instances were optimised, a button shows them as
    the network alone lifts them.

    Args:
        lifted: the predictions of the instances, some after the other.
        done: told of so many more finished instances.
    """
    errors, parts = errors_of(lifted, instances), model_colours(lifter)
    earlier = list(predict(network_alone(lifter), instances)) if lifter.config.refine.steps else []
    former = errors_of(earlier, instances)
    before = [many.at(i) for many in earlier for i in range(len(many.scale))]
    bodies: list[Body] = []
    for many in lifted:
        for i in range(len(many.scale)):
            at, own = len(bodies), many.at(i)
            body = _body(lifter, own, instances, at, errors[at], parts)
            start = _body(lifter, before[at], instances, at, former[at], parts, own) if before else None
            bodies.append(replace(body, before=start))
            done(1)
    measured = [one for one in errors if one is not None]
    shown = {name for body in bodies for name in body.arrays}
    layers = [layer for layer in _layers(measured) if layer.title in shown]
    facts: dict[str, Any] = {"instances": len(bodies), "vertices": len(lifter.surface.vertices)}
    if measured:
        facts |= {
            "MPJPE": f"{np.mean([one.mpjpe for one in measured]):.4f}",
            "PA-MPJPE": f"{np.mean([one.pa for one in measured]):.4f}",
        }
    if measured and before:
        facts["MPJPE of the network alone"] = f"{np.mean([one.mpjpe for one in former if one is not None]):.4f}"
    words = "the body from the photograph's camera, over it and alone; the last picture turns by hand"
    unit = (
        "Errors are in extents of the template, at the true scale; the best translation is taken off."
        if measured
        else ""
    )
    section = cards(facts) + viewer(lifter.surface.faces.numpy(), layers, bodies, STAGES)
    text = page(title, words, [("Lifted", section)], f"dp3d · template {lifter.surface.name}. {unit}", SCRIPT)
    return write_whole(Path(path), lambda stream: stream.write(text))


def _layers(measured: Sequence[Errors]) -> list[Layer]:
    """All colourings; the ramp of errors ends at the next twentieth above almost all of them."""
    largest = max((float(np.quantile(one.vertices, 0.98)) for one in measured), default=0.0)
    return [
        Layer(
            "photograph",
            "The photograph on the body; what it does not show is filled in from its other half.",
            dots="parts",
        ),
        Layer("parts", "The soft parts that the model has learned, each in its colour."),
        Layer("visibility", "The vertices that the photograph shows.", names={"visible": VISIBLE, "hidden": HIDDEN}),
        Layer(
            "error",
            "Distance of each vertex to the truth.",
            max(math.ceil(largest * 20.0), 1) / 20.0,
            unit="template extents",
        ),
    ]


def _body(
    lifter: Lifter,
    one: Prediction,
    instances: KeypointBatch,
    i: int,
    errors: Errors | None,
    parts: np.ndarray,
    framed: Prediction | None = None,
) -> Body:
    """Instance i with the square of its photograph around it, or around another lift of it, whose side is 1 in `seen`;
    the photograph and keypoints stay with that one."""
    visible, projected = instances.visible[i].numpy(), (framed or one).projected()
    keypoints = instances.keypoints[i].numpy()[visible]
    left, top, side = crop_box(np.concatenate([keypoints, projected[:, :2]]))
    pixels = local_pixels(instances.image_paths[i] if instances.image_paths else "")
    arrays = {"parts": parts, "visibility": np.where(visible[:, None], VISIBLE, HIDDEN)}
    if pixels is not None:
        arrays["photograph"] = photograph_texture(pixels, one, instances, i, lifter.surface).colours
    if errors is not None:
        arrays["error"] = errors.vertices
    seen: dict[str, Any] = {
        "camera": one.camera_from_template.reshape(-1).tolist(),
        "scale": float(one.scale) / side,
        "shift": ((one.translation - [left, top]) / side).tolist(),
    }
    if framed is None:
        square = None if pixels is None else jpeg_address(square_in(pixels, (left, top, side), SIDE), SIDE, 82)
        points = packed((keypoints - [left, top]) / side, "<f4")
        seen |= {"photograph": square, "ids": packed(np.flatnonzero(visible), "<i4"), "keypoints": points}
    known = "" if errors is None else f"  ·  MPJPE {errors.mpjpe:.4f}  ·  PA-MPJPE {errors.pa:.4f}"
    return Body(one.vertices, f"{instances.ids[i]}{figures_text(one)}{known}", arrays, seen)
