"""dp3d-model ablate: what each part of the method is worth."""

from __future__ import annotations

from pathlib import Path

import click

from dp3d_data.config import workspace
from dp3d_model.config import PRESETS, TrainConfig
from pipelines.cli.commandline import GroupedOption, command, config_options, say
from pipelines.cli.train import with_preset


@command("ablate", example="dp3d-model ablate --preset quick --steps 400 --row supplement")
@click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards to learn from.  [default: the category's]")
@click.option("--split", default="train", cls=GroupedOption, group="Input", help="Split to learn from.")
@click.option("--test-shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards with truth.  [default: those of --shards]")
@click.option("--test-split", default="val", cls=GroupedOption, group="Input", help="Split to measure on.")
@click.option("--count", default=0, type=click.IntRange(0), cls=GroupedOption, group="Input", help="First test instances; 0 takes all.")
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--threads", default=1, type=click.IntRange(0), cls=GroupedOption, group="Input", help="Threads that read ahead.")
@click.option("--row", "keys", multiple=True, cls=GroupedOption, group="Rows", help="Row, or supplement, or ours.  [default: all]")
@click.option("--add", "added", multiple=True, metavar="ROW", cls=GroupedOption, group="Rows", help="Another row: NAME:setting=value,...")
@click.option(
    "--minutes", default=0.0, type=click.FloatRange(0), cls=GroupedOption, group="Rows",
    help="Training time of the full model; the steps that fit are those of every variant. 0 takes --steps.",
)  # fmt: skip
@click.option("--examples", default=5, type=click.IntRange(1), cls=GroupedOption, group="Rows", help="Instances that are drawn.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the runs.  [default: the category's]")
@click.option("--overwrite", is_flag=True, cls=GroupedOption, group="Output", help="Discard rows of another recipe.")
@click.option(
    "--preset", "preset_name", default="quick", type=click.Choice(list(PRESETS)), cls=GroupedOption,
    help="Settings of the full model; others win.",
)  # fmt: skip
@config_options(TrainConfig)
def ablate(
    config: TrainConfig,
    shards: str | None,
    split: str,
    test_shards: str | None,
    test_split: str,
    count: int,
    category: str,
    threads: int,
    keys: tuple[str, ...],
    added: tuple[str, ...],
    minutes: float,
    examples: int,
    out: str | None,
    overwrite: bool,
    preset_name: str,
) -> None:
    """Train the full model, each variant of it and other methods, and measure all on the same instances.

    Every variant has the steps of the full model; C3DPO has as many as take the same time. What is trained already is found
    again, and a stopped row goes on where it stopped. Writes ablation.json, ablation.md, ablation.png and ablation-examples.png;
    each row is an ordinary run in DIR/runs.
    """
    from dp3d_model.experiments.ablation import Ablation, run_ablation
    from dp3d_model.experiments.rows import chosen_rows
    from dp3d_model.experiments.study import Inputs, open_study

    rows = chosen_rows(with_preset(config, preset_name), keys, added)
    train = shards or str(workspace(category) / "shards")
    folder = Path(out) if out else workspace(category) / "ablation"
    study = open_study(Inputs(train, split, test_shards or train, test_split, count), folder, threads, overwrite)
    say(f"{category}: {len(rows)} rows · {sum(study.runs.source.sizes)} instances to learn from, {len(study.test)} to measure on")
    with study.report.progress():
        run_ablation(Ablation(rows, study.test, study.test_identity, minutes, examples), study.runs, study.report.say)
    say(f"  written to {folder} · next: open {folder / 'ablation.png'}")
