"""dp3d-data project: rows that agree with the cameras, the same bytes whatever the workers, failures with their
reasons."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.bodies.files import save_body_model
from dp3d_data.datasets.fits import FitCamera
from dp3d_data.errors import FingerprintMismatch, InputMissing, NothingToDo, UsageError
from pipelines.chunks import make_run as project
from pipelines.cli.data import main
from pipelines.fits import load_bodies, model_of, posed_body
from pipelines.project import image_size, make_plan
from tests.data.bodies.body_arrays import random_model
from tests.data.project.dogs import SIZE, dog_fit, dog_model, settings
from tests.data.world.test_synth import digests, seen_by


def rows_of(run):
    return [row for table in run.instances() for row in table.to_pylist()]


def test_rows_agree_with_the_cameras(tmp_path):
    fits = [dog_fit(number, "perspective" if number % 2 else "orthographic") for number in range(6)]
    config = settings(tmp_path, fits)
    plan, body = make_plan(config), load_bodies(config.body)[""]
    run, fresh = project(plan)
    assert fresh and run.counts == {"inputs": 6, "instances": 6, "failures": 0, "rejects": 0}
    for fit, row in zip(fits, rows_of(run), strict=True):
        ids = np.array(row["vertex_ids"])
        points = np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1)
        posed = posed_body(fit, body) @ fit.camera.rotation.T + fit.camera.translation
        truth = np.array(row["true_vertices"]).reshape(-1, 3)
        np.testing.assert_allclose(truth * plan.template.factor, posed - posed.mean(axis=0), atol=1e-5)
        if fit.camera.kind == "perspective":
            expected = posed[ids, :2] / posed[ids, 2:] * fit.camera.focal + fit.camera.centre
            bent = points - row["true_scale"] * truth[ids, :2]
            assert 0.5 < np.ptp(bent, axis=0).max() < 60
        else:
            expected = 130 * posed[ids, :2] + fit.camera.centre
            assert np.ptp(points - row["true_scale"] * truth[ids, :2], axis=0).max() < 1e-3
        np.testing.assert_allclose(points, expected, atol=1e-3)
        np.testing.assert_allclose(seen_by(row), points, atol=2e-3)
        assert row["camera_kind"] == fit.camera.kind and row["true_unit"] == pytest.approx(plan.template.factor)
        assert (
            row["model"] == "truth"
            and row["source"] == "neutral"
            and (row["group"], row["source_split"]) == (fit.group, fit.split)
        )
        assert (row["image_width"], row["image_height"]) == SIZE
        assert 0.2 < row["visible_area"] < 0.6 and 0.2 < row["visible_area_posed"] < 0.6


@pytest.mark.slow
def test_any_number_of_workers_and_a_stop_give_the_same_bytes(tmp_path):
    fits = [dog_fit(number) for number in range(12)]
    noisy = {"noise": 0.01, "hide": 0.3, "hide_lower": 0.5, "vertices": 100}
    plan = make_plan(settings(tmp_path, fits, **noisy))

    def stop(*counts):
        stop.seen += 1
        if stop.seen > 7:
            raise KeyboardInterrupt

    stop.seen = 0
    with pytest.raises(KeyboardInterrupt):
        project(plan, stop)
    run, _ = project(plan)
    two, _ = project(make_plan(settings(tmp_path, fits, out=str(tmp_path / "two"), workers=2, **noisy)))
    assert digests(run.folder) == digests(two.folder)
    assert project(plan)[1] is False
    with pytest.raises(FingerprintMismatch, match="other settings"):
        project(make_plan(settings(tmp_path, fits, **noisy | {"seed": 1})))


def test_noise_and_subsets_do_what_they_say(tmp_path):
    fits = [dog_fit(number) for number in range(5)]

    def rows(**changes):
        return rows_of(project(make_plan(settings(tmp_path, fits, overwrite=True, **changes)))[0])

    plain, half, upper, few = rows(), rows(hide=0.5), rows(hide_lower=1.0), rows(vertices=79)
    up = make_plan(settings(tmp_path, fits)).template.vertices[:, 2]
    kept = project(make_plan(settings(tmp_path, fits, overwrite=True, vertices=79)))[0].marker["extra"]["subset"]
    assert kept["how"] == "farthest" and kept["count"] == len(kept["vertices"]) == 79
    for one, hidden, above, sparse in zip(plain, half, upper, few, strict=True):
        assert abs(2 * len(hidden["vertex_ids"]) - len(one["vertex_ids"])) <= 1
        assert above["vertex_ids"] == [k for k in one["vertex_ids"] if up[k] >= 0]
        assert sparse["vertex_ids"] == [k for k in one["vertex_ids"] if k in kept["vertices"]]
        assert one["visible_area"] == hidden["visible_area"] == above["visible_area"] == sparse["visible_area"]
        assert one["true_vertices"] == sparse["true_vertices"]


def test_masks_and_images(tmp_path):
    mask = np.zeros(SIZE[::-1], dtype=np.uint8)
    mask[:, :320] = 1  # whatever is above 0
    (tmp_path / "in").mkdir()
    Image.fromarray(mask).save(tmp_path / "in" / "mask.png")
    Image.fromarray(np.zeros((*SIZE[::-1], 3), np.uint8)).save(tmp_path / "in" / "dog.jpg")
    fit = dog_fit(1, image_size=None, mask_path=tmp_path / "in" / "mask.png", image_path=tmp_path / "in" / "dog.jpg")
    (seen,) = rows_of(project(make_plan(settings(tmp_path / "in", [fit])))[0])
    assert seen["keypoints_x"] and max(seen["keypoints_x"]) < 320 and seen["mask_area"] == 320 * 480
    assert len(seen["image_hash"]) == 64 and (seen["image_width"], seen["image_height"]) == SIZE
    (whole,) = rows_of(project(make_plan(settings(tmp_path / "in", [fit], masks=False, overwrite=True)))[0])
    assert (
        max(whole["keypoints_x"]) > 320 and whole["visible_area"] > seen["visible_area"] and whole["mask_area"] is None
    )


def test_the_content_of_a_mask_shapes_the_run_and_a_centre_is_the_middle_of_its_image(tmp_path):
    fit, found = dog_fit(1, image_size=None, mask_path=tmp_path / "in" / "mask.png"), []
    (tmp_path / "in").mkdir()
    for value in (1, 0):
        Image.fromarray(np.full(SIZE[::-1], value, np.uint8)).save(tmp_path / "in" / "mask.png")
        found.append(make_plan(settings(tmp_path / "in", [fit])).fingerprint)
    assert found[0] != found[1] and image_size(fit) == SIZE


def test_fits_that_cannot_be_projected_are_failures(tmp_path):
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "words.png").write_text("no image")
    behind = FitCamera("perspective", np.eye(3), np.zeros(3), focal=(800.0, 800.0), centre=(320.0, 240.0))
    beside = FitCamera("orthographic", np.eye(3), np.array([99.0, 0, 0]), scale=100.0, centre=(320.0, 240.0))
    nowhere = FitCamera("orthographic", np.eye(3), np.zeros(3), scale=100.0, centre=(0.0, 0.0))
    fits = [
        dog_fit(0),
        dog_fit(1, camera=behind),
        dog_fit(2, camera=beside),
        dog_fit(3, camera=nowhere, image_size=None),
        dog_fit(4, pose=np.zeros((24, 3))),
        dog_fit(5, mask_path=tmp_path / "none.png"),
        dog_fit(6, mask_path=tmp_path / "small.png"),
        dog_fit(7, mask_path=tmp_path / "words.png"),
        dog_fit(8, image_path=tmp_path / "small.png"),
        dog_fit(9, image_size=None, camera=replace(dog_fit(9).camera, centre=(1e12, 1e12))),
    ]
    run, _ = project(make_plan(settings(tmp_path, fits)))
    assert run.counts["instances"] == 1 and run.counts["failures"] == 9
    texts = [row["message"] for row in run.failures().to_pylist()]
    wanted = (
        "before the camera",
        "nothing of the body",
        "size of the image",
        "pose of another shape",
        "no such mask",
        "another size",
    )
    for text, found in zip(
        (*wanted, "not an image", "of an image of another size", "the size of its image is none"), texts, strict=True
    ):
        assert text in found


def test_bodies_of_several_names(tmp_path):
    male = random_model(joints=35, betas=20, kind="smal", divisions=3, seed=5)
    for name, model in (("a", dog_model()), ("b", male), ("c", random_model())):
        save_body_model(model, tmp_path / f"{name}.npz")
    bodies = load_bodies([str(tmp_path / "a.npz"), f"smal-male={tmp_path / 'b.npz'}"])
    assert np.array_equal(model_of(dog_fit(0, body="smal-male"), bodies).weights, male.weights)
    assert model_of(dog_fit(0), bodies) is bodies[""]
    with pytest.raises(UsageError, match="do not share their faces"):
        load_bodies([str(tmp_path / "a.npz"), f"smal-male={tmp_path / 'c.npz'}"])
    for words in ([], [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]):
        with pytest.raises(UsageError, match="one body model for all fits"):
            load_bodies(words)


def test_settings_that_make_no_run(tmp_path):
    fits = [dog_fit(1)]
    with pytest.raises(UsageError, match="no folder of fits"):
        make_plan(settings(tmp_path, fits, path=""))
    with pytest.raises(UsageError, match="two ways to choose vertices"):
        make_plan(settings(tmp_path, fits, vertices=9, vertex_list="x.txt"))
    with pytest.raises(NothingToDo, match="no fits"):
        make_plan(settings(tmp_path, fits, split="val"))
    with pytest.raises(InputMissing, match="no body model"):
        make_plan(settings(tmp_path, fits, body=("smal-none",)))


def test_the_command_says_what_it_did(tmp_path):
    config = settings(tmp_path, [dog_fit(number) for number in range(3)])
    (tmp_path / "ids.txt").write_text(" ".join(map(str, range(0, 200, 2))))
    words = ["project", "--path", config.path, "--body", config.body[0], "--out", config.out, "--workers", "1"]
    result = CliRunner().invoke(main, [*words, "--vertex-list", str(tmp_path / "ids.txt")])
    assert result.exit_code == 0, result.output
    assert "100 of 258 vertices" in result.output and "kept 3 instances of 3" in result.output
    assert "--min-visible-vertices 12" in result.output
    assert "nothing to do" in CliRunner().invoke(main, [*words, "--vertex-list", str(tmp_path / "ids.txt")]).output


def test_a_run_in_which_every_fit_fails_ends_with_a_code_and_the_way_to_the_reasons(tmp_path):
    nowhere = FitCamera("orthographic", np.eye(3), np.zeros(3), scale=100.0, centre=(0.0, 0.0))
    config = settings(tmp_path, [dog_fit(3, camera=nowhere, image_size=None)])
    words = ["project", "--path", config.path, "--body", config.body[0], "--out", config.out, "--workers", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == NothingToDo.exit_code and "next:" not in result.output
    assert f"dp3d-data failures {config.out}" in result.output
    assert "size of the image" in CliRunner().invoke(main, ["failures", config.out]).output
