"""Points where the published conventions put them: each layout's camera against its authors' formula, written out."""

import json

import numpy as np
import pytest
import torch

from dp3d_data.datasets import BadInstance
from dp3d_data.datasets.fits import Fit
from dp3d_data.datasets.neutral import write_fits
from dp3d_data.errors import InputCorrupt
from tests.data.fits.test_fit_records import CAMERA, one_fit
from tests.data.fits.trees import cut_short, old_pickle, picture, read_fits, same_fit, write_json

POINT = np.array([0.3, -0.2, 0.5])


def project(camera, point):
    x, y, z = camera.rotation @ point + camera.translation
    if camera.kind == "orthographic":
        return np.array([camera.scale * x + camera.centre[0], camera.scale * y + camera.centre[1]])
    return np.array([camera.focal[0] * x / z + camera.centre[0], camera.focal[1] * y / z + camera.centre[1]])


def person(**changes):
    return {"pose": np.zeros(72), "betas": np.zeros(10), "trans": np.zeros(3)} | changes


def up3d(root, crop="60 80 0 60 0 80", size=(80, 60), **changes):
    """Every fit and failure of a folder of one image."""
    picture(root / "00001_image.png", size)
    old_pickle(
        root / "00001_body.pkl", person(rt=np.zeros(3), t=np.array([0.1, 0.0, 4.5]), f=np.array([1000.0])) | changes
    )
    if crop is not None:
        (root / "00001_fit_crop_info.txt").write_text(crop)
    return list(read_fits("up3d", root))


