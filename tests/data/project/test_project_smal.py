"""Fits as SMALify, WLDO, Animal3D, BITE and AniMer write them: keypoints against a few lines of each one's own
projection."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dp3d_data.bodies.files import save_body_model
from dp3d_data.datasets.fits import FitCamera
from dp3d_data.geometry.symmetry import mirrored_vertices
from dp3d_data.unpickling import read_pickle
from pipelines.chunks import make_run as project
from pipelines.project import make_plan
from tests.data.bodies.body_arrays import random_model, sphere
from tests.data.fits.trees import old_pickle, write_json, write_obj
from tests.data.project.dogs import dog_fit, dog_model, settings
from tests.references.bodies_smpl import pose_body_slow
from tests.shared import shared


def symmetric_dog():
    """A dog whose template is its own mirror image in y; nothing else of it is."""
    return replace(dog_model(2), template=sphere(2)[0] * (0.9, 0.4, 0.6))


def numbers(seed=3, betas=20):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.05, (35, 3)), rng.normal(0, 0.3, betas), rng.normal(0, 0.2, 6), rng.normal(0, 0.05, 3)


def limb_scales(log_scales):
    """WLDO's six scales of joints 7 to 14 and 17 to 24 (legs), 25 to 31 (tail), 33 and 34 (ears)."""
    scales = np.ones((35, 3))
    for joint in (*range(7, 15), *range(17, 25)):
        scales[joint] = np.exp(log_scales[[1, 1, 0]])
    for joint in range(25, 32):
        scales[joint] = np.exp(log_scales[[2, 3, 3]])
    for joint in (33, 34):
        scales[joint, 1:] = np.exp(log_scales[[4, 5]])
    return scales


def run_of(folder, dataset, root, model=None, **changes):
    """Rows and messages of failures of a run on a folder of that layout."""
    folder.mkdir(parents=True, exist_ok=True)
    save_body_model(model or symmetric_dog(), folder / "body.npz")
    plan = make_plan(settings(folder, [dog_fit(0)], dataset=dataset, path=str(root), overwrite=True, **changes))
    run, _ = project(plan)
    return [row for table in run.instances() for row in table.to_pylist()], [
        row["message"] for row in run.failures().to_pylist()
    ]


def assert_keypoints(row, pixels):
    """What the row holds of each visible vertex; at least some are visible."""
    ids = row["vertex_ids"]
    assert len(ids) > 8
    np.testing.assert_allclose(np.column_stack([row["keypoints_x"], row["keypoints_y"]]), pixels[ids], atol=2e-3)


def write_smalify(path, scale_name="log_betascale"):
    pose, betas, scales, trans = numbers()
    record = {"global_rotation": pose[0], "joint_rotations": pose[1:], "betas": betas, "trans": trans}
    old_pickle(path, record | ({} if scale_name is None else {scale_name: scales}))


def test_smalify_looks_from_two_point_seven_and_sees_sixty_degrees(tmp_path):
    write_smalify(tmp_path / "run/n02099601_176/st10_ep0.pkl")
    (row,), failed = run_of(tmp_path, "smalify", tmp_path / "run")
    pose, betas, scales, trans = numbers()
    x, y, z = pose_body_slow(symmetric_dog(), pose, betas, trans, limb_scales(scales)).T
    depth, focal = 2.7 - z, 128 / np.tan(np.radians(30))
    assert_keypoints(row, np.column_stack([128 + focal * x / depth, 128 - focal * y / depth]))
    assert not failed and (row["image_width"], row["image_height"], row["image_id"]) == (256, 256, "n02099601_176")


