"""Several categories in one command: one pass over the images, and of each category what a command of its own
writes."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner
from PIL import Image

import pipelines.annotate
import pipelines.extract
from dp3d_data.categories import GROUPS, categories
from dp3d_data.config import workspace
from dp3d_data.detection import DensePredictor
from dp3d_data.errors import NothingToDo, UsageError
from dp3d_data.geometry import make_template
from pipelines.cli.data import main
from pipelines.extract import extract, extract_all, make_plan, make_plans
from pipelines.settings import ExtractConfig
from tests.data.extract.world import content
from tests.data.inference.small import SMALL, small_network

NINE = GROUPS["lvis-animals"]
MESHES = {number: f"{name}_42" for number, name in enumerate(NINE)}
SPEC = replace(
    SMALL, class_to_mesh=MESHES, class_names=dict(enumerate(NINE)), mesh_sizes=dict.fromkeys(MESHES.values(), 42)
)


class Counted(DensePredictor):
    """The stand-in network, which counts the images that its backbone sees."""

    seen = 0

    def _input(self, pixels):
        Counted.seen += 1
        return super()._input(pixels)


@cache
def stand_in():
    """A small network of nine classes whose weights mean nothing; its scores tell the classes apart a little."""
    network = small_network(SPEC)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.mul_(40)
    return Counted(network)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Photographs of noise, one that is broken, COCO's json of boxes in them, and a template for each category."""
    folder = tmp_path_factory.mktemp("nine")
    (folder / "img").mkdir()
    (folder / "meshes").mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((120, 90), Image.Resampling.NEAREST).save(folder / f"img/{number}.png")
    (folder / "img/broken.png").write_bytes(b"none")
    names = [f"{number}.png" for number in range(5)] + ["broken.png"]
    images = [{"id": number, "file_name": name, "width": 120, "height": 90} for number, name in enumerate(names)]
    notes = [
        (image, 1 + kind)
        for kind in range(len(NINE) - 1)
        for image in sorted({kind % 6, (kind + 2) % 6, (3 * kind) % 6})
    ]
    annotations = [
        {"id": n, "image_id": image, "category_id": kind, "bbox": [10 + kind, 5, 60, 70], "iscrowd": 0}
        for n, (image, kind) in enumerate(sorted(notes))
    ]
    kinds = [{"id": 1 + kind, "name": name} for kind, name in enumerate(NINE)]
    (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": kinds}))
    ball = trimesh.creation.icosphere(subdivisions=1)
    for name in NINE:
        make_template(name, np.asarray(ball.vertices), np.asarray(ball.faces)).save(folder / f"meshes/{name}.npz")
    return folder


def config(world, out, category="lvis-animals", **more):
    values = {"images": (str(world / "img"),), "template": str(world / "meshes"), "out": str(out), "category": category}
    return ExtractConfig(**values | {"score": 0.05, "min_vertices": 1, "part": 2, "overlays": 2, "workers": 1} | more)


def coco(world):
    return {"dataset": "coco", "path": str(world / "boxes.json")}


def together(world, out, advance=lambda *_: None, **more):
    plans = make_plans(config(world, out, **more), stand_in)
    return dict(zip((plan.config.category for plan in plans), extract_all(plans, advance), strict=True))


def alone(world, out, name, **more):
    return extract(make_plan(config(world, out, name, **more), stand_in))


@pytest.fixture
def read(monkeypatch):
    """The files that are read, in order."""
    files, inner = [], pipelines.annotate.read_image
    monkeypatch.setattr(
        pipelines.annotate, "read_image", lambda path, *given: files.append(path) or inner(path, *given)
    )
    return files


def rows_of(outcome):
    tables = [*outcome.run.instances(), outcome.run.rejects(), outcome.run.failures()]
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.slow
def test_nine_categories_write_what_nine_runs_write_and_look_once_at_each_image(world, tmp_path, read):
    Counted.seen = 0
    outcomes = together(world, tmp_path / "nine")
    assert list(outcomes) == list(NINE) and len(read) == 6 and Counted.seen == 5
    assert sum(one.instances > 0 for one in outcomes.values()) >= 2
    for name, outcome in outcomes.items():
        single = alone(world, tmp_path / f"single/{name}", name)
        assert content(outcome.run.folder) == content(single.run.folder)
        assert outcome.images.inputs == 6 and outcome.images.failed == 1


@pytest.mark.slow
def test_annotated_images_are_read_once_and_give_the_same_rows(world, tmp_path, read):
    outcomes = together(world, tmp_path / "nine", **coco(world))
    assert len(read) == 6 and list(outcomes) == list(NINE[:-1])  # the file has no zebra
    for name, outcome in outcomes.items():
        single = alone(world, tmp_path / f"single/{name}", name, **coco(world))
        assert rows_of(outcome) == rows_of(single) and outcome.images == single.images
    with pytest.raises(NothingToDo, match="no zebra in this file"):
        make_plan(config(world, tmp_path, "zebra", **coco(world)), stand_in)


class Stopped(Exception):
    """As if the process had been killed."""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3, 6])
