"""The commands, one after the other, on small shards."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.config import changed
from dp3d_data.errors import CheckpointError, InputMissing, TemplateError, UsageError
from dp3d_data.filters import FilterConfig
from dp3d_data.geometry import load_template, make_template
from dp3d_data.records import VertexView
from dp3d_data.shards import ImageInfo, RunWriter, ShardReader, Truth, instance_row
from dp3d_data.torch_files import write_torch
from dp3d_model.config import preset
from dp3d_model.geometry.surface import surface_of
from dp3d_model.lifting.model_file import check_template, find_model, load_model
from pipelines.cli.model import main
from pipelines.cli.train import with_network_of
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import grid_template
from tests.model.toy import TINY, blob, toy_instances, toy_surface

OPTIONS = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
TRAIN = ["train", *OPTIONS, "--steps", "6", "--batch", "16", "--set", "run.save_every=3", "--set", "run.log_every=1"]


def given(name, value):
    """The words of TRAIN with another value of a setting."""
    other = [word for word in TRAIN if word.startswith(f"{name}=")]
    return (
        [f"{name}={value}" if word in other else word for word in TRAIN]
        if other
        else [*TRAIN, "--set", f"{name}={value}"]
    )


def rows_of(template, world, truth=True):
    """Rows of the instance table, as extract and synth write them."""
    for i, name in enumerate(world.ids):
        ids = world.visible[i].nonzero()[:, 0].numpy()
        view = VertexView(ids, world.keypoints[i].numpy()[ids], np.full(len(ids), 9), np.ones(len(ids)))
        low, high = view.keypoints.min(0), view.keypoints.max(0)
        yield instance_row(
            name,
            ImageInfo(name, 512, 512, None, None, "synth"),
            view,
            template,
            "truth",
            box=(*map(float, low), *map(float, high)),
            score=1.0,
            category="dog",
            visible_area=0.5,
            truth=Truth(world.true_vertices[i].numpy(), float(world.true_scale[i])) if truth else None,
        )


def make_shards(root, template, count=60, surface=None, truth=True):
    world = toy_instances(surface or toy_surface(), count, bend=0.3)
    writer = RunWriter(root / "synth", kind="synth", fingerprint="0" * 12)
    rows = list(rows_of(template, world, truth))
    writer.commit(0, rows, inputs=len(rows))
    writer.finish(template=template, category="dog", config={})
    plan = ShardPlan(filters=FilterConfig(), shard_bytes=1_000_000, split_ratio=0.7, seed=0)
    build([root / "synth"], root / "shards", "dog", plan, overwrite=False, say=lambda line: None)
    return root / "shards"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("world"), make_template("blob", *blob()))


@pytest.fixture
def workspace(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    shutil.copytree(shards, tmp_path / "dog" / "shards")
    return tmp_path / "dog"


@pytest.fixture(scope="module")
def model(shards, tmp_path_factory):
    """The folder of a model that a command has trained; read only."""
    out = tmp_path_factory.mktemp("model")
    trained = run(*TRAIN, "--shards", str(shards), "--out", str(out))
    assert trained.exit_code == 0, trained.output
    return out


@pytest.fixture
def trained(workspace, model):
    """The workspace with that model."""
    shutil.copytree(model, workspace / "model")
    return workspace


def run(*arguments):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_the_three_commands_follow_each_other_without_paths(workspace):
    trained = run(*TRAIN)
    assert trained.exit_code == 0, trained.output
    assert "starts at step 0 of 6" in trained.output
    assert {"model.pt", "config.toml", "metrics.jsonl", "parts.png"} <= {
        path.name for path in (workspace / "model").iterdir()
    }
    measured = run("evaluate")
    assert measured.exit_code == 0, measured.output
    result = json.loads((workspace / "evaluation" / "evaluation.json").read_text())
    assert result["instances"] == len(ShardReader(workspace / "shards").split("val"))
    assert set(result["models"]) == {"rigid template", "model"}
    lifted = run("predict", "--count", "2", "--format", "glb", "--format", "obj")
    assert lifted.exit_code == 0, lifted.output
    assert f"dp3d-model calibrate --model {workspace / 'model'}" in lifted.output, "nobody calibrated this model"
    assert len(list((workspace / "predictions").glob("*.glb"))) == 2
    assert (workspace / "predictions" / "lifted.png").is_file()


@pytest.mark.slow
def test_a_list_of_categories_trains_a_model_each(workspace):
    """Each model is the one that a command of its own trains; a category without shards is told and left out."""
    alone = run(*TRAIN)
    assert alone.exit_code == 0, alone.output
    model = (workspace / "model" / "model.pt").read_bytes()
    shutil.rmtree(workspace / "model")
    shutil.copytree(workspace / "shards", workspace.parent / "cow" / "shards")
    told = run(*TRAIN, "--category", "dog,horse,cow")
    assert told.exit_code == 0 and "horse: left out: " in told.output, told.output
    for name in ("dog", "cow"):
        assert f"next: dp3d-model evaluate --category {name}" in told.output
        assert (workspace.parent / name / "model" / "model.pt").read_bytes() == model


def test_a_log_file_shows_how_far_a_training_is(workspace, monkeypatch):
    monkeypatch.setattr("pipelines.cli.train.SILENCE", 0.0)
    lines = [line for line in run(*TRAIN).output.splitlines() if line.startswith("  step ")]
    assert [line.split(" · ")[0] for line in lines] == [
        f"  step {step} of 6" for step in range(1, 7)
    ] and "loss" in lines[0]


@pytest.mark.slow
def test_another_meshing_of_the_template_only_where_asked_for(workspace, tmp_path):
    """Trained with attention in perspective, measured on a mesh of four times as many vertices."""
    changes = ("model.encoder=attention", "model.latents=4", "model.projection=perspective", "model.scale=solved")
    trained = run(*TRAIN, *(part for change in changes for part in ("--set", change)))
    assert "perspective: 0 of the first" in trained.output
    fine = toy_surface(subdivisions=3)
    finer = make_shards(tmp_path, make_template("finer", fine.vertices.numpy(), fine.faces.numpy()), 20, fine)
    refused = CliRunner().invoke(main, ["evaluate", "--shards", str(finer)])
    assert isinstance(refused.exception, TemplateError) or "belong to another template" in refused.stderr
    measured = run("evaluate", "--shards", str(finer), "--set", "remeshed=true")
    assert measured.exit_code == 0, measured.output
    assert json.loads((workspace / "evaluation" / "evaluation.json").read_text())["vertices"] == 642
    lifted = run("predict", "--shards", str(finer), "--set", "remeshed=true", "--count", "1", "--no-pictures")
    assert lifted.exit_code == 0, lifted.output
    with np.load(next((workspace / "predictions").glob("*.npz"))) as archive:
        assert archive["vertices"].shape == (642, 3)


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_other_settings_is_refused(workspace):
    run(*TRAIN)
    before = (workspace / "model" / "model.pt").stat().st_mtime_ns
    assert "trained already" in run(*TRAIN).output
    assert (workspace / "model" / "model.pt").stat().st_mtime_ns == before
    changed = given("optim.learning_rate", "0.0001")
    refused = run(*changed)
    assert refused.exit_code == 8
    assert "--overwrite" in refused.stderr
    assert run(*changed, "--overwrite").exit_code == 0
    shaped = run(*given("model.parts", 3), "--resume")
    assert shaped.exit_code == 8
    assert "the network's shape differs" in shaped.stderr


def test_a_preset_gives_way_to_the_file_and_the_file_to_the_command_line(workspace, tmp_path):
    (tmp_path / "mine.toml").write_text("[optim]\nbatch = 8\nsteps = 4\n")
    done = run("train", "--preset", "stanford-dogs", *OPTIONS, "--config", str(tmp_path / "mine.toml"), "--steps", "2")
    assert done.exit_code == 0, done.output
    text = (workspace / "model" / "config.toml").read_text()
    for line in ("steps = 2", "batch = 8", 'optimiser = "sgd"', "width = 32", "canonical_copies = 4"):
        assert line in text
    again = run("train", "--config", str(workspace / "model" / "config.toml"))
    assert "trained already" in again.output


def test_missing_inputs_name_the_next_command(workspace):
    nothing = run("evaluate")  # the embedded model is of another template
    assert nothing.exit_code == 6
    assert (
        "the shards belong to another template than the model" in nothing.stderr
        and "dp3d-model train" in nothing.stderr
    )
    unknown = run("evaluate", "--category", "bear")
    assert unknown.exit_code == 3 and "dp3d-model train" in unknown.stderr
    absent = run("train", "--shards", str(workspace / "nowhere"))
    assert absent.exit_code == 3
    assert "dp3d-data build-shards" in absent.stderr


def test_shards_of_another_template_are_refused(trained, tmp_path):
    vertices, faces = blob()
    other = make_shards(tmp_path / "other", make_template("other", vertices[:, [1, 0, 2]], faces[:, ::-1]))
    for words in (["evaluate"], ["predict"]):
        refused = run(*words, "--shards", str(other))
        assert refused.exit_code == 6
        assert "the shards belong to another template than the model" in refused.stderr
    with pytest.raises(TemplateError, match="another template than the model"):
        check_template(load_model(trained / "model"), grid_template())


@pytest.mark.parametrize("name", ["unicorn", "dog,cow"])
def test_a_model_is_of_one_known_category(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    with pytest.raises(UsageError, match=f"unknown category '{name}'"):
        find_model(name)
    assert find_model(name, "model.pt") == Path("model.pt")
    assert find_model("cow").name == "cow.pt"


def test_files_that_are_no_models(model, tmp_path):
    with pytest.raises(InputMissing, match="no such model file"):
        load_model(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(CheckpointError, match="not a model file"):
        load_model(tmp_path / "text.pt")
    write_torch(tmp_path / "future.pt", {"format": 99})
    with pytest.raises(CheckpointError, match="not a model file"):
        load_model(tmp_path / "future.pt")
    content = torch.load(model / "model.pt", weights_only=True)
    content["weights"].popitem()
    write_torch(tmp_path / "partial.pt", content)
    with pytest.raises(CheckpointError, match="the weights do not fit the settings"):
        load_model(tmp_path / "partial.pt")


@pytest.mark.slow
def test_models_are_compared_ablated_and_made_worse(trained):
    several = run(
        "evaluate",
        "--compare",
        "one=" + str(trained / "model"),
        str(trained / "model" / "model.pt"),
        "--set",
        "count=5",
    )
    assert several.exit_code == 0, several.output
    result = json.loads((trained / "evaluation" / "evaluation.json").read_text())
    assert list(result["models"]) == ["rigid template", "one", "model.pt"]
    assert result["instances"] == 5
    small = [*OPTIONS, "--set", "optim.steps=2", "--set", "optim.batch=16", "--set", "count=6"]
    ablated = run("study", "ablation", *small, "--row", "linear", "--row", "rigid", "--set", "examples=1")
    assert ablated.exit_code == 0, ablated.output
    assert {path.name for path in (trained / "ablation" / "runs").iterdir()} == {"full", "linear", "rigid"}
    assert run("evaluate", "--model", str(trained / "ablation" / "runs" / "linear")).exit_code == 0
    noisy = run("study", "robustness", "--set", "count=6", "--set", "levels=2", "--set", "hidden=50")
    assert noisy.exit_code == 0, noisy.output
    assert "noise 2% of the box, 50% hidden" in noisy.output
    halves = run("study", "robustness", *small, "--figure", "lower-half", "--set", "rates=100")
    assert halves.exit_code == 0, halves.output
    names = {path.name for path in (trained / "robustness").iterdir()}
    assert {f"{name}.{kind}" for name in ("noise", "lower-half") for kind in ("json", "md", "png")} <= names


def test_what_cannot_be_compared_is_refused(workspace, tmp_path):
    stray = run("evaluate", "one")
    assert stray.exit_code == 2
    assert "models to compare stand after --compare" in stray.stderr
    both = run("evaluate", "--model", "one", "--compare", "two")
    assert both.exit_code == 2
    assert "--compare one two" in both.stderr
    vertices, faces = blob()
    other = make_shards(tmp_path / "other", make_template("other", vertices[:, [1, 0, 2]], faces[:, ::-1]))
    foreign = run("study", "ablation", "--set", f"test_shards={other}")
    assert foreign.exit_code == 6
    assert "another template than those to learn from" in foreign.stderr
    unknown = run("study", "ablation", "--row", "arapp")
    assert unknown.exit_code == 2
    assert "did you mean 'arap'" in unknown.stderr


@pytest.mark.slow
def test_a_training_starts_from_another_model(trained, tmp_path):
    """The settings of the network are that model's, whatever the preset; after no learning the answers are too."""
    first = load_model(trained / "model")
    words = [
        "train",
        "--init",
        str(trained / "model"),
        "--steps",
        "2",
        "--learning-rate",
        "0",
        "--out",
        str(tmp_path / "again"),
    ]
    again = run(*words)
    assert again.exit_code == 0, again.output
    second = load_model(tmp_path / "again")
    assert second.config.model.width == first.config.model.width == 32
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, msg=name)
    assert "instances are few to learn from" in again.output
    refused = CliRunner().invoke(main, ["train", "--init", "embedded", "--out", str(tmp_path / "other")])
    assert refused.exit_code != 0 and "another template" in refused.output
    reshaped = run(*words[:-1], str(tmp_path / "reshaped"), "--set", "model.width=64")
    assert reshaped.exit_code == 2 and "--init brings its own network" in reshaped.stderr
    assert "got: {'model.width': 64}\n  expected: {'model.width': 32}" in reshaped.stderr
    assert not (tmp_path / "reshaped").exists()
    own = changed(preset("quick"), {"model.width": 32})  # what the model has may be asked for
    assert with_network_of(first, own).model == first.config.model


@pytest.mark.slow
def test_views_are_mixed_in_with_their_truth(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    monkeypatch.setattr("pipelines.cli.train.MIXED", 24)
    make_shards(tmp_path / "dog", load_template("dog"), truth=False, surface=toy_surface_of(load_template("dog")))
    mixed = run("train", "--mix", "synth", *OPTIONS, "--steps", "2", "--batch", "16", "--set", "run.log_every=1")
    assert mixed.exit_code == 0, mixed.output
    assert "24 synthetic views" in mixed.output
    assert "instances are few to learn from; better: more photographs" in mixed.output
    rows = [json.loads(line) for line in (tmp_path / "dog" / "model" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["truth"] > 0 and row["reprojection"] > 0 for row in rows)


def toy_surface_of(template):
    """A surface with functions that are only good enough to bend it."""
    functions = np.concatenate([np.ones((template.num_vertices, 1)), template.vertices], axis=1).astype(np.float32)
    return surface_of(template, functions, 4)