def test_wldo_shows_a_mirror_image(tmp_path):
    """px = 112 + f x / Z, py = 112 - f y / Z of the network's dog; the dog in the photograph has left and right the
    other way."""
    pose, betas, scales, trans = numbers(4)
    record = {"imgname": "Images/pug/pug_7.jpg", "pose": pose.ravel(), "betas": np.concatenate([betas, scales])}
    (tmp_path / "run").mkdir()
    np.savez(
        tmp_path / "run/pug_pug_7.npz",
        **record,
        camera=np.array([0.1, 112, 112]),
        trans=trans + (0, 0, 10),
        has_bbox=False,
    )
    (row,), failed = run_of(tmp_path, "wldo", tmp_path / "run")
    model = symmetric_dog()
    x, y, z = pose_body_slow(model, pose, betas, trans + (0, 0, 10), limb_scales(scales)).T
    pixels = np.column_stack([112 + 2970 * x / (20 + z), 112 - 2970 * y / (20 + z)])
    other = np.linalg.norm(model.template[:, None] * (1, -1, 1) - model.template, axis=2).argmin(axis=1)
    assert not failed and (row["group"], row["image_width"]) == ("pug", 224)
    assert_keypoints(row, pixels[other])
    truth = np.array(row["true_vertices"]).reshape(-1, 3)
    volume = np.einsum(
        "fi,fi->f", truth[model.faces[:, 0]], np.cross(truth[model.faces[:, 1]], truth[model.faces[:, 2]])
    ).sum()
    assert volume > 0


def test_a_mirrored_fit_of_a_body_without_two_sides_is_a_failure(tmp_path):
    model = replace(symmetric_dog(), template=symmetric_dog().template * np.linspace(0.5, 1, 66)[:, None])
    camera = FitCamera("perspective", np.eye(3), np.array([0, 0, 6.0]), focal=(500, 500), centre=(320, 240))
    save_body_model(model, tmp_path / "body.npz")
    run, _ = project(make_plan(settings(tmp_path, [dog_fit(1, mirrored=True, camera=camera)])))
    assert "a mirrored fit needs a symmetric body model" in run.failures().to_pylist()[0]["message"]


@pytest.mark.parametrize("extra", [True, False])
def test_animal3d_has_shape_in_two_fields_and_looks_at_the_middle(tmp_path, extra):
    pose, betas, _, trans = numbers(5, 41)
    model = replace(symmetric_dog(), shape_basis=np.random.default_rng(1).normal(0, 0.03, (66, 3, 41)))
    entry = {
        "img_path": "images/wolf/1.JPEG",
        "bbox": [1, 2, 30, 40],
        "pose": pose.ravel().tolist(),
        "shape": betas[:20].tolist(),
    }
    entry |= {"trans": (trans + (0, 0, 5)).tolist(), "supercategory": 1} | (
        {"shape_extra": betas[20:].tolist()} if extra else {}
    )
    write_json(tmp_path / "data/train.json", {"data": [entry, entry | {"img_path": "images/wolf/none.JPEG"}]})
    (tmp_path / "data/images/wolf").mkdir(parents=True)
    Image.new("RGB", (500, 400)).save(tmp_path / "data/images/wolf/1.JPEG")
    (row,), (failed,) = run_of(tmp_path, "animal3d", tmp_path / "data", model)
    used = betas if extra else betas[:20]
    x, y, z = pose_body_slow(model, pose, used, trans + (0, 0, 5), np.ones((35, 3))).T
    assert_keypoints(row, np.column_stack([1000 * x / z + 250, 1000 * y / z + 200]))
    assert "nothing says where the camera looks" in failed and row["source_split"] == "train" and row["box_x1"] == 31


def test_animal3d_believes_no_camera_that_its_own_pixels_refute(tmp_path):
    pose, betas, _, trans = numbers(5)
    points = np.random.default_rng(0).normal(0, 0.3, (26, 3))
    entry = {
        "img_path": "a.jpg",
        "pose": pose.ravel().tolist(),
        "shape": betas.tolist(),
        "trans": (trans + (0, 0, 5)).tolist(),
    }
    entry |= {"keypoint_3d": points.tolist(), "reproj_kp_2d": np.random.default_rng(2).uniform(0, 99, (26, 2)).tolist()}
    write_json(tmp_path / "data/test.json", {"data": [entry]})
    rows, (failed,) = run_of(tmp_path, "animal3d", tmp_path / "data")
    assert not rows and "belong to no camera" in failed


