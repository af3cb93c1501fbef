"""dp3d-data synth: the same files whatever the workers, and tables that agree with the images."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.errors import FingerprintMismatch, TemplateError, UsageError
from dp3d_data.records import RunLength
from dp3d_data.run_lengths import encode_pixels, mask_pixels
from dp3d_data.synthesis import World
from pipelines.chunks import Rows
from pipelines.chunks import make_run as synth
from pipelines.cli.data import main
from pipelines.settings import SynthConfig
from pipelines.synth import make_plan, with_truth

SMALL = {"count": 9, "part": 3, "size": 64, "overlays": 2}


def digests(folder):
    """Content of every file by its path inside the folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, monkeypatch):
    found = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        monkeypatch.chdir(tmp_path / str(workers))
        run, fresh = synth(make_plan(SynthConfig(**SMALL, vertex_maps=True, out="world", workers=workers)))
        assert fresh and run.counts["instances"] == 9
        found.append(digests(tmp_path / str(workers) / "world"))
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.startswith("images/")]) == 9


def seen_by(row):
    """Where the camera of a row sees its visible true vertices [V, 2], image pixels."""
    points = np.array(row["true_vertices"]).reshape(-1, 3)[row["vertex_ids"]]
    projected = np.column_stack([points, np.ones(len(points))]) @ np.array(row["camera_matrix"]).reshape(3, 4).T
    return projected[:, :2] / projected[:, 2:]


def test_rows_agree_with_the_images(tmp_path):
    run, _ = synth(make_plan(SynthConfig(**SMALL, vertex_maps=True, out=str(tmp_path / "w"), workers=1)))
    template = make_plan(SynthConfig()).template
    for row in (row for table in run.instances() for row in table.to_pylist()):
        image = Image.open(row["image_path"])
        assert image.size == (row["image_width"], row["image_height"]) == (64, 64)
        with np.load(run.folder / "vertex_maps" / f"{row['image_id']}.npz") as archive:
            vertex_map = archive["vertex_map"]
        assert (vertex_map >= 0).sum() == row["mask_area"]
        truth = np.array(row["true_vertices"]).reshape(-1, 3)
        assert len(truth) == template.num_vertices
        moved = (
            np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1)
            - row["true_scale"] * truth[row["vertex_ids"], :2]
        )
        assert np.ptp(moved, axis=0).max() < 0.05
        np.testing.assert_allclose(seen_by(row), np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1), atol=0.05)
        assert row["model"] == "truth" and row["source"] == "synth" and min(row["pixel_counts"]) >= 1
        assert row["camera_kind"] == "orthographic"


def test_perspective_worlds_know_their_pinholes(tmp_path):
    """The camera that is written brings the true vertices to the keypoints; the scale is that at the mean depth."""
    run, _ = synth(make_plan(SynthConfig(**SMALL, images=False, perspective=1.0, out=str(tmp_path / "w"), workers=1)))
    for row in (row for table in run.instances() for row in table.to_pylist()):
        assert row["camera_kind"] == "perspective"
        np.testing.assert_allclose(seen_by(row), np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1), atol=0.05)
        matrix, truth = np.array(row["camera_matrix"]).reshape(3, 4), np.array(row["true_vertices"]).reshape(-1, 3)
        assert row["true_scale"] == pytest.approx(matrix[0, 0] / (truth[:, 2].mean() + matrix[2, 3]), rel=1e-4)


def test_a_stopped_run_goes_on(tmp_path):
    plan = make_plan(SynthConfig(**SMALL, images=False, out=str(tmp_path / "w"), workers=1))

    def stop(*counts):
        stop.seen += 1
        if stop.seen > 4:
            raise KeyboardInterrupt

    stop.seen = 0
    with pytest.raises(KeyboardInterrupt):
        synth(plan, stop)
    run, fresh = synth(plan)
    whole, _ = synth(make_plan(SynthConfig(**SMALL, images=False, out=str(tmp_path / "v"), workers=1)))
    assert fresh and digests(run.folder) == digests(whole.folder)
    assert synth(plan)[1] is False


def test_a_folder_keeps_one_recipe(tmp_path):
    settings = {**SMALL, "images": False, "out": str(tmp_path / "w"), "workers": 1}
    synth(make_plan(SynthConfig(**settings)))
    with pytest.raises(FingerprintMismatch, match="other settings"):
        synth(make_plan(SynthConfig(**settings, seed=1)))
    synth(make_plan(SynthConfig(**settings, seed=1, overwrite=True)))