def test_up3d_turns_about_rt_then_moves_by_t_and_looks_at_the_middle_of_a_whole_image(tmp_path):
    """A quarter turn about z takes (x, y) to (-y, x)."""
    (fit,) = up3d(tmp_path, rt=np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(project(fit.camera, POINT), [1000 * (0.2 + 0.1) / 5 + 40, 1000 * 0.3 / 5 + 30])
    assert fit.image_size == (80, 60) and fit.labels is None


@pytest.mark.parametrize("crop", ["280 180 100 660 500 860", "90 200 3 33 600 1000\n", "1 1 0 720 0 1280"])
def test_up3d_projects_in_the_crop_then_scales_and_moves(tmp_path, crop):
    """The authors' lines: the middle of the resized crop, then back to the image."""
    (fit,) = up3d(tmp_path, crop, (1280, 720))
    h, w, y1, y2, x1, x2 = map(int, crop.split())
    x, y, z = POINT + (0.1, 0.0, 4.5)
    small = np.array([1000 * x / z + w / 2, 1000 * y / z + h / 2])
    np.testing.assert_allclose(project(fit.camera, POINT), small * ((x2 - x1) / w, (y2 - y1) / h) + (x1, y1))


@pytest.mark.parametrize(
    ("crop", "text"),
    [
        (None, "no crop of the fit, got no 00001_fit_crop_info.txt"),
        ("", "not the crop of a fit"),
        ("60 80 0 60 0", "not the crop of a fit"),
        ("60 80 0 60 0 eighty", "not the crop of a fit"),
        ("60 0 0 60 0 80", "not a crop of this image"),
        ("60 80 60 0 0 80", "not a crop of this image"),
        ("60 80 0 61 0 80", "not a crop of this image"),
        ("version https://git-lfs.github.com/spec/v1", "this is a pointer"),
    ],
)
def test_up3d_without_a_crop_of_this_image_is_a_failure(tmp_path, crop, text):
    (failed,) = up3d(tmp_path, crop)
    assert isinstance(failed, BadInstance) and text in failed.message


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", np.zeros(4), np.zeros((2, 9)), np.array([["a"] * 14] * 2)])
def test_up3d_joints_that_are_none_are_a_failure(tmp_path, content):
    path = tmp_path / "00001_joints.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    (failed,) = up3d(tmp_path)
    assert isinstance(failed, BadInstance) and "not an array of joints" in failed.message


def test_up3d_joints_of_two_rows_count_where_both_are_above_0(tmp_path):
    joints = np.arange(28.0).reshape(2, 14)
    joints[1, 3] = -1
    np.save(tmp_path / "00001_joints.npy", joints)
    (fit,) = up3d(tmp_path)
    assert fit.labels[:, 0].tolist() == [5, 2, 4, 7, 21, 19, 17, 16, 18, 20]
    assert fit.labels[0].tolist() == [5, 1, 15]


def test_human36m_translations_are_millimetres_of_a_camera_from_world(tmp_path):
    """R = a half turn about x; the world's z = 0.5 m lies at depth 5.5 - 0.5."""
    camera = {"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t": [0, 100, 5500], "f": [1100, 1200], "c": [500, 510]}
    image = {"id": 1, "file_name": "a.jpg", "width": 1000, "height": 1002, "subject": 9, "action_idx": 2}
    image |= {"subaction_idx": 1, "cam_idx": 4, "frame_idx": 0}
    start = tmp_path / "annotations" / "Human36M_subject9"
    note = {"id": 1, "image_id": 1, "bbox": [0, 0, 9, 9]}
    write_json(start.with_name(start.name + "_data.json"), {"images": [image], "annotations": [note]})
    write_json(start.with_name(start.name + "_camera.json"), {"4": camera})
    numbers = {"pose": [0.0] * 72, "shape": [0.0] * 10, "trans": [[0.0, 0.0, 0.0]]}
    write_json(start.with_name(start.name + "_smpl_param.json"), {"2": {"1": {"0": numbers}}})
    (fit,) = read_fits("human36m", tmp_path)
    np.testing.assert_allclose(project(fit.camera, POINT), [1100 * 0.3 / 5 + 500, 1200 * (0.2 + 0.1) / 5 + 510])
    assert (fit.group, fit.split, fit.betas.shape) == ("S9", "test", (10,))


def sequence(**changes):
    views = np.tile(np.eye(4), (2, 1, 1))
    views[1, :3, 3] = (0.1, 0.2, 4.5)
    record = {"poses": [np.zeros((2, 72))], "trans": [np.zeros((2, 3))], "betas": [np.zeros(10)], "genders": ["m"]}
    record |= {"cam_poses": views, "cam_intrinsics": np.array([[2000.0, 0, 540], [0, 1900, 960], [0, 0, 1]])}
    return record | {"campose_valid": [np.array([0, 1])]} | changes


def test_3dpw_frames_with_an_unaligned_camera_are_failures(tmp_path):
    old_pickle(tmp_path / "sequenceFiles/test/walk.pkl", sequence())
    failed, fit = read_fits("3dpw", tmp_path)
    assert (
        isinstance(failed, BadInstance)
        and "campose_valid" in failed.message
        and failed.name == "walk/image_00000.jpg#0"
    )
    np.testing.assert_allclose(project(fit.camera, POINT), [2000 * 0.4 / 5 + 540, 1900 * 0 / 5 + 960], atol=1e-9)
    assert fit.image_path is None and fit.image_size is None and fit.split == "test"


def test_3dpw_people_of_unknown_gender_and_of_too_few_frames_are_failures(tmp_path):
    record = sequence(
        poses=[np.zeros((2, 72))] * 2, trans=[np.zeros((1, 3)), np.zeros((2, 3))], betas=[np.zeros(10)] * 2
    )
    old_pickle(
        tmp_path / "sequenceFiles/train/a.pkl", record | {"genders": ["f", "x"], "campose_valid": [np.ones(2)] * 2}
    )
    kinds = [(type(fit).__name__, getattr(fit, "message", "")) for fit in read_fits("3dpw", tmp_path)]
    assert [kind for kind, _ in kinds] == ["Fit", "BadInstance", "BadInstance", "BadInstance"]
    assert "unknown gender" in kinds[2][1] and "not the fields expected" in kinds[1][1]


def animal3d(root, points, pixels):
    entry = {"img_path": "a.jpg", "pose": [0.0] * 105, "shape": [0.0] * 20, "trans": [0.1, 0.2, 5.0]}
    write_json(
        root / "test.json", {"data": [entry | {"keypoint_3d": points.tolist(), "reproj_kp_2d": pixels.tolist()}]}
    )
    (fit,) = read_fits("animal3d", root)
    return fit


def test_animal3d_finds_the_camera_of_points_with_and_without_the_translation(tmp_path):
    rest = np.random.default_rng(0).normal(0, 0.3, (26, 3))
    placed = rest + (0.1, 0.2, 5.0)
    pixels = 500 * placed[:, :2] / placed[:, 2:] + (60, 70)
    for points in (rest, placed):
        camera = animal3d(tmp_path, points, pixels).camera
        np.testing.assert_allclose([*camera.focal, *camera.centre], [500, 500, 60, 70])


@pytest.mark.parametrize(("scale", "off"), [(-500, 0), (500, 5)])
def test_animal3d_refuses_pixels_upside_down_or_some_pixels_off(tmp_path, scale, off):
    placed = np.random.default_rng(0).normal(0, 0.3, (26, 3)) + (0.1, 0.2, 5.0)
    pixels = scale * placed[:, :2] / placed[:, 2:] + (60, 70)
    pixels[0] += off
    failed = animal3d(tmp_path, placed, pixels)
    assert isinstance(failed, BadInstance) and "belong to no camera of this focal length" in failed.message


def dog(root, name="fits/n1-pug/n1_2.json", **changes):
    camera = {"kind": "perspective", "focal": 500, "centre": [32, 24]}
    record = {"pose": [0.0] * 105, "betas": [0.0] * 20, "trans": [0, 0, 3], "camera": camera}
    write_json(root / name, record | changes)
    return list(read_fits("stanford-dogs", root))


def test_dogs_without_rotation_live_in_the_camera_frame(tmp_path):
    (fit,) = dog(tmp_path)
    np.testing.assert_allclose(
        project(fit.camera, POINT + fit.translation), [500 * 0.3 / 3.5 + 32, 500 * -0.2 / 3.5 + 24]
    )
    assert fit.image_id == "n1-pug/n1_2.jpg" and fit.group == "n1-pug" and fit.joint_scales is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"camera": [0.1, 112, 112]}, "no camera with named fields, got 3 numbers without names"),
        ({"camera": None}, "no camera with named fields, got none"),
        ({"camera": {"kind": "perspective", "focal": 500}}, "lacks kind or centre"),
        ({"camera": {"kind": "perspective", "focal": "far", "centre": [1, 2]}}, "focal is missing or no number"),
        ({"pose": np.zeros((35, 3, 3)).tolist()}, "pose is no list of axis-angles"),
        ({"pose": [0.0] * 104}, "pose is no list of axis-angles"),
        ({"pose": None}, "no field 'pose'"),
        ({"betas": "many"}, "betas is no array of numbers"),
        ({"trans": [1, 2]}, "translation has another shape"),
        ({"image_size": 5}, "image_size is missing or no number"),
        ({"image_size": "64"}, "image_size is missing or no number"),
        ({"image_size": [2**40, 2**40]}, "the size of its image is none"),
        ({"image_size": [64.5, 48]}, "the size of its image is none"),
        ({"image_size": [0, 48]}, "the size of its image is none"),
        ({"image_size": [3, 48, 64]}, "image_size is out of range"),
        (
            {"camera": {"kind": "perspective", "focal": 500, "centre": [1, 2], "skew": 3}},
            "of a camera that are not understood, got skew",
        ),
        ({"camera_distortion": [1, 2], "camera": None}, "of a camera that are not understood, got distortion"),
        ({"delta_v": [1]}, "look like shape, scale or pose and are not understood, got delta_v"),
        ({"quaternions": [1]}, "look like shape, scale or pose and are not understood, got quaternions"),
        ({"joint_scales": [0.0] * 5}, "limb scales of another number, got 5"),
        ({"betas": True}, "betas is no array of numbers"),
    ],
)
def test_dogs_that_make_no_fit_say_why(tmp_path, changes, text):
    (failed,) = dog(tmp_path, **changes)
    assert isinstance(failed, BadInstance) and text in failed.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("log_beta_scale", [0.1] * 6),
        ("betas_scale", [0.1] * 6),
        ("scale", 2.0),
        ("Shape_Offset", [0.0]),
        ("deform_verts", np.zeros((4, 3)).tolist()),
        ("del_v", [1.0]),
        ("pose_rotmat", [1.0]),
        ("bone", [1.0]),
    ],
)
def test_fields_that_shape_and_are_not_understood_are_failures_in_every_layout_of_dogs(tmp_path, field, value):
    (failed,) = dog(tmp_path / "dogs", **{field: value})
    assert isinstance(failed, BadInstance) and f"not understood, got {field}" in failed.message
    numbers = {"pose": np.zeros(105), "betas": np.zeros(26), "trans": np.zeros(3), field: np.asarray(value)}
    old_pickle(tmp_path / "smalify/a/st10_ep0.pkl", numbers)
    (tmp_path / "wldo").mkdir()
    np.savez(tmp_path / "wldo/a.npz", **numbers, camera=np.array([0, 112, 112]))
    entry = {name: np.asarray(number).tolist() for name, number in numbers.items() if name != "betas"}
    write_json(tmp_path / "animal3d/a.json", {"data": [entry | {"img_path": "a.jpg", "shape": [0.0] * 20}]})
    for name in ("smalify", "wldo", "animal3d"):
        (failed,) = read_fits(name, tmp_path / name)
        assert isinstance(failed, BadInstance) and f"not understood, got {field}" in failed.message, name


