"""Model fits to a run folder: keypoints of the posed bodies as their cameras see them, with the truth."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from dp3d_data.bodies.model import BodyModel, rest_template
from dp3d_data.config import file_digest, fingerprint_of, flat, plain
from dp3d_data.datasets import BadInstance, DatasetOptions, open_fits
from dp3d_data.datasets.annotations import size_of_image
from dp3d_data.datasets.fits import Fit, picture_size
from dp3d_data.datasets.images import open_image, read_image
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing, NothingToDo, UsageError, WorkerLost
from dp3d_data.files import require_no_pointer
from dp3d_data.geometry import Template
from dp3d_data.geometry.subsets import farthest_vertices, read_subset
from dp3d_data.geometry.visibility import lower_half
from dp3d_data.records import ImageRecord, as_box
from dp3d_data.run_lengths import encode_pixels
from dp3d_data.shards.instances import ImageInfo, instance_row
from dp3d_data.shards.schema import SCHEMA_VERSION
from pipelines.chunks import Executor, Plan, Rows, RowsOf, chunked, worker_count
from pipelines.fits import Bodies, check_labels, fit_view, load_bodies, model_of, posed_body, vertex_view, with_noise
from pipelines.settings import ProjectConfig, place_of, portable

CODE_VERSION = 2
TRUTH = "truth"
# Ids [V] of the vertices to keep; None for all.
Subset: TypeAlias = Int[np.ndarray, "V"] | None


def projector(config: ProjectConfig, bodies: Bodies, template: Template, subset: Subset) -> RowsOf:
    """What makes the row of a fit and its number; a fit that cannot be projected is a row of failures.

    Args:
        subset: the vertices to keep; None for all.
    """
    up = config.up or ("z" if bodies[""].kind == "smal" else "y")
    below = lower_half(template.vertices, "xyz".index(up))

    def rows(numbered: tuple[int, Fit | BadInstance], lost: bool) -> Rows:
        number, fit = numbered
        if isinstance(fit, BadInstance):
            return Rows(failures=[_failure(fit, "read", fit.message)])
        try:
            if lost:
                raise WorkerLost("the worker process ended each time that it worked on this fit")
            return Rows([_row(fit, number, below, config, model_of(fit, bodies), template, subset)])
        except Dp3dError as error:
            bad = BadInstance(fit.instance_id, error, fit.image_id, fit.image_path)
            return Rows(failures=[_failure(bad, "project", f"{bad.name}: {bad.message}")])

    return rows


def _row(
    fit: Fit,
    number: int,
    below: Bool[np.ndarray, "K"],
    config: ProjectConfig,
    model: BodyModel,
    template: Template,
    subset: Subset,
) -> dict[str, Any]:
    """The row of a fit; `below` is the lower half of the rest template."""
    size = image_size(fit)
    mask = read_mask(fit.mask_path, size) if config.masks and fit.mask_path is not None else None
    posed = posed_body(fit, model)
    check_labels(fit, model, posed)
    view = fit_view(posed, template, fit.camera, size, fit.box, mask)
    keypoints, visible = with_noise(view, below, config, number)
    path, digest = None, None
    if fit.image_path is not None and fit.image_path.is_file():
        check_photograph(fit.image_path, size)
        path, digest = str(fit.image_path), file_digest(fit.image_path)
    told = (fit.group, fit.split, fit.source_dataset, fit.source_quality)
    return instance_row(
        fit.instance_id,
        ImageInfo(fit.image_id, *size, path, digest, config.dataset, *told),
        vertex_view(keypoints, visible, subset),
        template,
        TRUTH,
        box=as_box(np.asarray(view.box, dtype=np.float32)),
        score=1.0,
        category=config.category,
        visible_area=view.area,
        visible_area_posed=view.posed_area,
        mask=None if mask is None else encode_pixels(mask),
        truth=view.truth,
    )


def make_plan(config: ProjectConfig) -> Plan:
    """Read bodies and fits and name the fingerprint.

    Raises:
        UsageError: no folder or no body was given, no such dataset, two ways to choose vertices, or ids that are not
            the body's.
        InputMissing, InputCorrupt, UnsafePickle: of the body, the dataset or the list of vertices.
        NothingToDo: no fits.
    """
    if not config.path:
        hint = "dp3d-data project --dataset NAME --path DIR --body NAME_OR_FILE"
        raise UsageError("no folder of fits was given", hint=hint)
    dataset = open_fits(config.dataset, DatasetOptions(path=config.path, category=config.category))
    bodies = load_bodies(config.body)
    template = rest_template(bodies[""])
    subset = _subset(config, template)
    fits = tuple(fit for fit in dataset.fits() if isinstance(fit, BadInstance) or config.split in ("", fit.split))
    if not fits:
        got = f"{config.path}, split {config.split or 'any'}"
        raise NothingToDo("no fits", got=got, hint="dp3d-data project --help")
    digest = hashlib.sha256("".join(map(_fit_digest, fits)).encode()).hexdigest()
    kept = plain(portable(config)) | {"subset": None if subset is None else subset.tolist()}
    models = {name: body_digest(model) for name, model in bodies.items()}
    fingerprint = fingerprint_of("project", CODE_VERSION, SCHEMA_VERSION, kept, models, digest)
    photographs = {fit.image_id: fit.image_path for fit in fits if isinstance(fit, Fit) and fit.image_path is not None}
    pictured = [ImageRecord(name, str(path), config.dataset) for name, path in photographs.items() if path.is_file()]
    chunks = chunked(list(enumerate(fits)), config.part)
    return Plan(
        "project",
        config,
        template,
        fingerprint,
        place_of(config.out, config.category, "project"),
        chunks,
        Executor(worker_count(config.workers, len(chunks), "cpu")),
        photographs=photographs,
        rows=partial(projector, config, bodies, template, subset),
        pictured=pictured,
        extra={} if subset is None else {"subset": _subset_notes(config, subset)},
    )


def _subset_notes(config: ProjectConfig, subset: Int[np.ndarray, "V"]) -> dict[str, Any]:
    """How the vertices were chosen, and the map: entry i of `vertices` is the template vertex of point i."""
    how = "list" if config.vertex_list else "farthest"
    return {"how": how, "count": len(subset), "vertices": subset.tolist()}


def _subset(config: ProjectConfig, template: Template) -> Subset:
    if config.vertices and config.vertex_list:
        raise UsageError("two ways to choose vertices", got="--vertices and --vertex-list", expected="one of them")
    if config.vertex_list:
        return read_subset(config.vertex_list, template.num_vertices)
    return farthest_vertices(template.vertices, config.vertices) if config.vertices else None


def body_digest(model: BodyModel) -> str:
    """What the fingerprint knows of a body model: all its numbers."""
    digest = hashlib.sha256(f"{model.name} {model.kind}".encode())
    names = "template faces shape_basis pose_basis joint_regressor parents weights scale_basis"
    for name in names.split():
        value = getattr(model, name)
        digest.update(b"none" if value is None else np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def _fit_digest(fit: Fit | BadInstance) -> str:
    """What the fingerprint knows of a fit, wherever its files lie; of a mask and a posed surface their content."""
    if isinstance(fit, BadInstance):
        values: dict[str, Any] = {"instance_id": fit.name, "image_id": fit.image_id, "error": type(fit.error).__name__}
    else:
        places = ("image_path", "mask_path", "mesh_path")
        values = {name: value for name, value in asdict(fit).items() if name not in places}
    for name in ("mask_path", "mesh_path"):
        path = getattr(fit, name, None)
        values[name] = None if path is None or not path.is_file() else file_digest(path)
    told = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in flat(values).items()}
    return fingerprint_of(repr(told))


def _failure(bad: BadInstance, stage: str, message: str) -> dict[str, Any]:
    place, error = None if bad.path is None else str(bad.path), type(bad.error).__name__
    return {"image_id": bad.image_id, "path": place, "stage": stage, "error": error, "message": message}


def image_size(fit: Fit) -> tuple[int, int]:
    """(width, height) in pixels: the fit's own, else the image file's, else twice the camera's centre.

    Raises:
        InputMissing: nothing says it.
    """
    if fit.image_size is not None:
        return fit.image_size
    if fit.image_path is not None and fit.image_path.is_file():
        return picture_size(fit.image_path)
    width, height = (round(2 * value) for value in fit.camera.centre)
    size = size_of_image(width, height) if min(width, height) >= 1 else None
    if size is None:
        expected = "image_size, the image, or a centre"
        raise InputMissing("nothing says the size of the image", got=fit.image_id, expected=expected)
    return size


def check_photograph(path: Path, size: tuple[int, int]) -> None:
    """Refuse a fit of an image of another size (width, height) than the photograph's, as it is stored or upright.

    Raises:
        InputCorrupt: it is, or the photograph is damaged.
    """
    stored = picture_size(path)
    upright = stored if size == stored else read_image(path).pixels.shape[1::-1]
    if size != upright:
        hint = "name the photographs that were fitted"
        raise InputCorrupt("the fit is of an image of another size", got=size, expected=upright, hint=hint, path=path)


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask [H, W] from an image: pixels above 0.

    Raises:
        InputMissing: no such file.
        InputCorrupt: no image, a pointer in its place, or of another size than the photograph.
    """
    if not path.is_file():
        raise InputMissing("no such mask", path=path)
    require_no_pointer(path)
    with open_image(path) as image:
        mask = np.array(image.convert("L")) > 0
    if mask.shape != size[::-1]:
        raise InputCorrupt("the mask has another size than the image", got=mask.shape[::-1], expected=size, path=path)
    return mask
