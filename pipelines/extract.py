"""Photographs to visible template keypoints: plan, parts, overlays, account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dp3d_data.categories import category
from dp3d_data.config import file_digest, fingerprint, workspace
from dp3d_data.datasets import is_ready
from dp3d_data.errors import InputMissing, RecipeMismatch, UsageError, WorkerLost
from dp3d_data.files import locked
from dp3d_data.filters import Account
from dp3d_data.geometry import Template, load_template
from dp3d_data.records import ImageRecord
from dp3d_data.shards import SCHEMA_VERSION, Run, RunWriter
from dp3d_data.shards.files import read_table
from dp3d_data.shards.retries import amend, failed_in, reopen
from dp3d_data.shards.run_parts import HASHED, changed_images, done_parts, instance_path, part_path
from dp3d_data.shards.runs import MARKER, found_run
from pipelines.ahead import annotate_all
from pipelines.annotate import Annotator, Predictor, RowMaker, Rows, failure_row, limited_threads, require_same_template
from pipelines.clusters import read_recipe
from pipelines.extract_settings import ExtractConfig
from pipelines.inputs import Inputs, find_inputs
from pipelines.overlays import draw_overlays
from pipelines.parts import Advance, Place, begin_run, finish_run, make_missing_parts, worker_count
from pipelines.ready import ReadyAnnotator

# Raised when the rows of the same image may differ from those of earlier versions.
CODE_VERSION = 2
# The stage of an image that ends its worker process.
WORKER = "worker"

MakePredictor = Callable[[], Predictor]


@dataclass(frozen=True)
class Plan:
    """What a run will do, decided before anything is written.

    Attributes:
        inputs: the images, in order, and where they come from.
        model: name of the network, as rows carry it.
        make_predictor: loads the network, called once in each process; None for a source that needs none.
        recipe: fingerprint of all that shapes the result.
        work: the same without the sizes of the image files, since a failed image may be mended and tried again.
        out: folder of the results.
    """

    config: ExtractConfig
    inputs: Inputs
    template: Template
    model: str
    make_predictor: MakePredictor | None
    recipe: str
    work: str
    out: Path

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        return self.inputs.records

    def annotator(self) -> RowMaker:
        """What turns an image into rows: the network, or a source that needs none."""
        if self.make_predictor is None:
            return ReadyAnnotator(self.config, self.inputs.source, self.template, self.model)
        return Annotator(self.config, self.make_predictor(), self.template, self.model)

    def without_records(self) -> Plan:
        """What a process must know: the images travel with the tasks."""
        return replace(self, inputs=replace(self.inputs, records=()))

    @property
    def parts(self) -> list[tuple[ImageRecord, ...]]:
        size = self.config.part
        return [self.records[start : start + size] for start in range(0, len(self.records), size)]

    @property
    def workers(self) -> int:
        """Processes that will work; 0 where a cluster has as many as it has."""
        config = self.config
        if config.cluster:
            return config.workers or read_recipe(config.cluster).workers
        if config.scheduler:
            return config.workers
        return worker_count(config.workers, len(self.parts), config.device)

    @property
    def place(self) -> Place:
        return Place(self.workers, self.config.device, self.config.scheduler, self.config.cluster)

    def images(self, part: Sequence[ImageRecord]) -> dict[str, str]:
        """The photographs of a part."""
        return {record.image_id: record.path for record in part}


@dataclass(frozen=True)
class Outcome:
    """What a finished run holds.

    Attributes:
        images: by fate: one with an instance is kept, of the others one with a failure has failed.
        instances, failures: rows of the tables; a failure is of an image, an annotation or a detection.
        rejects: rows by reason.
        turned: images that are kept and whose annotations were turned as EXIF turns the photograph.
        fresh: whether the run was made now.
    """

    run: Run
    images: Account
    instances: int
    rejects: dict[str, int]
    failures: int
    turned: int
    fresh: bool


def make_plan(config: ExtractConfig, make_predictor: MakePredictor | None = None) -> Plan:
    """Find the images, the template and the weights.

    Args:
        make_predictor: another network than the one that the settings name; for tests and for networks of one's own.

    Raises:
        InputMissing, NothingToDo, UsageError, InputCorrupt: images or boxes that are not there or not usable.
        CheckpointError: no weights.
        UsageError: neither a template nor a model for the category.
    """
    config = _for_here(config)
    inputs = find_inputs(config)
    template = _template(config)
    model, digest = config.model or "given", file_digest(config.charts) if config.charts else ""
    if is_ready(inputs.source):
        make_predictor, model = None, config.model or inputs.source.model
        digest += file_digest(config.weights) if config.weights else ""
    elif make_predictor is None:
        make_predictor, model, weights = network_of(config)
        digest += weights
        require_own_template(config, template)
    shaped_by = "extract", CODE_VERSION, SCHEMA_VERSION, config.result(), model, digest, template.content_hash
    work, recipe = (fingerprint(*shaped_by, inputs.facts(sizes)) for sizes in (False, True))
    out = Path(config.out) if config.out else workspace(config.category) / "extract"
    return Plan(config, inputs, template, model, make_predictor, recipe, work, out)


def _for_here(config: ExtractConfig) -> ExtractConfig:
    """A dry run looks at images on this machine, which need not have the device of the workers."""
    if not (config.dry_run and config.elsewhere):
        return config
    from dp3d_data.detection import require_device

    try:
        require_device(config.device)
    except UsageError:
        return replace(config, device="cpu")
    return config


def network_of(config: ExtractConfig) -> tuple[MakePredictor, str, str]:
    """How to load the network, the name that rows carry, and the digest of the weights."""
    from dp3d_data.detection import find_spec, require_device, shipped_weights

    if not config.elsewhere:
        require_device(config.device)
    model = config.model or ("" if config.weights else category(config.category).model or "")
    if not model and not config.weights:
        hint = "fetch published weights (dp3d-data zoo list) and give them: --weights FILE"
        raise UsageError(f"no network is shipped for {config.category!r}", hint=hint)
    path = Path(config.weights) if config.weights else shipped_weights(find_spec(model))
    if not path.is_file():
        raise InputMissing("no such file of weights", path=path)
    digest = file_digest(path)
    name = f"{model or path.stem}@{digest[:8]}" if config.weights else model
    speed = {"precision": config.precision, "channels_last": config.channels_last, "compiled": config.compile}
    own = {"category": config.category, "device": config.device, "side": config.side}
    return partial(_load, model, str(path), **own, **speed), name, digest


def require_own_template(config: ExtractConfig, template: Template) -> None:
    """Refuse weights and a template that do not belong together before anything is started.

    Charts, and the weights and the template that are shipped for the category, are not looked at.
    """
    own = category(config.category)
    if config.weights or config.model not in ("", own.model) or config.template not in ("", own.template):
        from dp3d_data.detection import trained_for

        vertices, template_hash = trained_for(config.model, config.weights, config.category)
        if vertices:
            require_same_template(template, vertices, template_hash)


def _load(model: str, weights: str, **settings: Any) -> Predictor:
    """The network. Only the process that works with it imports torch and detectron2, which takes seconds."""
    from dp3d_data.detection import load_predictor, require_device

    require_device(settings["device"])
    return load_predictor(model, weights, **settings)


def _template(config: ExtractConfig) -> Template:
    name = config.template or category(config.category).template
    if not name:
        hint = "the published meshes hold no geometry; give your own: --template MESH"
        if config.category == "person":
            hint = "make one of your SMPL file: dp3d-data body template FILE --name person; then: --template person"
        raise UsageError(f"no built-in template for {config.category!r}", hint=hint)
    return load_template(name)


@dataclass(frozen=True)
class ExtractJob:
    """What every process must know; see `pipelines.parts.Job`."""

    plan: Plan
    writer: RunWriter

    def start(self) -> ExtractParts:
        """Load the network."""
        plan = self.plan
        with limited_threads(plan.config.threads):
            annotator = plan.annotator()
        return ExtractParts(annotator, self.writer)


@dataclass(frozen=True)
class ExtractParts:
    """Makes the parts of an extraction; see `pipelines.parts.PartMaker`."""

    annotator: RowMaker
    writer: RunWriter

    def make(self, index: int, part: Sequence[ImageRecord], advance: Advance, lost: Collection[int] = ()) -> None:
        """Annotate the images of one part, or those of them that failed before, and write its tables."""
        names = [record.image_id for record in part]
        wanted = set(names)
        if self.writer.retries:
            table = read_table(instance_path(self.writer.folder, index), HASHED)
            wanted = failed_in(self.writer.folder, index) | set(changed_images(table, {one.image_id: one.path for one in part}))
            advance(len(names) - len(wanted), 0, 0)
        rows, ends = Rows(), {names[place] for place in lost}
        for record in (record for record in part if record.image_id in ends & wanted):
            error = WorkerLost("the worker process ended each time that it worked on this image", hint="see whether it opens elsewhere")
            rows.add(Rows(failures=[failure_row(record, WORKER, error)]))
            advance(1, 0, 1)
        with limited_threads(self.annotator.config.threads):
            for one in annotate_all(self.annotator, [record for record in part if record.image_id in wanted - ends], advance):
                rows.add(one)
        if self.writer.retries:
            amend(self.writer, index, names, wanted, vars(rows))
        else:
            self.writer.commit(index, rows.instances, rows.failures, rows.rejects, inputs=len(names))

    def probe(self, one: ImageRecord) -> None:
        """Annotate an image."""
        with limited_threads(self.annotator.config.threads):
            annotate_all(self.annotator, [one])


def retry(plan: Plan) -> int:
    """Open a finished run again for its failed images; their number.

    Raises:
        InputMissing: no run, or one that is not finished.
        RecipeMismatch: a run of another recipe; files that failed may have changed.
        FolderBusy: another process writes in the folder.
    """
    with locked(plan.out):
        found = found_run(plan.out)
        if found == ("extract", plan.recipe) and not (plan.out / MARKER).is_file():
            return 0
        run = Run.open(plan.out)
        work = run.marker["extra"].get("work")
        if work != plan.work:
            raise RecipeMismatch("the failed images here are those of another recipe", got=work, expected=plan.work, path=plan.out)
        return reopen(run, [[record.image_id for record in part] for part in plan.parts], plan.recipe)


def extract(plan: Plan, advance: Advance = lambda *_: None, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a plan to its end, going on where an earlier run of the same recipe stopped.

    Args:
        advance: told of finished images, in any order.
        say: told of the dashboard's address.

    Raises:
        FolderBusy: another process writes in the folder.
        RecipeMismatch: the folder holds the results of another recipe, or of photographs that have changed since.
        CheckpointError, TemplateError: a network that cannot be loaded or belongs to another template.
        Unaccounted: an image that is neither kept nor rejected nor failed.
    """
    if plan.config.retry_failed:
        say(f"{retry(plan)} failed images to try again")
    with begin_run(plan, "extract") as writer:
        if writer.complete:
            return outcome(Run.open(plan.out), plan.records, fresh=False)
        make_missing_parts(plan, ExtractJob(plan.without_records(), writer), writer, advance, say)
        deadly = deadly_images(plan.out)
        harmless = [record for record in plan.records if record.image_id not in deadly]
        draw_overlays(plan.out, harmless, plan.template, plan.config.overlays)
        extra = {"model": plan.model, "images": len(plan.records), "boxes_of_no_image": len(plan.inputs.strangers), "work": plan.work}
        run = finish_run(plan, writer, extra)
        return outcome(run, plan.records, fresh=True)


