"""A synthetic world to a run folder: images, vertex maps, and instances whose truth is known."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_data.bodies import Template, load_template
from dp3d_data.categories import category
from dp3d_data.config import file_digest, fingerprint, plain, workspace
from dp3d_data.errors import UsageError, WorkerLost
from dp3d_data.files import write_whole
from dp3d_data.records import Detection, ImageRecord, VertexView
from dp3d_data.shards import Run, RunWriter
from dp3d_data.shards.instances import Camera, Correspondence, ImageInfo, Row, Truth, instance_row
from dp3d_data.shards.schema import SCHEMA_VERSION
from dp3d_data.world import SyntheticInstance, World
from dp3d_data.world.backgrounds import photo_paths
from pipelines.overlays import draw_overlays
from pipelines.parts import Advance, Place, begin_run, finish_run, make_missing_parts, part_size, worker_count
from pipelines.synth_settings import SynthConfig

CODE_VERSION = 1
QUALITY = 92
TRUTH = "truth"


@dataclass(frozen=True)
class SynthPlan:
    """All that determines a run: settings, template, recipe and where the results go."""

    config: SynthConfig
    template: Template
    recipe: str
    out: Path

    @property
    def parts(self) -> list[range]:
        """The indices of the instances of each part."""
        count, size = self.config.count, part_size(self.config.part, self.config.count)
        return [range(start, min(start + size, count)) for start in range(0, count, size)]

    @property
    def workers(self) -> int:
        return worker_count(self.config.workers, len(self.parts), "cpu")

    @property
    def place(self) -> Place:
        return Place(self.workers)

    def images(self, part: range) -> dict[str, Path]:
        """None: a world is made of no photographs but backgrounds, which the recipe knows by their content."""
        return {}


def make_plan(config: SynthConfig) -> SynthPlan:
    """Find the template and name the recipe.

    Raises:
        UsageError: the category has no template of its own and none was given.
        TemplateError: a template without a skeleton, or no template of that name.
        InputMissing, NothingToDo: a folder of backgrounds that is missing or empty.
    """
    name = config.template or category(config.category).template
    if not name:
        hint = "give a rigged template: dp3d-data synth --template FILE.glb"
        raise UsageError("this category has no built-in template", got=config.category, hint=hint)
    template = load_template(name)
    World(template, config.world())
    names = ("category", "count", "images", "vertex_maps", "overlays", "part")
    kept = {name: getattr(config, name) for name in names}
    world = plain(config.world()) | {"backgrounds": photographs(config.backgrounds)}
    recipe = fingerprint("synth", CODE_VERSION, SCHEMA_VERSION, kept, world, template.content_hash, skeleton_digest(template))
    out = Path(config.out) if config.out else workspace(config.category) / "synth"
    return SynthPlan(config, template, recipe, out)


def photographs(folder: str) -> list[tuple[str, str]]:
    """Names and hashes of the backgrounds: what the recipe knows of them, wherever they lie."""
    if not folder:
        return []
    return [(str(path.relative_to(folder)), file_digest(path)) for path in photo_paths(folder)]


def skeleton_digest(template: Template) -> str:
    """What the recipe knows of the rig; the content hash of a template is that of its surface alone."""
    rig = template.skeleton
    if rig is None:  # found on the surface, which the content hash names
        return ""
    arrays = (rig.rest, rig.weights, rig.hinge_axis, rig.hinge_range)
    return hashlib.sha256(b"".join(np.asarray(array, dtype="<f4").tobytes() for array in arrays)).hexdigest()[:16]


@dataclass(frozen=True)
class SynthJob:
    """What every process must know; see `pipelines.parts.Job`."""

    plan: SynthPlan
    writer: RunWriter

    def start(self) -> SynthParts:
        """Build the world."""
        return SynthParts(self.plan, self.writer, World(self.plan.template, self.plan.config.world()))


@dataclass(frozen=True)
class SynthParts:
    """Makes the parts of a world; see `pipelines.parts.PartMaker`."""

    plan: SynthPlan
    writer: RunWriter
    world: World

    def make(self, index: int, part: range, advance: Advance, lost: Collection[int] = ()) -> None:
        """Render the instances of one part and write their rows."""
        if lost:
            raise WorkerLost("the worker process ended each time that it rendered an instance", got=[part[place] for place in lost])
        rows = []
        for number in part:
            instance = self.world.sample(number, render_image=self.plan.config.images)
            rows.append(synthetic_row(self.plan, instance))
            advance(1, 1, 0)
        self.writer.commit(index, rows, inputs=len(rows))

    def probe(self, one: int) -> None:
        """Render an instance."""
        self.world.sample(one, render_image=self.plan.config.images)


def synthetic_row(plan: SynthPlan, instance: SyntheticInstance) -> Row:
    """Write the image, where there is one, and make the row: keypoints are exact projections, pixel counts at least 1."""
    name, size, path, digest = f"{instance.index:07d}", plan.config.size, None, None
    counts = np.ones(len(instance.visible), dtype=np.int32)
    if instance.image is not None:
        relative, content = f"images/{name}.jpg", jpeg(instance.image)
        target = plan.out / relative
        write_whole(target, lambda stream: stream.write(content))
        path, digest = str(target), hashlib.sha256(content).hexdigest()
        shown = instance.vertex_map[instance.vertex_map >= 0]
        counts = np.maximum(np.bincount(shown, minlength=len(counts)), 1).astype(np.int32)
        if plan.config.vertex_maps:
            write_whole(plan.out / f"vertex_maps/{name}.npz", lambda s: np.savez_compressed(s, vertex_map=instance.vertex_map))
    ids = np.flatnonzero(instance.visible).astype(np.int32)
    view = VertexView(ids, instance.keypoints[ids], counts[ids], np.zeros(len(ids), dtype=np.float32))
    camera, scale = _camera(instance)
    return instance_row(
        f"{name}-0",
        ImageInfo(name, size, size, path, digest, "synth", instance.group),
        Detection(instance.box, 1.0, plan.config.category),
        view,
        Correspondence(plan.template.name, plan.template.content_hash, TRUTH),
        visible_area=instance.visible_area,
        mask_area=None if instance.mask is None else int(instance.mask.sum()),
        truth=Truth(instance.true_vertices, scale, plan.template.metres, camera),
    )


def _camera(instance: SyntheticInstance) -> tuple[Camera, float]:
    """The camera of the image, and pixels per template unit: of a pinhole at the mean depth, as `project` has it."""
    strength, scale = instance.strength, instance.scale
    if not strength:
        return Camera.orthographic(scale, instance.translation), scale
    x, y = instance.translation
    camera = Camera.perspective((scale / strength, scale / strength), (x, y), 1.0, np.array([0.0, 0.0, 1.0 / strength]))
    return camera, float(scale / (1.0 + strength * instance.true_vertices[:, 2].mean()))


def jpeg(image: np.ndarray) -> bytes:
    """An RGB image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def synth(plan: SynthPlan, advance: Advance = lambda *_: None, say: Callable[[str], None] = lambda _: None) -> tuple[Run, bool]:
    """Run a plan to its end, going on where an earlier run of the same recipe stopped.

    Returns:
        The finished run, and whether anything was made now.

    Raises:
        FolderBusy: another process writes in the folder.
        RecipeMismatch: the folder holds the results of another recipe.
    """
    with begin_run(plan, "synth") as writer:
        if writer.complete:
            return Run.open(plan.out), False
        make_missing_parts(plan, SynthJob(plan, writer), writer, advance, say)
        if plan.config.images:
            records = [ImageRecord(f"{i:07d}", plan.out / f"images/{i:07d}.jpg", "synth") for i in range(plan.config.count)]
            draw_overlays(plan.out, records, plan.template, plan.config.overlays)
        return finish_run(plan, writer), True