def test_people_have_no_limb_scales(tmp_path):
    (failed,) = up3d(tmp_path / "up3d", log_betascale=np.zeros(6))
    old_pickle(tmp_path / "3dpw/sequenceFiles/test/walk.pkl", sequence(log_betascale=np.zeros(6), poses_60Hz=[]))
    (other,) = read_fits("3dpw", tmp_path / "3dpw")
    assert all("not understood, got log_betascale" in one.message for one in (failed, other))


@pytest.mark.parametrize("betas", [np.eye(300)[9], np.eye(300)[20], np.zeros(300), np.zeros(10)])
def test_3dpw_keeps_every_beta_that_is_not_0(tmp_path, betas):
    old_pickle(tmp_path / "sequenceFiles/test/walk.pkl", sequence(betas=[betas]))
    _, fit = read_fits("3dpw", tmp_path)
    assert len(fit.betas) == (21 if betas.any() and betas[9] == 0 else 10) and fit.betas.sum() == betas.sum()


def test_fields_that_only_sound_alike_and_what_was_labelled_do_no_harm(tmp_path):
    (fit,) = dog(
        tmp_path, protocol="a", has_pose=True, keypoint_2d=[[1, 2, 1]], legs_PCK=0.5, label=None, beta_scale=None
    )
    assert isinstance(fit, Fit)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [0.0] * 20},
        {"log_betascale": [0.0] * 6, "joint_scales": [0.0] * 6},
        {"transl": [0, 0, 3]},
        {"global_rotation": [0.0] * 3, "joint_rotations": [0.0] * 102},
    ],
)
def test_one_number_under_two_names_is_a_failure(tmp_path, changes):
    (failed,) = dog(tmp_path, **changes)
    assert isinstance(failed, BadInstance) and ("under two names" in failed.message or "two poses" in failed.message)