def deadly_images(folder: Path) -> set[str]:
    """The images of an unfinished run that end a worker process: this one is not to look at them."""
    tables = (read_table(part_path(folder, "failures", index)) for index in done_parts(folder))
    return {row["image_id"] for table in tables for row in table.to_pylist() if row["stage"] == WORKER}


def outcome(run: Run, records: Sequence[ImageRecord], fresh: bool) -> Outcome:
    """The account of a finished run of these images: every one is kept, failed, or rejected for its first reason.

    Raises:
        Unaccounted: images disappeared.
    """
    widths: dict[str, int] = {}
    for table in run.instances(["image_id", "image_width"]):
        widths.update(zip(table["image_id"].to_pylist(), table["image_width"].to_pylist(), strict=True))
    failures = run.failures()["image_id"].to_pylist()
    failed, rejects = set(failures) - set(widths), run.rejects()
    reasons: dict[str, str] = {}
    for image, reason in zip(rejects["image_id"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
        if image not in widths and image not in failed:
            reasons.setdefault(image, reason)
    images = Account(len(records), len(widths), dict(Counter(reasons.values())), len(failed)).check()
    by_reason = Counter(rejects["reason"].to_pylist())
    turned = sum(one.size is not None and one.size[0] != widths.get(one.image_id, one.size[0]) for one in records)
    return Outcome(run, images, run.counts["instances"], dict(by_reason), len(failures), turned, fresh)