@pytest.mark.parametrize("annotated", [False, True])
def test_a_stopped_pass_goes_on_and_ends_the_same(world, tmp_path, after, annotated):
    more = coco(world) if annotated else {}
    undisturbed = together(world, tmp_path / "whole", **more)
    seen = []

    def stop(*counts):
        seen.append(counts)
        if len(seen) == after:
            raise Stopped

    with pytest.raises(Stopped):
        together(world, tmp_path / "out", stop, **more)
    again = []
    outcomes = together(world, tmp_path / "out", lambda *counts: again.append(counts), **more)
    assert sum(inputs for inputs, _, _ in again) == 6
    for name, outcome in outcomes.items():
        assert outcome.fresh and content(outcome.run.folder) == content(undisturbed[name].run.folder)


def test_a_category_that_is_there_is_left_alone_and_another_joins_it(world, tmp_path):
    alone(world, tmp_path / "out/dog", "dog")
    outcomes = together(world, tmp_path / "out", category="cow,dog")
    assert outcomes["cow"].fresh and not outcomes["dog"].fresh


@pytest.mark.slow
def test_failed_images_are_tried_again_for_every_category(world, tmp_path):
    folder = tmp_path / "img"
    folder.mkdir()
    for path in (world / "img").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    more = {"images": (str(folder),), "category": "dog,cow"}
    together(world, tmp_path / "out", **more)
    (folder / "broken.png").write_bytes((folder / "1.png").read_bytes())
    mended = together(world, tmp_path / "out", **more, retry_failed=True)
    whole = together(world, tmp_path / "whole", **more)
    for name, outcome in mended.items():
        assert outcome.failures == 0 and content(outcome.run.folder) == content(whole[name].run.folder)


def test_lists_and_groups_of_categories():
    assert categories("dog, cow,dog") == ("dog", "cow") and categories("lvis-animals,dog") == NINE and len(NINE) == 9
    with pytest.raises(UsageError, match="no category"):
        categories(" ,")


def test_boxes_that_do_not_tell_categories_apart_are_refused(world, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\n0.png,3,4,40,36\n")
    with pytest.raises(UsageError, match="nothing says which of these objects are of which category"):
        make_plans(config(world, tmp_path / "out", "dog,cow", boxes=str(boxes)), stand_in)
    with pytest.raises(UsageError, match="one category is wanted here"):
        make_plan(config(world, tmp_path / "out", "dog,cow"), stand_in)


@pytest.mark.slow
def test_the_commands_take_the_same_list(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipelines.extract, "network_of", lambda config: (stand_in, "known", "digest"))
    monkeypatch.setattr(pipelines.extract, "require_own_template", lambda config, template: None)

    def typed(line):
        result = CliRunner().invoke(main, line.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    own = f"--images {world / 'img'} --template {world / 'meshes'} --score 0.05 --set min_vertices=1 --workers 1"
    told = typed(f"extract {own} --category lvis-animals")
    assert (
        "6/6" in told
        and told.count("6 images = ") == 9
        and "next: dp3d-data build-shards --category lvis-animals" in told
    )
    told = typed(
        "build-shards --category lvis-animals --min-visible-vertices 1 --set max_spread=9 --set max_edges=4"
        " --min-visible-area 0"
    )
    built = [name for name in NINE if (workspace(name) / "shards/manifest.json").is_file()]
    assert built and sorted(built + [name for name in NINE if f"{name}: left out: no instance" in told]) == sorted(NINE)
    assert "0 of 6 images to do" in typed(f"extract {own} --category dog,cow --dry-run")
