"""Carry a network's embeddings to a template of the user's: landmarks, photographs, renders, a new file of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.categories import CATEGORIES
from dp3d_data.config import file_digest, workspace
from dp3d_data.datasets import DatasetOptions
from dp3d_data.datasets.folder import Folder
from dp3d_data.datasets.images import read_image
from dp3d_data.detection import DensePredictor, load_predictor, save_adopted
from dp3d_data.detection.training.adoption import (
    Field,
    Known,
    Placed,
    blank_field,
    field_from_landmarks,
    fitted_to_renders,
    known_pixels,
    matching_errors,
    mean_field,
    placed_pixels,
    pulled_to_photographs,
)
from dp3d_data.detection.training.evaluation import rendered_side
from dp3d_data.detection.training.metrics import summary
from dp3d_data.detection.training.stream import training_world
from dp3d_data.errors import Dp3dError, InputCorrupt, NothingToDo, UsageError
from dp3d_data.geometry import Template, load_template
from dp3d_data.geometry.builtin import SUFFIXES, builtin_names, free_path
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.matching import integer_box, nearest_vertices, resize_to
from dp3d_data.matching.landmarks import Landmark, read_landmarks
from dp3d_data.records import present
from pipelines.chunks import Say
from pipelines.settings import AdoptConfig, place_of

HELD_BACK = 0.25  # renders beside those of the fit, for its measure


# Name of the template, file of the weights, and mean, under_5, under_10 on held-back renders after each step.
Adopted = tuple[str, Path, dict[str, dict[str, float]]]


def run(mesh: str, config: AdoptConfig, say: Say = lambda _: None) -> Adopted:
    """Adopt a template.

    Raises:
        UsageError: neither landmarks nor renders, too few landmarks, or a network without embeddings.
        InputMissing, InputCorrupt: landmarks or photographs that are not there or not usable.
    """
    if not config.landmarks and not config.renders:
        hint = "give landmarks: --landmarks FILE.csv, or let the network look at renders of the template: --renders 200"
        raise UsageError("nothing says where the embeddings belong", hint=hint)
    template = load_template(mesh)
    template = replace(template, name=config.name or template.name)
    builtin = template.name in builtin_names() and load_template(template.name).content_hash == template.content_hash
    place = None if builtin else free_path(template.name, config.overwrite)
    predictor = load_predictor(config.model, config.weights, category=config.category, device=config.device)
    if predictor.spec.kind != "cse":
        what = "a chart network has no embeddings to carry over"
        raise UsageError(what, got=predictor.spec.name, hint="dp3d-data zoo list")
    class_id = predictor.class_of(config.category)
    field, measures = _field(template, predictor, class_id, config, say)
    path = place_of(config.out, config.category, f"adopt/{template.name}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = f"{predictor.spec.name}@{file_digest(config.weights)[:8]}" if config.weights else predictor.spec.name
    hashes = {**predictor.notes.get("template_hashes", {}), template.name: template.content_hash}
    notes = {"template_hashes": hashes, "adopted_from": origin}
    save_adopted(predictor, class_id, template.name, field.functions, field.coefficients, path, **notes)
    if place is not None:
        template.save(place)
    return template.name, path, measures


def run_folder(folder: str | Path, config: AdoptConfig, say: Say = lambda _: None) -> dict[str, Adopted]:
    """Adopt each mesh of a folder that is named after a category (horse.obj, landmarks in horse.csv) into one file.

    Args:
        config: `landmarks` may name another folder; `name` goes before the names of the templates.

    Returns:
        Category -> what was adopted; the weights of all are the same file.

    Raises:
        NothingToDo: no such mesh.
        UsageError: a template of one of the names exists.
    """
    folder = Path(folder)
    files = sorted(folder.iterdir())
    meshes = {path.stem: path for path in files if path.suffix.lower() in SUFFIXES and path.stem in CATEGORIES}
    if not meshes:
        got = ", ".join(sorted(path.name for path in files)[:6]) or "an empty folder"
        expected = "meshes such as horse.obj, beside horse.csv"
        raise NothingToDo("no mesh of a category in this folder", got=got, expected=expected, path=folder)
    prefix = config.name or folder.resolve().name
    names = {kind: f"{prefix}-{kind}" if config.name or kind in builtin_names() else kind for kind in meshes}
    for name in names.values():
        free_path(name, config.overwrite)
    out = config.out or str(workspace() / "adopt" / f"{prefix}.pth")
    adopted: dict[str, Adopted] = {}
    for kind, mesh in meshes.items():
        say(f"{kind}: {mesh}")
        marks = Path(config.landmarks or folder) / f"{kind}.csv"
        own = replace(config, category=kind, name=names[kind], out=out, landmarks=str(marks) if marks.is_file() else "")
        adopted[kind] = run(str(mesh), replace(own, weights=out) if adopted else own, say)
    return adopted


def _field(template: Template, predictor: DensePredictor, class_id: int, config: AdoptConfig, say: Say):
    """The field after all evidence, and the measures after each step."""
    embeddings = predictor.vertex_embeddings(class_id)
    field = blank_field(template, predictor.spec.embed_features, embeddings.shape[1])
    renders = list(_render_pixels(template, predictor, class_id, config)) if config.renders else []
    held = round(HELD_BACK * config.renders)
    held_back, renders = renders[:held], renders[held:]
    geodesics = geodesic_distances(template)
    measures: dict[str, dict[str, float]] = {}

    def measure(step: str, now: Field) -> Field:
        if held_back:
            errors = summary(matching_errors(now, held_back, geodesics))
            measures[step] = {name: float(value) for name, value in errors.items()}
            say(f"  {step}: " + " · ".join(f"{name} {value:.4f}" for name, value in measures[step].items()))
        return now

    if config.landmarks:
        marks = read_landmarks(config.landmarks, template.num_vertices, len(embeddings))
        own, ids = _cse_vertices(marks, predictor, class_id, config, say)
        features = predictor.network.embedder(predictor.mesh_of[class_id]).features.float().cpu().numpy()
        field = measure(f"{len(own)} landmarks", field_from_landmarks(field, features, embeddings, ids, own))
    elif renders:
        field = measure("mean of the renders", mean_field(field, renders))
    if config.images:
        photographs = list(_photograph_pixels(predictor, class_id, config, say))
        field = measure(f"{len(photographs)} animals of photographs", pulled_to_photographs(field, photographs))
    if renders:
        field = measure(f"{len(renders)} animals of renders", fitted_to_renders(field, renders, geodesics, config.seed))
    return field, measures


def _cse_vertices(
    marks: Sequence[Landmark], predictor: DensePredictor, class_id: int, config: AdoptConfig, say: Say
) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of the template that have landmarks, ascending, and of each the vertex of the checkpoint's mesh.

    Rows whose photograph shows the network nothing there are told and left out."""
    found: dict[int, list[int]] = {}
    cache: dict[Path, Any] = {}
    trouble: InputCorrupt | None = None
    for mark in marks:
        try:
            found.setdefault(mark.vertex, []).append(_cse_vertex(mark, predictor, class_id, config, cache))
        except InputCorrupt as error:
            trouble = error
            say(f"  left out: {error}")
    vertices = np.array(sorted(own for own, ids in found.items() if ids), dtype=np.int64)
    if trouble is not None and not len(vertices):
        raise trouble
    embeddings = predictor.vertex_embeddings(class_id)
    return vertices, np.array([_agreed(found[own], embeddings) for own in vertices.tolist()], dtype=np.int64)