def test_two_fits_of_one_photograph_and_a_list_for_a_record(tmp_path):
    dog(tmp_path)
    (tmp_path / "fits/n1-pug/n1_2.npz").write_bytes(b"PK nonsense")
    old_pickle(tmp_path / "fits/n1-pug/n1_3.pkl", [1, 2])
    old_pickle(tmp_path / "fits/n1-pug/n1_4.pkl", {"pose": 1})
    cut_short("fits/n1-pug/n1_4.pkl")(tmp_path)
    fit, *failed = read_fits("stanford-dogs", tmp_path)
    assert isinstance(fit, Fit)
    assert [f.message.partition(",")[0] for f in failed] == [
        "a second fit of the same photograph",
        "not a record with named fields",
        "not a whole pickle file",
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nothing", "not a json file"),
        ("[]", "not a file of fits"),
        (json.dumps({"schema": "dp3d.fits", "version": 2, "fits": []}), "not a file of fits that this version reads"),
        (json.dumps({"schema": "dp3d.fits", "version": 1}), "not a file of fits"),
        ("[" * 100_000, "not a json file"),
    ],
)
def test_neutral_files_of_another_kind_are_refused(tmp_path, text, match):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputCorrupt, match=match):
        list(read_fits("neutral", tmp_path))


def test_neutral_entries_with_unknown_or_repeated_names_are_failures(tmp_path):
    write_fits(tmp_path / "a.json", [one_fit(), one_fit(betas=np.ones(3))])
    data = json.loads((tmp_path / "a.json").read_text())
    data["fits"] += [data["fits"][0] | {"instance_id": "b", "bettas": [1]}, 7]
    write_json(tmp_path / "a.json", data)
    good, *failed = read_fits("neutral", tmp_path / "a.json")
    assert isinstance(good, Fit) and good.camera.focal == CAMERA.focal
    assert ["second fit" in failed[0].message, "bettas" in failed[1].message, type(failed[2].error).__name__] == [
        True,
        True,
        "InputCorrupt",
    ]


