"""Whole runs: right keypoints, the same bytes whatever the workers and interruptions, every image accounted for."""

import json

import numpy as np
import pytest

from dp3d_data.errors import FingerprintMismatch, NothingToDo, TemplateError, UsageError
from dp3d_data.shards import Run
from pipelines.annotate import Annotator
from pipelines.extract import make_plan
from pipelines.settings import ExtractConfig
from tests.data.extract.world import OneByOne, ball, content, make_world, predictor_of, run
from tests.data.hostile import BAD, GOOD, make_hostile


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "photos"
    return folder, make_world(folder, 23)


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return run(world[0], out, world[1])


def rows_of(outcome):
    return [row for table in outcome.run.instances() for row in table.to_pylist()]


def test_keypoints_are_the_means_of_the_known_pixels(undisturbed, world):
    """What comes out is the vertex map that went in, averaged pixel by pixel."""
    rows = {row["instance_id"]: row for row in rows_of(undisturbed)}
    row = rows["000.png#0"]
    box = (3, 4, 40, 36)
    per_row = (box[2] - box[0] + 2) // 3
    expected: dict[int, list[tuple[float, float]]] = {}
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            vertex = ((y - box[1]) // 3 * per_row + (x - box[0]) // 3) % 162
            expected.setdefault(vertex, []).append((x + 0.5, y + 0.5))
    assert row["vertex_ids"] == sorted(expected)
    assert row["pixel_counts"] == [len(expected[v]) for v in row["vertex_ids"]]
    means = np.array([np.mean(expected[v], axis=0) for v in row["vertex_ids"]])
    np.testing.assert_allclose(np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1), means, atol=1e-5)
    assert row["mask_area"] == 37 * 32 and row["score"] == pytest.approx(0.9)
    assert (row["image_width"], row["image_height"], row["category"], row["template"]) == (60, 44, "dog", "ball")
    assert row["template_hash"] == ball().content_hash


def test_visible_area_is_the_share_of_the_visible_vertices(undisturbed):
    template = ball()
    for row in rows_of(undisturbed):
        share = template.vertex_areas[row["vertex_ids"]].sum() / template.total_area
        assert row["visible_area"] == pytest.approx(share, abs=1e-6)


def test_every_image_is_accounted_for(undisturbed):
    images = undisturbed.images
    assert images.inputs == 23
    assert images.rejected == {"few vertices": 3, "nothing found": 5}
    assert images.kept == 15 and images.failed == 0
    assert undisturbed.instances == len(rows_of(undisturbed)) == undisturbed.run.counts["instances"]


def test_as_many_vertices_as_asked_are_enough_and_a_cycle_is_looked_at_where_it_is_asked_for(world, tmp_path):
    one = run(world[0], tmp_path / "one", world[1], min_vertices=1, overlays=0, cycle=False)
    assert one.images.rejected == {"nothing found": 5} and min(len(row["vertex_ids"]) for row in rows_of(one)) == 1
    assert all(row["cycle"] is None for row in rows_of(one))
    two = run(world[0], tmp_path / "two", world[1], min_vertices=2, overlays=0)
    assert two.images.rejected == {"few vertices": 3, "nothing found": 5}
    assert all(row["cycle"] is not None for row in rows_of(two))


def test_overlays_show_images_with_and_without_instances(undisturbed):
    names = [path.stem for path in undisturbed.run.overlays]
    assert len(names) == 16


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(undisturbed, world, tmp_path):
    other = run(world[0], tmp_path / "out", world[1], workers=2)
    assert content(other.run.folder) == content(undisturbed.run.folder)


class Stopped(Exception):
    """As if the process had been killed."""


@pytest.mark.parametrize("after", [1, 5, 22])
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(undisturbed, world, tmp_path, after):
    seen = []

    def stop(inputs, instances, failures):
        seen.append(inputs)
        if len(seen) == after:
            raise Stopped

    with pytest.raises(Stopped):
        run(world[0], tmp_path / "out", world[1], stop)
    assert not (tmp_path / "out" / "run.json").exists()
    again = []
    outcome = run(world[0], tmp_path / "out", world[1], lambda *counts: again.append(counts))
    assert sum(inputs for inputs, _, _ in again) == 23
    assert content(outcome.run.folder) == content(undisturbed.run.folder)


def test_a_finished_run_is_left_alone(undisturbed, world):
    before = content(undisturbed.run.folder)
    again = run(world[0], undisturbed.run.folder, world[1])
    assert not again.fresh and again.images == undisturbed.images
    assert content(undisturbed.run.folder) == before


def test_a_finished_run_looks_once_at_each_photograph(undisturbed, world, monkeypatch):
    """Not once for each part: a run of a million images has thirty thousand parts."""
    from pathlib import Path

    looked, whole = [], Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: (path.suffix == ".png" and looked.append(path)) or whole(path))
    assert not run(world[0], undisturbed.run.folder, world[1]).fresh
    assert len(looked) <= 23


