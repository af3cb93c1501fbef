"""dp3d-data extract, synth and project: photographs, rendered worlds and published fits to runs of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dp3d_data.categories import categories
from dp3d_data.config import workspace
from dp3d_data.errors import NothingToDo
from pipelines.cli.commandline import command, config_options, each, next_step, progress, say
from pipelines.settings import ExtractConfig, ProjectConfig, SynthConfig

if TYPE_CHECKING:
    from dp3d_data.shards import Run
    from pipelines.chunks import Plan
    from pipelines.extract_parts import Outcome

FINISHED = "  this run was finished before; nothing to do (--overwrite makes it anew)"
EXAMPLE = """
dp3d-data extract --category dog
dp3d-data extract --category dog --images photos/ --images 'more/*.png' --out dogs/
dp3d-data extract --category dog --images photos/ --boxes boxes.csv
dp3d-data extract --category dog --images photos/ --dry-run
dp3d-data extract --category dog --images photos/ --retry-failed
dp3d-data extract --category dog,cow --images photos/
dp3d-data extract --category dog --dataset coco --path instances_val2017.json --images val2017/
"""


@command("extract", example=EXAMPLE)
@config_options(ExtractConfig)
def extract(config: ExtractConfig) -> None:
    """Find the animals of photographs and the template vertices that each shows.

    Every image is detected, matched pixel by pixel to the template, and averaged per vertex. Without --images the
    embedded samples are used; --dataset names a dataset or layout (docs/datasets.md). Several categories share one
    pass over the images; each has a run of its own, in its part of the workspace or in a folder of its name in --out. A
    run that was stopped goes on where it stopped when the same command is given again. --dry-run tells time and space
    beforehand; --retry-failed tries again what failed; --workers, --scheduler and --cluster say where the work is done.
    """
    from pipelines.extract import extract_all, make_plans
    from pipelines.extract_parts import estimate

    plans = make_plans(config)
    for plan in plans:
        images, unmatched = len(plan.records), plan.inputs.unmatched
        _announce(plan, f"{plan.config.category}: {images} image{'s' * (images != 1)}", f"model {plan.model}")
        if unmatched:
            say(f"  {len(unmatched)} names in {config.boxes} are none of these images, for example {unmatched[0]!r}")
        for note in plan.inputs.notes:
            say(f"  {note}")
    names, found = categories(config.category), {plan.config.category for plan in plans}
    for name in names:
        if name not in found:
            say(f"{name}: left out: the source has no image of it")
    if config.dry_run:
        if (device := plans[0].config.device) != config.device:
            say(f"  no {config.device} here: looked at on the {device}, so the workers may be faster")
        for line in estimate(*plans):
            say(line)
        return
    everything = {record.image_id for plan in plans for record in plan.records}
    with progress("extract", len(everything), "images/s") as advance:
        outcomes = extract_all(plans, advance, say)
    told = dict(zip((plan.config.category for plan in plans), outcomes, strict=True))
    each(list(told), lambda name: _summary(told[name], name, alone=len(names) == 1))
    if len(names) > 1:
        own = f" --input {config.out}" if config.out else ""
        say(f"  next: dp3d-data build-shards --category {config.category}{own}")


def _announce(plan: Plan, *words: str) -> None:
    """What was understood, with how many processes work, and on which device where it is not the CPU."""
    executor = plan.executor
    workers, on = "the cluster's workers", "" if executor.device == "cpu" else f" on {executor.device}"
    if executor.workers:
        workers = f"{executor.workers} worker{'s' * (executor.workers != 1)}"
    say(" · ".join([*words, workers + on, f"fingerprint {plan.fingerprint}"]))


def _summary(outcome: Outcome, category: str, alone: bool) -> None:
    """What became of every image, where the result lies and, of a category alone, what comes next."""
    images, folder = outcome.images, outcome.run.folder
    if not alone:
        say(f"{category}:")
    if not outcome.fresh:
        say(FINISHED)
    reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.rejects.items())
    rejected = f"rejected {sum(outcome.rejects.values())}" + (f" ({reasons})" if reasons else "")
    failed = f"failed {outcome.failures}" + (" (dp3d-data failures)" if outcome.failures else "")
    say(f"  kept {outcome.instances} instances of {images.kept} images · {rejected} · {failed}")
    if outcome.turned:
        turned = "boxes and masks are of the stored photograph, and were turned as its EXIF says"
        say(f"  {outcome.turned} images: {turned}")
    without = sum(images.rejected.values())
    say(f"  {images.inputs} images = {images.kept} with instances + {without} without + {images.failed} failed")
    own = "" if folder == workspace(category) / "extract" else f" --input {folder}"
    line = f"dp3d-data build-shards --category {category}{own}"
    then = next_step(outcome.instances, images.inputs, images.failed, folder, line)
    say(f"  written to {folder}" + (f" · {then}" if alone or not outcome.instances else ""))


def _made(plan: Plan, words: Sequence[str], unit: str) -> Run:
    """The finished run of a plan, told of before and while it is made."""
    from pipelines.chunks import make_run

    _announce(plan, *words)
    with progress(plan.kind, plan.count, unit) as advance:
        result, fresh = make_run(plan, advance, say)
    if not fresh:
        say(FINISHED)
    return result


SYNTH_EXAMPLE = """
dp3d-data synth --category dog --count 1000
dp3d-data synth --category dog --count 20000 --no-images
dp3d-data synth --category dog --template husky.glb --count 200 --set vertex_maps=true --out husky/
"""


@command("synth", example=SYNTH_EXAMPLE)
@config_options(SynthConfig)
def synth(config: SynthConfig) -> None:
    """Render animals of many shapes, coats and poses in many scenes, with keypoints, vertex maps and true 3D vertices.

    The same seed gives the same files, whatever the number of workers. A run that was stopped goes on where it stopped
    when the same command is given again.
    """
    from pipelines.synth import make_plan

    plan = make_plan(config)
    what = "images" if config.images else "views without images"
    words = [f"{config.category}: {config.count} {what}", f"template {plan.template.name}", f"seed {config.seed}"]
    result = _made(plan, words, "instances/s")
    counts = result.counts
    say(f"  kept {counts['instances']} instances of {counts['inputs']} · failed {counts['failures']}")
    say(f"  written to {result.folder} · next: dp3d-data build-shards --category {config.category}")


PROJECT_EXAMPLE = """
dp3d-data project --dataset stanford-dogs --path DOGS --body smal-dog
dp3d-data project --category person --dataset up3d --path up-3d --body smpl --vertex-list points79.txt
dp3d-data project --category person --dataset 3dpw --path 3DPW --body smpl --body smpl-male=smpl-male --noise 0.01
"""


@command("project", example=PROJECT_EXAMPLE)
@config_options(ProjectConfig)
def project(config: ProjectConfig) -> None:
    """Pose a body model by published fits and keep the vertices that each camera sees.

    The same fits, body and seed give the same files, whatever the number of workers. A run that was stopped goes on
    where it stopped when the same command is given again. build-shards leaves out what shows under a tenth of its area.
    """
    from pipelines.project import make_plan

    plan = make_plan(config)
    vertices, subset = plan.template.num_vertices, plan.extra.get("subset")
    kept = f"{subset['count']} of {vertices} vertices" if subset else f"{vertices} vertices"
    words = [f"{config.category}: {plan.count} fits of {config.dataset}", f"body {plan.template.name}", kept]
    result = _made(plan, words, "fits/s")
    counts = result.counts
    failed = f"failed {counts['failures']}" + (f" (dp3d-data failures {result.folder})" if counts["failures"] else "")
    say(f"  kept {counts['instances']} instances of {counts['inputs']} · {failed}")
    if not counts["instances"]:
        got = f"{counts['failures']} failures of {counts['inputs']} fits"
        raise NothingToDo("no fit gave an instance", got=got, hint=f"see why: dp3d-data failures {result.folder}")
    few = ""
    if subset and subset["count"] < 200:
        few = f" --min-visible-vertices {max(subset['count'] // 8, 1)}"
    line = f"dp3d-data build-shards --category {config.category}{few}"
    then = next_step(counts["instances"], counts["inputs"], counts["failures"], result.folder, line)
    say(f"  written to {result.folder} · {then}")