def test_writing_fits_is_whole_or_not_at_all(tmp_path):
    def interrupted():
        yield one_fit()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_fits(tmp_path / "a.json", interrupted())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [torch.tensor, lambda values: torch.nn.Parameter(torch.tensor(values))])
def test_tensors_in_a_pickle_are_numbers(tmp_path, kind):
    (wanted,) = dog(tmp_path, "fits/n1-pug/n1_2.json")
    record = {"pose": kind([0.0] * 105), "betas": kind([0.0] * 20), "trans": kind([0.0, 0, 3]), "camera": None}
    record |= {"camera_kind": "perspective", "camera_focal": 500, "camera_centre": [32, 24]}
    old_pickle(tmp_path / "more/fits/n1-pug/n1_2.pkl", record)
    (fit,) = read_fits("stanford-dogs", tmp_path / "more")
    assert same_fit(fit, wanted)


def test_complex_numbers_are_none(tmp_path):
    old_pickle(
        tmp_path / "fits/n1-pug/n1_2.pkl", {"pose": np.zeros(105, complex), "betas": np.zeros(20), "trans": np.zeros(3)}
    )
    (failed,) = read_fits("stanford-dogs", tmp_path)
    assert "complex128 in place of real numbers" in failed.message


def test_annotations_name_no_picture_outside_their_folder(tmp_path):
    picture(tmp_path / "secret.png", (32, 24))
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a/../../secret.png"):
        animal = {"img_path": name, "mask_path": name, "pose": [0.0] * 105, "shape": [0.0] * 20, "trans": [0, 0, 3]}
        write_json(tmp_path / "in/train.json", {"data": [animal, animal | {"height": 24, "width": 32}]})
        failed, fit = read_fits("animal3d", tmp_path / "in")
        assert isinstance(failed, BadInstance) and fit.image_path is None and fit.mask_path is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bbox": "1234"}, "not a box"),
        ({"bbox": [1, 2, 3]}, "not a box"),
        ({"camera": [1, 2, 3]}, "no camera with named fields"),
        ({"shape": [[0.0] * 20] * 2}, "betas has another shape"),
        ({"shape_extra": [[0.0] * 21] * 2}, "more betas has another shape"),
        ({"trans": [[0, 0, 3]] * 2}, "translation has another shape"),
        ({"height": 24.5, "width": 32}, "the size of its image is none"),
    ],
)
def test_numbers_of_several_animals_and_fields_of_other_forms_are_failures(tmp_path, changes, text):
    animal = {
        "img_path": "a.png",
        "pose": [0.0] * 105,
        "shape": [0.0] * 20,
        "trans": [0, 0, 3],
        "height": 24,
        "width": 32,
    }
    write_json(tmp_path / "train.json", {"data": [animal, animal | changes]})
    fit, failed = read_fits("animal3d", tmp_path)
    assert isinstance(fit, Fit) and text in failed.message


def test_only_one_focal_length_is_one(tmp_path):
    (failed,) = up3d(tmp_path / "a", f=np.array([500.0, 600.0]))
    assert "f is not one number, got [500.0, 600.0]" in failed.message
    animal = {"img_path": "a", "pose": [0.0] * 105, "shape": [0.0] * 20, "trans": [0, 0, 3]}
    write_json(tmp_path / "train.json", {"data": [animal], "flength": [900, 800]})
    (failed,) = read_fits("animal3d", tmp_path)
    assert "flength is not one number" in failed.message