def test_bite_and_animer_surfaces_are_projected_as_they_are(tmp_path):
    """BITE: camera frame, focal length of the crop in an array. AniMer: turned over, focal length of the photograph."""
    model = symmetric_dog()
    vertices = model.template + np.random.default_rng(1).normal(0, 0.01, model.template.shape) + (0.05, -0.1, 15)
    write_obj(tmp_path / "run/rex_res_e300.obj", vertices, model.faces)
    write_obj(tmp_path / "run/rex_res_e150.obj", vertices + 1, model.faces)
    (tmp_path / "run/details").mkdir()
    np.save(tmp_path / "run/details/rex_flength_e300.npy", np.array([[1800.0]]))
    write_obj(tmp_path / "run/tiger_0.obj", vertices * (1, -1, -1), model.faces[::-1])
    write_json(tmp_path / "run/tiger_0.json", {"focal": 1000 / 256 * 800, "image_size": [800, 600]})
    (bite, animer), failed = run_of(tmp_path, "posed-mesh", tmp_path / "run")
    x, y, z = vertices.T
    assert_keypoints(bite, np.column_stack([1800 * x / z + 128, 1800 * y / z + 128]))
    assert_keypoints(animer, np.column_stack([3125 * x / z + 400, 3125 * y / z + 300]))
    assert not failed and (bite["image_width"], animer["image_width"]) == (256, 800)


def test_posed_surfaces_that_are_not_the_bodys_are_failures(tmp_path):
    model = symmetric_dog()
    vertices, folder = model.template + (0, 0, 9), tmp_path / "run"
    write_obj(folder / "a_more.obj", np.vstack([vertices, vertices[:1]]), model.faces)
    write_obj(folder / "b_flipped.obj", vertices, model.faces[:, ::-1])
    write_obj(folder / "c_around.obj", model.template, model.faces)
    (folder / "d_none.obj").write_text("")
    write_json(folder / "camera.json", {"focal": 900, "image_size": [256, 256]})
    write_obj(folder / "lost/e.obj", vertices, model.faces)
    write_obj(folder / "lost/f.obj", vertices, model.faces)
    write_json(folder / "lost/f.json", {"focal": 900, "image_size": [256, 256], "rotation": 3})
    rows, failed = run_of(tmp_path, "posed-mesh", folder)
    texts = (
        "another number of vertices",
        "other faces",
        "before a camera at the origin",
        "",
        "no focal length",
        "not a camera",
    )
    assert not rows and len(failed) == len(texts)
    assert all(text in message for text, message in zip(texts, failed, strict=True)), failed


@pytest.mark.parametrize(
    "name", ["joint_scales", "betas_limbs", "betas_logscale", "log_betascale", "log_betascales", "log_beta_scales"]
)
def test_limb_scales_move_the_surface_under_every_name(tmp_path, name):
    write_smalify(tmp_path / "run/a/st10_ep0.pkl", name)
    write_smalify(tmp_path / "run/b/st10_ep0.pkl", None)
    (scaled, plain), failed = run_of(tmp_path, "smalify", tmp_path / "run")
    pose, betas, scales, trans = numbers()
    x, y, z = pose_body_slow(symmetric_dog(), pose, betas, trans, limb_scales(scales)).T
    focal = 128 / np.tan(np.radians(30))
    assert_keypoints(scaled, np.column_stack([128 + focal * x / (2.7 - z), 128 - focal * y / (2.7 - z)]))
    assert scaled["true_vertices"] != plain["true_vertices"] and not failed


def test_the_shared_dogs_keep_their_limb_scales_and_extra_shape(tmp_path):
    model = replace(symmetric_dog(), shape_basis=np.random.default_rng(1).normal(0, 0.03, (66, 3, 41)))
    for folder, first_like in (("smalify", [0, 0, 2]), ("animal3d_split", [0, 1])):
        rows, failed = run_of(tmp_path / folder, "stanford-dogs", shared(f"cases/fits/{folder}"), model)
        surfaces = [row["true_vertices"] for row in rows]
        assert not failed and [surfaces.index(surface) for surface in surfaces] == first_like