def _agreed(ids: Sequence[int], embeddings: np.ndarray) -> int:
    """The one whose embedding is most like those of all; the first of equal ones."""
    own = embeddings[list(ids)]
    return ids[int(np.argmax((own @ own.T).sum(axis=1)))]


def _cse_vertex(
    mark: Landmark, predictor: DensePredictor, class_id: int, config: AdoptConfig, cache: dict[Path, Any]
) -> int:
    """The vertex of the checkpoint's mesh that a landmark means; in a photograph, the one that the network sees there.

    Args:
        cache: what the network has found in photographs; those looked at now are added.
    """
    if mark.cse_vertex is not None:
        return mark.cse_vertex
    path, (x, y) = present(mark.image), present(mark.point)
    if path not in cache:
        image = np.ascontiguousarray(read_image(path).pixels[:, :, ::-1])
        cache[path] = list(predictor.predict(image, score=config.score, classes=[class_id]))
    for detection in cache[path]:
        left, top, width, height = integer_box(detection.region)
        column, row = int(np.floor(x)) - left, int(np.floor(y)) - top
        if 0 <= column < width and 0 <= row < height:
            pixel = resize_to(np.asarray(detection.embedding), width, height)[row, column]
            return int(nearest_vertices(pixel[None], predictor.vertex_embeddings(class_id))[0])
    hint = "choose a photograph where the animal is found (dp3d-data extract shows it), or lower it: --set score=0.3"
    got = f"({x}, {y}) lies in no {config.category} of {path.name}"
    raise InputCorrupt(f"line {mark.line}: the network finds nothing there", got=got, hint=hint, path=config.landmarks)


def _photograph_pixels(predictor: DensePredictor, class_id: int, config: AdoptConfig, say: Say) -> Iterator[Placed]:
    """What the network sees of the animals of the photographs; those that cannot be read are told and left out."""
    for number, record in enumerate(Folder(DatasetOptions(images=config.images)).records()):
        try:
            image = np.ascontiguousarray(read_image(record.path).pixels[:, :, ::-1])
        except Dp3dError as error:
            say(f"  left out: {error}")
            continue
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, number]))
        for detection in predictor.predict(image, score=config.score, classes=[class_id]):
            if pixels := placed_pixels(detection, rng):
                yield pixels


def _render_pixels(
    template: Template, predictor: DensePredictor, class_id: int, config: AdoptConfig
) -> Iterator[Known]:
    """What the network sees of renders of the template, with the truth; the first of them are held back."""
    size = rendered_side(predictor.spec, config.size)
    world = training_world(template, config.seed, size)
    for index in range(config.renders + round(HELD_BACK * config.renders)):
        scene = world.scene(index)
        animals = [one for one in scene if (one.vertex_map >= 0).any()]
        boxes = np.array([one.box for one in animals], dtype=np.float32).reshape(-1, 4)
        image = np.ascontiguousarray(scene[0].image[:, :, ::-1])
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, index]))
        found = predictor.predict(image, boxes=boxes, classes=[class_id]) if len(boxes) else []
        for animal, detection in zip(animals, found, strict=True):
            if pixels := known_pixels(detection, rng, np.where(animal.mask, animal.vertex_map, -1)):
                yield pixels
