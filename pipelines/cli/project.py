"""dp3d-data project: published model fits to keypoints with their truth."""

from __future__ import annotations

import click

from dp3d_data.errors import NothingToDo
from pipelines.cli.commandline import command, config_options, next_step, say
from pipelines.project_settings import ProjectConfig

EXAMPLE = """
dp3d-data project --dataset stanford-dogs --root DOGS --body smal-dog
dp3d-data project --category person --dataset up3d --root up-3d --body smpl --vertex-list points79.txt
dp3d-data project --category person --dataset 3dpw --root 3DPW --body smpl --body smpl-male=smpl-male --noise 0.01
"""


@command("project", example=EXAMPLE)
@config_options(ProjectConfig)
def project(config: ProjectConfig) -> None:
    """Pose a body model by published fits and keep the vertices that each camera sees.

    The same fits, body and seed give the same files, whatever the number of workers. A run that was stopped goes on
    where it stopped when the same command is given again. build-shards leaves out what shows under a tenth of its area.
    """
    from pipelines.project import make_plan
    from pipelines.project import project as run

    plan = make_plan(config)
    vertices = plan.template.num_vertices
    kept = f"{vertices} vertices" if plan.subset is None else f"{len(plan.subset)} of {vertices} vertices"
    words = [f"{config.category}: {len(plan.fits)} fits of {config.dataset}", f"body {plan.template.name}", kept]
    say(" · ".join([*words, f"{plan.workers} worker{'s' * (plan.workers != 1)}", f"recipe {plan.recipe}"]))
    with click.progressbar(length=len(plan.fits), label="project") as bar:
        result, fresh = run(plan, lambda inputs, *_: bar.update(inputs), say)
    if not fresh:
        say("  this run was finished before; nothing to do (--overwrite makes it anew)")
    counts = result.counts
    failed = f"failed {counts['failures']}" + (f" (dp3d-data failures {result.folder})" if counts["failures"] else "")
    say(f"  kept {counts['instances']} instances of {counts['inputs']} · {failed}")
    if not counts["instances"]:
        hint = f"see why: dp3d-data failures {result.folder}"
        raise NothingToDo(
            "no fit gave an instance", got=f"{counts['failures']} failures of {counts['inputs']} fits", hint=hint
        )
    few = (
        ""
        if plan.subset is None or len(plan.subset) >= 200
        else f" --min-visible-vertices {max(len(plan.subset) // 8, 1)}"
    )
    line = f"dp3d-data build-shards --category {config.category}{few}"
    then = next_step(counts["instances"], counts["inputs"], counts["failures"], result.folder, line)
    say(f"  written to {result.folder} · {then}")
