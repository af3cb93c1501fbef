"""A synthetic world to a run folder: images, vertex maps, and instances whose truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.categories import category
from dp3d_data.config import file_digest, fingerprint_of, plain
from dp3d_data.errors import UsageError, WorkerLost
from dp3d_data.files import write_arrays, write_picture
from dp3d_data.geometry import Template, load_template
from dp3d_data.records import ImageRecord, RunLength, VertexView, as_box
from dp3d_data.run_lengths import encode_pixels, mask_pixels
from dp3d_data.shards.instances import (
    ImageInfo,
    Truth,
    instance_row,
    orthographic_camera,
    perspective_camera,
    truth_columns,
)
from dp3d_data.shards.schema import SCHEMA_VERSION
from dp3d_data.synthesis import PicturedInstance, SyntheticInstance, World
from dp3d_data.synthesis.backgrounds import photo_paths
from pipelines.annotate import Annotator, limited_threads
from pipelines.chunks import Executor, Plan, Rows, RowsOf, chunked, worker_count
from pipelines.extract import MakePredictor, network_of, require_own_template
from pipelines.settings import ExtractConfig, SynthConfig, place_of

# Least overlap (intersection over union) of a detection's mask with an animal that it is taken for.
OVERLAP = 0.4
NO_ANIMAL = "no animal of the world"


def with_truth(rows: Rows, animals: Sequence[PicturedInstance], template: Template) -> Rows:
    """Rows of a scene with the truth of the animals they show, each once, best first; others are rejected."""
    kept, left = Rows(failures=rows.failures, rejects=list(rows.rejects)), list(animals)
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
    """Shape, scale and camera of an instance; the scale of a pinhole is at the mean depth, as `project` has it."""
    strength, scale, vertices = instance.strength, instance.scale, instance.true_vertices
    if not strength:
        return Truth(vertices, scale, template.metres, orthographic_camera(scale, instance.translation))
    x, y = instance.translation
    camera = perspective_camera((scale / strength, scale / strength), (x, y), 1.0, np.array([0.0, 0.0, 1.0 / strength]))
    return Truth(vertices, float(scale / (1.0 + strength * vertices[:, 2].mean())), template.metres, camera)


CODE_VERSION = 1
QUALITY = 92
TRUTH = "truth"


def renderer(
    config: SynthConfig, template: Template, out: Path, make_annotator: Callable[[], Annotator] | None
) -> RowsOf:
    """What makes the exact row of an instance; or the rows of what a network finds in its scene, with their truth.

    Args:
        make_annotator: loads the network that looks at the images; None where none does.
    """
    world, annotator = World(template, config.world()), make_annotator() if make_annotator else None

    def rows(number: int, lost: bool) -> Rows:
        if lost:
            raise WorkerLost("the worker process ended each time that it rendered an instance", got=number)
        if annotator is None:
            return Rows([synthetic_row(config, template, out, world.sample(number, render_image=config.images))])
        animals = world.scene(number)
        first = animals[0]
        path = write_image(config, out, first)
        found = annotator.annotate(ImageRecord(image_name(first.index), str(path), "synth", first.group))
        return with_truth(found, animals, template)

    return rows


def make_plan(config: SynthConfig) -> Plan:
    """Find the template and name the fingerprint.

    Raises:
        UsageError: the category has no template of its own and none was given, or a network that looks at no images.
        CheckpointError, TemplateError: no weights, or those of another template.
        TemplateError: a template without a skeleton, or no template of that name.
        InputMissing, NothingToDo: a folder of backgrounds that is missing or empty.
    """
    name = config.template or category(config.category).template
    if not name:
        hint = "give a rigged template: dp3d-data synth --template FILE.glb"
        raise UsageError("this category has no built-in template", got=config.category, hint=hint)
    template = load_template(name)
    World(template, config.world())
    kept = {name: getattr(config, name) for name in ("category", "count", "images", "vertex_maps", "overlays", "part")}
    make_annotator = None
    if config.annotate:
        if not config.images:
            raise UsageError("a network looks at images", got="--annotate with --no-images", expected="one of them")
        own = ExtractConfig(category=config.category, weights=config.weights, template=template.name)
        own = replace(own, recognise=False, mirror=template.symmetry is not None and not config.weights)
        make_predictor, *kept["annotated by"] = network_of(own)
        kept["mirror"] = own.mirror
        require_own_template(own, template)
        make_annotator = partial(_annotator, own, template, kept["annotated by"][0], make_predictor)
    # the fingerprint knows backgrounds by their names and hashes, wherever they lie
    paths = photo_paths(config.backgrounds) if config.backgrounds else []
    backgrounds = [(str(path.relative_to(config.backgrounds)), file_digest(path)) for path in paths]
    world = plain(config.world()) | {"backgrounds": backgrounds}
    mesh = template.content_hash, skeleton_digest(template)
    fingerprint = fingerprint_of("synth", CODE_VERSION, SCHEMA_VERSION, kept, world, *mesh)
    out = place_of(config.out, config.category, "synth")
    chunks, names = chunked(range(config.count), config.part), map(image_name, range(config.count))
    return Plan(
        "synth",
        config,
        template,
        fingerprint,
        out,
        chunks,
        Executor(worker_count(config.workers, len(chunks), "cpu")),
        rows=partial(renderer, config, template, out, make_annotator),
        pictured=[ImageRecord(name, str(out / f"images/{name}.jpg"), "synth") for name in names if config.images],
    )


def _annotator(config: ExtractConfig, template: Template, model: str, make_predictor: MakePredictor) -> Annotator:
    """Load the network that looks at the images of a world."""
    with limited_threads(config.threads):
        return Annotator(config, make_predictor(), template, model)


def skeleton_digest(template: Template) -> str:
    """What the fingerprint knows of the rig; the content hash of a template is that of its surface alone."""
    rig = template.skeleton
    if rig is None:  # found on the surface, which the content hash names
        return ""
    arrays = (rig.rest, rig.weights, rig.hinge_axis, rig.hinge_range)
    return hashlib.sha256(b"".join(np.asarray(array, dtype="<f4").tobytes() for array in arrays)).hexdigest()[:16]


def synthetic_row(config: SynthConfig, template: Template, out: Path, instance: SyntheticInstance) -> dict[str, Any]:
    """Write the image, if any, and make the row: keypoints are exact projections, pixel counts at least 1."""
    size, path, digest = config.size, None, None
    name = image_name(instance.index)
    counts = np.ones(len(instance.visible), dtype=np.int32)
    if isinstance(instance, PicturedInstance):
        target = write_image(config, out, instance)
        path, digest = str(target), file_digest(target)
        shown = instance.vertex_map[instance.vertex_map >= 0]
        counts = np.maximum(np.bincount(shown, minlength=len(counts)), 1).astype(np.int32)
    ids = np.flatnonzero(instance.visible).astype(np.int32)
    view = VertexView(ids, instance.keypoints[ids], counts[ids], np.zeros(len(ids), dtype=np.float32))
    return instance_row(
        f"{name}-0",
        ImageInfo(name, size, size, path, digest, "synth", instance.group),
        view,
        template,
        TRUTH,
        box=as_box(instance.box),
        score=1.0,
        category=config.category,
        visible_area=instance.visible_area,
        mask=None if instance.mask is None else encode_pixels(instance.mask),
        truth=known_truth(template, instance),
    )


def image_name(index: int) -> str:
    """Name of the image of an index."""
    return f"{index:07d}"


def write_image(config: SynthConfig, out: Path, instance: PicturedInstance) -> Path:
    """The image as JPEG, and where they are wanted the template vertices of its pixels; the path of the image."""
    name = image_name(instance.index)
    if config.vertex_maps:
        write_arrays(out / f"vertex_maps/{name}.npz", vertex_map=instance.vertex_map)
    return write_picture(out / f"images/{name}.jpg", instance.image, quality=QUALITY)
