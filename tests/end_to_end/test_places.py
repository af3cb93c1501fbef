"""Every command that writes, at a place where it cannot and on a disk that is full: one error, its exit code, nothing
half-written."""

import errno
import json
import os
import shutil

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.bodies.files import save_body_model
from dp3d_data.datasets.neutral import write_fits
from dp3d_data.geometry import make_template
from pipelines.cli import data, model
from tests.data.bodies.body_arrays import random_model
from tests.data.bodies.body_pickles import published
from tests.data.project.dogs import dog_fit, dog_model
from tests.model.test_commands import OPTIONS, TRAIN, make_shards
from tests.model.toy import blob

PROGRAMS = {"dp3d-data": data.main, "dp3d-model": model.main}
SMALL = [*OPTIONS, "--steps", "2", "--batch", "8"]
STUDY = [*OPTIONS, "--set", "optim.steps=2", "--set", "optim.batch=8"]
CSE = "dp3d-data evaluate-cse --count 1 --set size=64"
PROJECT = "dp3d-data project --dataset neutral --path inputs/fits.json --body inputs/body.npz"
LANDMARKS = "dp3d-data template landmarks dog --from-keypoints inputs/named.json --images inputs"
# What each command is given besides the option at fault, all of it small; the option; the name that it gets.
CASES = [
    ("dp3d-data template show dog", "--picture", "a.png"),
    ("dp3d-data template show dog", "--mesh", "a.obj"),
    ("dp3d-data template show dog", "--mesh", "a.ply"),
    ("dp3d-data template rig dog --name own", "--picture", "a.png"),
    ("dp3d-data template adopt dog --renders 1 --name own", "--out", "a.pth"),
    (LANDMARKS, "--out", "a.csv"),
    ("dp3d-data explore inputs/shards --no-browser", "--out", "a"),
    ("dp3d-data body show inputs/body.npz", "--picture", "a.png"),
    ("dp3d-data body show inputs/body.npz", "--mesh", "a.glb"),
    ("dp3d-data synth --count 1 --size 64", "--out", "a"),
    ("dp3d-data train-cse --steps 1", "--out", "a"),
    (CSE, "--out", "a.json"),
    (CSE, "--pictures", "a"),
    (
        "dp3d-data extract --dataset keypoints --path inputs/keypoints.npz --images inputs --template inputs/blob.npz",
        "--out",
        "a",
    ),
    (PROJECT, "--out", "a"),
    ("dp3d-data build-shards --input inputs/synth", "--out", "a"),
    ("dp3d-data merge inputs/shards", "--out", "a"),
    ("dp3d-data split inputs/shards", "--out", "a"),
    ("dp3d-data report --shards inputs/shards", "--out", "a.html"),
    (" ".join(["dp3d-model", *TRAIN]), "--out", "a"),
    ("dp3d-model evaluate --model inputs/model", "--out", "a"),
    (
        "dp3d-model predict --model inputs/model --count 1 --no-pictures --shards inputs/synth --format table",
        "--out",
        "a",
    ),
    ("dp3d-model view --model inputs/model --count 1", "--out", "a"),
    (" ".join(["dp3d-model study ablation", *STUDY, "--row linear --set examples=1"]), "--out", "a"),
    ("dp3d-model study robustness --models inputs/model --set count=2 --set levels=2 --set hidden=50", "--out", "a"),
    ("dp3d-model calibrate --model inputs/model --shards inputs/synth", "--out", "a.pt"),
]
# Commands that write into the workspace alone.
OWN = [
    "dp3d-data template import inputs/mesh.obj --name own",
    "dp3d-data template rig dog --name own",
    "dp3d-data body import inputs/published.npz --name own",
    "dp3d-data body template inputs/body.npz --name own",
]
SLOW = ("adopt", "explore")  # half a minute of work before it writes; serves a page until it is stopped


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A workspace with shards and a model, and inputs of every kind beside it."""
    root = tmp_path_factory.mktemp("places")
    vertices, faces = blob()
    template = make_template("blob", vertices, faces)
    make_shards(root / "inputs", template, 120)
    template.save(root / "inputs/blob.npz")
    shutil.copytree(root / "inputs/shards", root / "dp3d-out/dog/shards")
    save_body_model(dog_model(), root / "inputs/body.npz")
    body = random_model(joints=24, pose_basis=False)
    arrays = {"shapedirs": body.shape_basis, "J_regressor": body.joint_regressor}
    kept = {name: value for name, value in (published(body) | arrays).items() if isinstance(value, np.ndarray)}
    np.savez(root / "inputs/published.npz", **kept)
    write_fits(root / "inputs/fits.json", [dog_fit(0)])
    (root / "inputs/mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n")
    keypoints, visible = np.full((1, len(vertices), 2), 9.0), np.ones((1, len(vertices)), dtype=bool)
    np.savez(root / "inputs/keypoints.npz", keypoints=keypoints, visible=visible, image=np.array(["a.png"]))
    Image.new("RGB", (64, 48)).save(root / "inputs/a.png")
    dog = {"id": 1, "name": "dog", "keypoints": ["nose", "left_front_paw", "right_front_paw"]}
    seen = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [4, 4, 40, 40],
        "keypoints": [9, 9, 2, 30, 40, 2, 25, 41, 2],
    }
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    named = {"images": [image], "annotations": [seen], "categories": [dog]}
    (root / "inputs/named.json").write_text(json.dumps(named))
    previous = os.getcwd()
    os.chdir(root)
    try:
        shutil.rmtree(root / "dp3d-out/dog/model", ignore_errors=True)
        done = CliRunner().invoke(model.main, [*TRAIN, "--shards", "inputs/shards", "--out", "inputs/model"])
        assert done.exit_code == 0, done.output
    finally:
        os.chdir(previous)
    return root


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DP3D_WORKSPACE", raising=False)
    return tmp_path


def run(words, *more):
    program, *rest = words.split()
    return CliRunner().invoke(PROGRAMS[program], [*rest, *more])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(result, code, words):
    assert result.exit_code == code, (result.output, result.exception)
    assert result.output.count("error: ") == 1 and words in result.output and "Traceback" not in result.output


def leaves(group, words):
    """Every command below a group, with what is typed to reach it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def test_every_option_that_names_a_place_is_tried():
    named = {"out", "picture", "mesh", "pictures"}
    tried = {(words, option) for words, option, _ in CASES}
    for program, group in PROGRAMS.items():
        for words, command in leaves(group, program):
            texts = [
                one
                for one in command.params
                if isinstance(one, click.Option) and one.name in named and one.type is click.STRING
            ]
            for option in texts:
                assert any(f"{case} ".startswith(f"{words} ") and given in option.opts for case, given in tried), (
                    words,
                    option.opts,
                )


