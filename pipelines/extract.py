"""Photographs to visible template keypoints: plan, chunks, overlays, tally."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_data.categories import categories, category, folder_of
from dp3d_data.config import file_digest, fingerprint_of, workspace
from dp3d_data.device import require_device
from dp3d_data.errors import FingerprintMismatch, InputMissing, UsageError
from dp3d_data.files import locked
from dp3d_data.geometry import Template, load_template
from dp3d_data.geometry.builtin import first_imported, is_folder_of_templates, template_in
from dp3d_data.records import ImageRecord
from dp3d_data.shards import SCHEMA_VERSION, Run, RunWriter
from dp3d_data.shards.run_writer import reopen
from dp3d_data.shards.runs import MARKER, found_run
from pipelines.annotate import require_same_template
from pipelines.annotators import own_version
from pipelines.chunks import (
    Advance,
    Executor,
    Plan,
    Say,
    begin_run,
    finish_run,
    missing_chunks,
    submitting,
    worker_count,
)
from pipelines.extract_parts import Outcome, deadly_images, load_chunks, outcome, shared_chunks
from pipelines.inputs import Inputs, chunk_ends, find_inputs
from pipelines.overlays import draw_overlays
from pipelines.settings import ExtractConfig

if TYPE_CHECKING:
    from dp3d_data.detection import DensePredictor

# Raised when the rows of the same image may differ from those of earlier versions.
CODE_VERSION = 2

MakePredictor = Callable[[], "DensePredictor"]


@dataclass(frozen=True)
class ExtractPlan(Plan):
    """What a run will do, decided before anything is written.

    Attributes:
        inputs: the images, in order, and where they come from.
        model: name of the network, as rows carry it.
        make_predictor: loads the network, called once in each process; None for a source that needs none.
        work: the fingerprint without the sizes of the image files, since a failed image may be mended and tried again.
    """

    config: ExtractConfig
    inputs: Inputs = field(kw_only=True)
    model: str = field(kw_only=True)
    make_predictor: MakePredictor | None = field(kw_only=True)
    work: str = field(kw_only=True)

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """The images, in order."""
        return self.inputs.records


def _executor(config: ExtractConfig, chunks: int) -> Executor:
    """This machine or a cluster; 0 workers where a cluster has as many as it has."""
    workers = config.workers
    if config.cluster:
        from pipelines.cluster import read_recipe

        workers = workers or read_recipe(config.cluster)[1]
    elif not config.scheduler:
        workers = worker_count(workers, chunks, config.device)
    return Executor(workers, config.device, config.scheduler, config.cluster)


def make_plan(config: ExtractConfig, make_predictor: MakePredictor | None = None) -> ExtractPlan:
    """Find the images, the template and the weights of one category; see `make_plans`."""
    if len(names := categories(config.category)) > 1:
        raise UsageError("one category is wanted here", got=", ".join(names), hint="choose one: --category NAME")
    return make_plans(config, make_predictor)[0]


def make_plans(config: ExtractConfig, make_predictor: MakePredictor | None = None) -> list[ExtractPlan]:
    """Find images, templates and weights of each category that the settings name and the source has images of.

    Args:
        make_predictor: another network than the one that the settings name; for tests and for networks of one's own.

    Raises:
        InputMissing, NothingToDo, UsageError, InputCorrupt: images or boxes that are not there or not usable.
        CheckpointError: no weights.
        UsageError: neither a template nor a model for a category, or a network that does not tell two of them apart.
    """
    config, names = _for_here(config), categories(config.category)
    plans = []
    for name, inputs in find_inputs(config, names).items():
        out = folder_of(config.out, name, names) if config.out else workspace(name) / "extract"
        plans.append(_plan(replace(config, category=name), inputs, out, make_predictor))
    if len(plans) > 1 and make_predictor is None and (config.weights or config.model):
        _require_told_apart(plans)
    return plans


def _plan(config: ExtractConfig, inputs: Inputs, out: Path, make_predictor: MakePredictor | None) -> ExtractPlan:
    """The plan of one category."""
    template = _template(config, inputs)
    model, digest = config.model or "given", file_digest(config.charts) if config.charts else ""
    if inputs.source.model:
        make_predictor, model = None, config.model or inputs.source.model
        digest += file_digest(config.weights) if config.weights else ""
    elif own := own_version(config.model):
        make_predictor, model = None, own
    elif make_predictor is None:
        make_predictor, model, weights = network_of(config)
        digest += weights
        require_own_template(config, template)
    shaped_by = "extract", CODE_VERSION, SCHEMA_VERSION, config.result(), model, digest, template.content_hash
    work, fingerprint = (fingerprint_of(*shaped_by, inputs.facts(sizes)) for sizes in (False, True))
    records = inputs.records
    ends = inputs.ends or chunk_ends(len(records), config.part)
    chunks = [records[start:end] for start, end in pairwise((0, *ends))]
    return ExtractPlan(
        "extract",
        config,
        template,
        fingerprint,
        out,
        chunks,
        _executor(config, len(chunks)),
        photographs={record.image_id: record.path for record in records},
        inputs=inputs,
        model=model,
        make_predictor=make_predictor,
        work=work,
    )


def _require_told_apart(plans: Sequence[ExtractPlan]) -> None:
    """Refuse to detect several categories with a network that has one class for them."""
    from dp3d_data.detection import trained_for

    found: dict[int, str] = {}
    for plan in plans:
        name = plan.config.category
        other = found.setdefault(trained_for(plan.config.model, plan.config.weights, name)[0], name)
        if other != name and any(record.objects is None for record in plan.records):
            hint = "choose one of them, or another network: dp3d-data zoo list"
            raise UsageError(f"{plan.model} does not tell {other} from {name}", got="one class for both", hint=hint)


def _for_here(config: ExtractConfig) -> ExtractConfig:
    """The settings, if their device is here; a dry run for workers elsewhere looks at images on the CPU."""
    if config.elsewhere and not config.dry_run:
        return config
    try:
        require_device(config.device)
    except UsageError:
        if not config.elsewhere:
            raise
        return replace(config, device="cpu")
    return config


def network_of(config: ExtractConfig) -> tuple[MakePredictor, str, str]:
    """How to load the network, the name that rows carry, and the digest of the weights and of what tells animals."""
    from dp3d_data.detection import find_spec, shipped_weights
    from dp3d_data.detection.zoo import RECOGNITION

    model = config.model or ("" if config.weights else category(config.category).model or "")
    if not model and not config.weights:
        hint = "fetch published weights (dp3d-data zoo list) and give them: --weights FILE"
        raise UsageError(f"no network is shipped for {config.category!r}", hint=hint)
    path = Path(config.weights) if config.weights else shipped_weights(find_spec(model))
    if not path.is_file():
        raise InputMissing("no such file of weights", path=path)
    digest = file_digest(path)
    told_by = file_digest(RECOGNITION) if config.recognise and not (model and not find_spec(model).crop_side) else ""
    name = f"{model or path.stem}@{digest[:8]}" if config.weights else model
    speed = {"precision": config.precision, "channels_last": config.channels_last, "compiled": config.compile}
    own = {"category": config.category, "device": config.device, "side": config.side}
    return partial(_load, model, str(path), **own, **speed), name, digest + told_by


def require_own_template(config: ExtractConfig, template: Template) -> None:
    """Refuse weights and a template that do not belong together before anything is started.

    Charts, and the weights and the template that are shipped for the category, are not looked at.
    """
    own = category(config.category)
    if config.weights or config.model not in ("", own.model) or config.template not in ("", own.template):
        from dp3d_data.detection import trained_for

        _, _, vertices, content_hash = trained_for(config.model, config.weights, config.category)
        if vertices:
            require_same_template(template, vertices, content_hash)


def _load(model: str, weights: str, **settings: Any) -> DensePredictor:
    """The network. Only the process that works with it imports torch and detectron2, which takes seconds."""
    from dp3d_data.detection import load_predictor

    return load_predictor(model, weights, **settings)


def _template(config: ExtractConfig, inputs: Inputs) -> Template:
    """The template by name, file or folder of files; else the one of the workspace, or the built-in one."""
    folder = is_folder_of_templates(config.template)
    if config.template and not folder:
        return load_template(config.template)
    mesh = ""
    if Path(config.weights).is_file() and not inputs.source.model:
        from dp3d_data.detection import trained_for

        mesh = trained_for(config.model, config.weights, config.category)[1]
    own = category(config.category).template or ""
    meant = [name for name in (mesh, config.category) if name]
    name = template_in(config.template, meant) if folder else first_imported([mesh] if own else meant) or own
    if not name:
        hint = "the published meshes hold no geometry; give your own: --template MESH"
        if config.category == "person":
            hint = "make one of your SMPL file: dp3d-data body template FILE --name person; then: --template person"
        raise UsageError(f"no built-in template for {config.category!r}", hint=hint)
    return load_template(name)


def retry(plan: ExtractPlan) -> int:
    """Open a finished run again for its failed images; their number.

    Raises:
        InputMissing: no run, or one that is not finished.
        FingerprintMismatch: a run of other settings; files that failed may have changed.
        FolderBusy: another process writes in the folder.
    """
    with locked(plan.out):
        found = found_run(plan.out)
        if found == ("extract", plan.fingerprint) and not (plan.out / MARKER).is_file():
            return 0
        run = Run.open(plan.out)
        work = run.marker["extra"].get("work")
        if work != plan.work:
            what = "the failed images here are those of other settings"
            raise FingerprintMismatch(what, got=work, expected=plan.work, path=plan.out)
        return reopen(run, [[record.image_id for record in chunk] for chunk in plan.chunks], plan.fingerprint)


def extract(plan: ExtractPlan, advance: Advance = lambda *_: None, say: Say = lambda _: None) -> Outcome:
    """Run a plan to its end; see `extract_all`."""
    return extract_all([plan], advance, say)[0]


def extract_all(
    plans: Sequence[ExtractPlan], advance: Advance = lambda *_: None, say: Say = lambda _: None
) -> list[Outcome]:
    """Run the plans of several categories to their end in one pass over the images, each from where it was stopped.

    Args:
        advance: told of finished images, in any order.
        say: told of the dashboard's address.

    Raises:
        FolderBusy: another process writes in one of the folders.
        FingerprintMismatch: a folder holds the results of other settings, or of photographs that have changed since.
        CheckpointError, TemplateError: a network that cannot be loaded or belongs to another template.
        Unaccounted: an image that is neither kept nor rejected nor failed.
    """
    for plan in plans:
        if plan.config.retry_failed:
            say(f"{retry(plan)} failed images to try again")
    with ExitStack() as held:
        writers = {plan.config.category: held.enter_context(begin_run(plan)) for plan in plans}
        begun = {plan.config.category: plan for plan in plans if not writers[plan.config.category].complete}
        for model in dict.fromkeys(plan.model for plan in begun.values()):
            own = {name: plan for name, plan in begun.items() if plan.model == model}
            missing = shared_chunks({name: missing_chunks(plan, writers[name]) for name, plan in own.items()})
            everything = {record.image_id for plan in own.values() for record in plan.records}
            if done := len(everything) - sum(map(len, missing.values())):
                advance(done, 0, 0)
            # what a process must know: the images travel with the tasks
            bare: dict[str, Any] = {"chunks": (), "photographs": {}}
            known = {name: replace(plan, inputs=replace(plan.inputs, records=()), **bare) for name, plan in own.items()}
            with submitting(next(iter(own.values())).executor, len(missing), say) as make:
                make(partial(load_chunks, known, {name: writers[name] for name in own}), missing, advance)
        return [_ended(plan, writers[plan.config.category]) for plan in plans]


def _ended(plan: ExtractPlan, writer: RunWriter) -> Outcome:
    """Overlays, marker and tally of a run whose chunks are all there."""
    if writer.complete:
        return outcome(Run.open(plan.out), plan.records, fresh=False)
    deadly = deadly_images(plan.out)
    harmless = [record for record in plan.records if record.image_id not in deadly]
    draw_overlays(plan.out, harmless, plan.template, plan.config.overlays)
    extra = {"model": plan.model, "images": len(plan.records), "work": plan.work}
    extra["boxes_of_no_image"] = len(plan.inputs.unmatched)
    return outcome(finish_run(plan, writer, extra), plan.records, fresh=True)