def test_a_category_without_template_wants_one():
    with pytest.raises(UsageError, match="no built-in template"):
        make_plan(SynthConfig(category="zebra"))


ANNOTATED = {
    "count": 6,
    "part": 3,
    "size": 128,
    "overlays": 0,
    "companions": 0.5,
    "seed": 5,
    "identity_images": 1,
    "annotate": True,
}


@pytest.mark.slow
def test_a_network_looks_at_the_world(tmp_path, monkeypatch):
    """Its keypoints with the truth of the animal that they are of, whatever the workers; every image is accounted
    for."""
    found = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        monkeypatch.chdir(tmp_path / str(workers))
        run, _ = synth(make_plan(SynthConfig(**ANNOTATED, out="world", workers=workers)))
        found.append(digests(tmp_path / str(workers) / "world"))
    assert found[0] == found[1]
    rows = [row for table in run.instances() for row in table.to_pylist()]
    assert len(rows) >= 4 and run.counts["inputs"] == 6
    assert len({row["group"] for row in rows}) == len(rows)  # no animal twice
    exact, _ = synth(make_plan(SynthConfig(**(ANNOTATED | {"annotate": False}), out="exact", workers=1)))
    truth = {row["group"]: row for table in exact.instances() for row in table.to_pylist()}
    errors = []
    for row in rows:
        assert row["model"] == "animals-3" and row["cycle"] is not None
        mask = mask_pixels(RunLength(row["image_height"], row["image_width"], row["mask"].encode()))
        assert mask.sum() == row["mask_area"] > 0
        if row["group"] in truth:  # the animal that the image was made for
            assert row["true_vertices"] == truth[row["group"]]["true_vertices"]
            assert row["true_scale"] == truth[row["group"]]["true_scale"]
        error = np.linalg.norm(seen_by(row) - np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1), axis=1)
        errors.append(np.median(error) / np.ptp(seen_by(row), axis=0).max())
    assert np.median(errors) < 0.15  # one may be seen the wrong way round


def test_renders_are_not_asked_whether_they_show_a_dog(tmp_path):
    plan = make_plan(SynthConfig(**ANNOTATED, out=str(tmp_path / "w"), workers=1))
    make_annotator = plan.rows.args[-1]
    config = make_annotator.args[0]
    assert not config.recognise and config.mirror


def test_detections_of_no_animal_are_rejected(tmp_path):
    plan = make_plan(SynthConfig(**ANNOTATED, out=str(tmp_path / "w"), workers=1))
    scene = World(plan.template, plan.config.world()).scene(0)
    animal = scene[0]
    row = {"image_id": "0", "image_height": 128, "image_width": 128, "camera_kind": None}
    shown, elsewhere = encode_pixels(animal.mask), encode_pixels(np.eye(128, dtype=bool))
    rows = Rows(
        [
            {**row, "instance_id": name, "score": score, "mask": mask.counts.decode()}
            for name, score, mask in (("low", 0.5, shown), ("high", 0.9, shown), ("beside", 0.8, elsewhere))
        ]
    )
    kept = with_truth(rows, scene, plan.template)
    assert [one["instance_id"] for one in kept.instances] == ["high"] and kept.instances[0]["group"] == animal.group
    assert sorted(one["instance_id"] for one in kept.rejects) == ["beside", "low"]


def test_a_network_needs_images_and_its_own_template(tmp_path):
    with pytest.raises(UsageError, match="a network looks at images"):
        make_plan(SynthConfig(**ANNOTATED, images=False))
    with pytest.raises(TemplateError, match="do not belong together"):
        make_plan(SynthConfig(**ANNOTATED, template="cow"))


def test_the_command_says_what_it_did(tmp_path):
    words = ["synth", "--count", "4", "--no-images", "--workers", "1", "--out", str(tmp_path / "w")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "kept 4 instances of 4" in result.output and "next: dp3d-data build-shards" in result.output
    again = CliRunner().invoke(main, words)
    assert "nothing to do" in again.output


def test_a_detection_of_more_than_the_animal_is_none_of_it():
    """Overlap is that of both masks over both: one that covers everything finds nobody."""
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:10, 5:10] = True
    scene = [SimpleNamespace(mask=mask)]
    everything = {"instance_id": "a#0", "image_id": "a", "score": 0.9, "image_height": 20, "image_width": 20}
    everything["mask"] = encode_pixels(np.ones((20, 20), dtype=bool)).counts.decode()
    kept = with_truth(Rows([everything]), scene, None)
    assert kept.instances == [] and [row["reason"] for row in kept.rejects] == ["no animal of the world"]
    assert kept.rejects[0]["value"] == 25 / 400