@pytest.mark.parametrize(("words", "option", "name"), CASES)
def test_a_file_in_the_way_is_one_error_before_any_work(words, option, name, place):
    (place / "file").write_text("mine")
    before = files(place)
    refused(run(words, option, f"file/{name}"), 19, f"error: {place}/file/{name}: Not a directory")
    if "." not in name:
        refused(run(words, option, "file"), 19, f"{place}/file: File exists")
    else:
        (place / f"folder/{name}").mkdir(parents=True)
        refused(run(words, option, f"folder/{name}"), 19, f"{place}/folder/{name}: Is a directory")
    assert files(place) == before


def test_a_place_in_a_file_of_settings_is_looked_at_as_early(place):
    (place / "file").write_text("mine")
    (place / "settings.toml").write_text('out = "file/a"\n')
    before = files(place)
    refused(run("dp3d-data synth --config settings.toml"), 19, f"error: {place}/file/a: Not a directory")
    refused(run("dp3d-data synth --config settings.toml --out file"), 19, f"error: {place}/file: File exists")
    refused(run("dp3d-data evaluate-cse --config settings.toml"), 19, f"error: {place}/file/a: Not a directory")
    assert files(place) == before


def test_the_workspace_does_not_matter_where_settings_name_another_place(place, monkeypatch):
    (place / "file").write_text("mine")
    monkeypatch.setenv("DP3D_WORKSPACE", "file")
    (place / "settings.toml").write_text('out = "made"\n')
    assert run("dp3d-data synth --count 1 --no-images --config settings.toml").exit_code == 0
    (place / "settings.toml").write_text("count = 1\n")
    refused(run("dp3d-data synth --config settings.toml"), 19, f"error: {place}/file: File exists")
    assert run("dp3d-data evaluate-cse --count 0").exit_code == 0, "it writes nothing"


@pytest.mark.parametrize(
    "words", [*OWN, *(" ".join(case) for case in CASES if not any(one in case[0] for one in SLOW))]
)
def test_a_full_disk_is_one_error_and_leaves_no_half_file(words, place, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(place)
    monkeypatch.setattr("dp3d_data.files.os.fsync", full)
    refused(run(words), 18, "the disk is full\n  got: No space left on device")
    assert {name for name in set(files(place)) - set(before) if not name.endswith((".lock", ".jsonl"))} == set()


@pytest.mark.parametrize("words", OWN)
def test_a_workspace_that_is_a_file_is_one_error(words, place):
    shutil.rmtree(place / "dp3d-out")
    (place / "dp3d-out").write_text("mine")
    refused(run(words), 19, "dp3d-out")
    assert (place / "dp3d-out").read_text() == "mine"