def test_the_shared_animal_without_a_camera_says_so(tmp_path):
    rows, (failed,) = run_of(tmp_path, "animal3d", shared("cases/fits/animal3d"))
    assert not rows and "nothing says where the camera looks" in failed


def small_person():
    """A body of 24 joints and 10 betas whose joints lie about its middle."""
    return random_model(joints=24, betas=10)


def test_the_shared_person_is_where_the_crop_was_fitted(tmp_path):
    """h w y1 y2 x1 x2 = 280 180 100 660 500 860: projected into 180 x 280 pixels, doubled, moved by (500, 100)."""
    root = shared("cases/fits/up3d")
    (row,), failed = run_of(tmp_path, "up3d", root, small_person(), category="person")
    fields = read_pickle(root / "up-3d/00000_body.pkl")
    scales = np.ones((24, 3))
    posed = pose_body_slow(small_person(), fields["pose"].reshape(24, 3), fields["betas"], fields["trans"], scales)
    x, y, z = (posed + fields["t"]).T
    small = 5000 * np.column_stack([x, y]) / z[:, None] + (90, 140)
    assert_keypoints(row, 2 * small + (500, 100))
    assert not failed and (row["source_dataset"], row["source_quality"]) == ("mpii 1", "high")


def test_marked_joints_far_from_the_body_make_a_failure(tmp_path):
    """Joints marked where the body has them are fine; the same fit with a crop elsewhere is not."""
    model, pose = small_person(), np.random.default_rng(0).normal(0, 0.1, (24, 3))
    posed = pose_body_slow(model, pose, np.zeros(10), (0, 0, 5), np.ones((24, 3)))
    joints = (model.joint_regressor @ posed)[[8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20]]
    folder = tmp_path / "up"
    folder.mkdir()
    extent = np.ptp(500 * joints[:, :2] / joints[:, 2:], axis=0).max()
    for number, left in enumerate((100, 100 + round(0.2 * extent), 100 + round(0.3 * extent), 300)):
        record = {"pose": pose.ravel(), "betas": np.zeros(10), "trans": np.array([0, 0, 5.0])}
        old_pickle(folder / f"0000{number}_body.pkl", record | {"rt": np.zeros(3), "t": np.zeros(3), "f": 500.0})
        Image.new("RGB", (640, 480)).save(folder / f"0000{number}_image.png")
        (folder / f"0000{number}_fit_crop_info.txt").write_text(f"200 200 100 300 {left} {left + 200}")
        marked = np.zeros((3, 14))
        marked[:2, :12] = (500 * joints[:, :2] / joints[:, 2:] + 200).T
        marked[2] = 1
        np.save(folder / f"0000{number}_joints.npy", marked)
    rows, failed = run_of(tmp_path, "up3d", folder, model, category="person")
    assert [row["image_id"] for row in rows] == ["00000_image.png", "00001_image.png"], "a quarter of their extent"
    assert len(failed) == 2 and "beside the joints marked in the image, got 200 pixels off" in failed[1]


@pytest.mark.slow
def test_mirror_maps_follow_the_faces():
    """Of a surface with both sides moved a little the map is that of the exact one; of a lopsided one there is none."""
    points, faces = sphere(3)
    points = points * (0.9, 0.4, 0.6)
    exact = mirrored_vertices(points + (1, 2, 3), faces)
    moved = points + np.random.default_rng(0).normal(0, 0.01, points.shape)
    assert np.array_equal(exact, np.linalg.norm(points[:, None] * (1, -1, 1) - points, axis=2).argmin(axis=1))
    assert np.array_equal(mirrored_vertices(moved, faces), exact)
    assert mirrored_vertices(points * np.where(points[:, 1:2] > 0, 2, 1), faces) is None
    assert mirrored_vertices(points, faces[1:]) is None