def test_other_settings_is_refused_and_can_overwrite(world, tmp_path):
    run(world[0], tmp_path / "out", world[1])
    with pytest.raises(FingerprintMismatch, match=r"results of other settings(.|\n)*--out(.|\n)*--overwrite"):
        run(world[0], tmp_path / "out", world[1], score=0.85)
    other = run(world[0], tmp_path / "out", world[1], score=0.85, overwrite=True)
    assert other.fresh and all(row["score"] > 0.85 for row in rows_of(other))


def test_a_run_that_never_finished_a_part_stands_in_nobodys_way(world, tmp_path):
    def stop(*counts):
        raise Stopped

    with pytest.raises(Stopped):
        run(world[0], tmp_path / "out", world[1], stop)
    assert run(world[0], tmp_path / "out", world[1], score=0.85).fresh


def test_the_settings_are_kept_and_run_again(undisturbed):
    from dp3d_data.config import from_mapping, read_toml

    kept = from_mapping(ExtractConfig, read_toml(undisturbed.run.folder / "config.toml"))
    assert kept.part == 4 and kept.min_vertices == 5
    assert json.loads((undisturbed.run.folder / "run.json").read_text())["config"]["part"] == 4


def test_a_hostile_folder_ends_with_a_complete_table_of_failures(tmp_path):
    folder = make_hostile(tmp_path / "hostile")
    outcome = run(folder, tmp_path / "out", {})
    failures = outcome.run.failures().to_pylist()
    assert sorted(row["image_id"] for row in failures) == sorted(BAD)
    assert {row["stage"] for row in failures} == {"read"}
    assert {row["error"] for row in failures} == {"InputCorrupt", "InputMissing"}
    assert outcome.images.rejected == {"nothing found": len(GOOD)}
    assert outcome.images.inputs == len(GOOD) + len(BAD)


class Faulty(OneByOne):
    """A network that stumbles over small images."""

    template_hash = ""

    def __init__(self, known):
        self.inner = predictor_of(known)()
        self.class_of, self.vertex_embeddings = self.inner.class_of, self.inner.vertex_embeddings

    def predict(self, image, **settings):
        if image.shape[0] < 20:
            raise RuntimeError("kernel size can't be greater than actual input size")
        return self.inner.predict(image, **settings)


def test_a_network_that_fails_on_an_image_costs_that_image_only(world, tmp_path):
    from pipelines.extract import extract
    from tests.data.hostile import gradient

    folder = tmp_path / "photos"
    make_world(folder, 3)
    gradient(8, 8).save(folder / "tiny.png")
    ball().save(tmp_path / "ball.npz")
    config = ExtractConfig(
        images=(str(folder),), out=str(tmp_path / "out"), template=str(tmp_path / "ball.npz"), workers=1
    )
    outcome = extract(make_plan(config, lambda: Faulty(world[1])))
    assert outcome.images.kept == 3 and outcome.images.failed == 1
    row = outcome.run.failures().to_pylist()[0]
    assert (row["image_id"], row["stage"], row["error"]) == ("tiny.png", "detect", "RuntimeError")


def test_given_boxes_replace_detection(world, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\n000.png,3,4,40,36\n000.png,-5,-5,-1,-1\n001.png,-10,-10,30.7,30.2\n")
    outcome = run(world[0], tmp_path / "out", world[1], boxes=str(boxes))
    rows = {row["instance_id"]: row for row in rows_of(outcome)}
    assert set(rows) == {"000.png#0", "001.png#0"}
    assert rows["000.png#0"]["score"] == 1.0
    assert (rows["001.png#0"]["box_x0"], rows["001.png#0"]["box_x1"]) == (0.0, pytest.approx(30.7))
    assert outcome.rejects == {"box outside the image": 1, "no box": 21}


def test_a_template_of_another_network_is_refused(world, tmp_path):
    import trimesh

    from dp3d_data.geometry import make_template

    mesh = trimesh.creation.icosphere(subdivisions=1)
    make_template("small", np.asarray(mesh.vertices), np.asarray(mesh.faces)).save(tmp_path / "small.npz")
    with pytest.raises(TemplateError, match="template and network do not belong together"):
        run(world[0], tmp_path / "out", world[1], template=str(tmp_path / "small.npz"))


def test_a_template_of_the_same_size_that_the_network_was_not_trained_for(world, tmp_path):
    predictor = predictor_of(world[1])()
    predictor.template_hash = "0123456789abcdef"
    with pytest.raises(TemplateError, match="0123456789abcdef"):
        Annotator(ExtractConfig(), predictor, ball(), "known")


def test_categories_without_a_template_or_model_say_what_to_give(tmp_path):
    with pytest.raises(UsageError, match=r"no built-in template for 'horse'(.|\n)*--template"):
        make_plan(ExtractConfig(category="horse"), predictor_of({}))
    with pytest.raises(NothingToDo, match="no image in"):
        make_plan(ExtractConfig(images=(str(tmp_path),)), predictor_of({}))


def test_a_run_folder_opens(undisturbed):
    assert Run.open(undisturbed.run.folder).template().content_hash == ball().content_hash
