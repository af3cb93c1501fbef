"""Body models in files: the published layouts, our own, the commands, and what is said where one is missing or
wrong."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.bodies.files import import_body_model, load_body_model, save_body_model
from dp3d_data.bodies.model import rest_template
from dp3d_data.bodies.posing import pose_body
from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from dp3d_data.geometry import load_template
from dp3d_data.unpickling import read_pickle
from pipelines.cli.body import body
from tests.data.bodies.body_arrays import random_model, random_poses
from tests.data.bodies.body_pickles import PROTOCOLS, Ch, old_pickle, published


def run(*words):
    return CliRunner().invoke(body, [str(word) for word in words])


def assert_same_arrays(one, other):
    for name in ("template", "faces", "shape_basis", "pose_basis", "joint_regressor", "parents", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("selected", [False, True])
def test_published_pickles_with_chumpy_are_read_exactly(tmp_path, protocol, selected):
    model = random_model(joints=24, betas=10)
    path = tmp_path / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(old_pickle(published(model, selected), protocol))
    found = import_body_model(path)
    assert_same_arrays(found, model)
    assert (found.kind, found.scale_joints) == ("smpl", None)


@pytest.mark.parametrize("layout", ["npz", "today's pickle"])
def test_plain_files_are_read(tmp_path, layout):
    model = random_model()
    content = published(model) | {"shapedirs": model.shape_basis, "J_regressor": model.joint_regressor}
    content = {name: value for name, value in content.items() if name not in ("J", "J_regressor_prior")}
    if layout == "npz":
        np.savez(tmp_path / "model.npz", **content)
        found = import_body_model(tmp_path / "model.npz", betas=2)
    else:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, protocol=5))
        found = import_body_model(tmp_path / "model.pkl", betas=2)
    assert found.num_betas == 2
    np.testing.assert_array_equal(found.shape_basis, model.shape_basis[:, :, :2])


def test_dogs_have_limb_scales_and_other_animals_none(tmp_path):
    for joints, scales in ((35, 7), (33, 0)):
        path = tmp_path / "animal.pkl"
        path.write_bytes(old_pickle(published(random_model(joints=joints, pose_basis=False))))
        found = import_body_model(path)
        assert (found.kind, found.num_scales, found.pose_basis) == ("smal", scales, None)


def test_our_file_keeps_everything_and_is_the_same_to_the_byte(tmp_path):
    (tmp_path / "dog.pkl").write_bytes(old_pickle(published(random_model(joints=35))))
    model = import_body_model(tmp_path / "dog.pkl", name="dog")
    one, two = (save_body_model(model, tmp_path / f"{n}.npz") for n in "ab")
    found = load_body_model(one)
    assert one.read_bytes() == two.read_bytes()
    assert_same_arrays(found, model)
    assert (found.name, found.kind, found.scale_joints) == (model.name, model.kind, model.scale_joints)
    np.testing.assert_array_equal(found.scale_basis, model.scale_basis)


def test_posing_agrees_with_smplfitter(tmp_path):
    smplfitter = pytest.importorskip("smplfitter.pt", reason="smplfitter is not installed: pip install 'dp3d[dev]'")
    model = random_model(joints=24, betas=10)
    plain = {**published(model), "shapedirs": model.shape_basis, "J_regressor": model.joint_regressor}
    del plain["J"], plain["J_regressor_prior"]
    path = tmp_path / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    path.write_bytes(pickle.dumps(plain))
    np.save(tmp_path / "kid_template.npy", np.zeros_like(model.template))
    case = random_poses(model, 5)
    given = [torch.tensor(case[name], dtype=torch.float32) for name in ("pose", "betas", "translation")]
    theirs = smplfitter.BodyModel("smpl", "neutral", model_root=str(tmp_path))(given[0].flatten(1), *given[1:])[
        "vertices"
    ]
    ours = pose_body(import_body_model(path), *(case[name] for name in ("pose", "betas", "translation")))
    assert (ours - theirs).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("smpl", "smpl.is.tue.mpg.de.*basicmodel_neutral"),
        ("SMPL_FEMALE.pkl", "smpl.is.tue.mpg.de"),
        ("smal", "smal.is.tue.mpg.de.*smal_CVPR2017.pkl"),
        ("my_smpl_00781_4_all.pkl", "benjiebob/WLDO.*my_smpl_00781_4_all.pkl"),
        ("my_smpl_SMBLD_nbj_v3.pkl", "barc.is.tue.mpg.de.*my_smpl_SMBLD_nbj_v3.pkl"),
        ("barc-dog", "barc.is.tue.mpg.de.*my_smpl_SMBLD_nbj_v3.pkl"),
        ("bite", "bite.is.tue.mpg.de.*my_smpl_39dogsnorm_newv3_dog.pkl"),
        ("my_smpl_39dogsnorm_newv3_dog.pkl", "bite.is.tue.mpg.de"),
        ("dog", "nbj_v3.*39dogsnorm.*00781"),
        ("horse", "smpl.is.tue.mpg.de.*dp3d-data body import FILE --name NAME"),
    ],
)
def test_a_missing_model_says_where_its_owner_offers_it(name, text):
    with pytest.raises(InputMissing, match=text):
        load_body_model(name)


def big_dog(betas):
    """Random arrays of the size of the dogs' models: 3,889 vertices, 35 joints."""
    rng, points = np.random.default_rng(0), 3889
    weights = np.zeros((points, 35))
    weights[:, 0] = 1
    regressor = np.zeros((35, points))
    regressor[:, 0] = 1
    table = np.array([[-1, *[0] * 34], range(35)])
    content = {"v_template": rng.normal(size=(points, 3)), "f": np.arange(30).reshape(10, 3), "weights": weights}
    return content | {
        "shapedirs": rng.normal(size=(points, 3, betas)),
        "J_regressor": regressor,
        "kintree_table": table,
    }


BARC, BITE, WLDO = "my_smpl_SMBLD_nbj_v3.pkl", "my_smpl_39dogsnorm_newv3_dog.pkl", "my_smpl_00781_4_all.pkl"


@pytest.mark.parametrize(("file", "betas"), [(BARC, 54), (BITE, 39), (WLDO, 41), ("dog.pkl", 39), (BITE, 12)])
def test_dogs_of_one_name_and_content_are_read(tmp_path, file, betas):
    (tmp_path / file).write_bytes(pickle.dumps(big_dog(betas)))
    assert import_body_model(tmp_path / file, "rex").num_betas == betas


@pytest.mark.parametrize(
    ("file", "betas", "name", "got"),
    [
        (BARC, 54, "bite-dog", "by its file BARC's dog model, by its name BITE's dog model, by its content BARC's"),
        (BITE, 54, "rex", "by its file BITE's dog model, by its content BARC's"),
        (BARC, 39, "rex", "by its content BITE's"),
        (WLDO, 54, "rex", "by its file SMBLD, the dog model of WLDO, by its content BARC's"),
        (BITE, 39, "barc", "by its name BARC's"),
    ],
)
def test_dogs_that_are_two_models_at_once_are_refused(tmp_path, file, betas, name, got):
    (tmp_path / file).write_bytes(pickle.dumps(big_dog(betas)))
    with pytest.raises(InputCorrupt, match="a dog model that is two at once") as caught:
        import_body_model(tmp_path / file, name)
    assert got in caught.value.got and "their shape spaces differ" in caught.value.hint


def test_an_import_under_a_wrong_name_is_refused_when_it_is_used(tmp_path):
    (tmp_path / BARC).write_bytes(pickle.dumps(big_dog(54)))
    path = save_body_model(replace(import_body_model(tmp_path / BARC), name="bite-dog"), tmp_path / "bite-dog.npz")
    with pytest.raises(InputCorrupt, match="two at once"):
        load_body_model(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": None}, "it has no weights"),
        ({"weights": np.zeros((66, 6))}, "skin weights do not sum to 1"),
        ({"kintree_table": np.zeros(4)}, "kintree_table of shape"),
        ({"shapedirs": Ch("words")}, "it has no shapedirs"),
        ({"v_template": np.zeros((4, 3))}, "not a usable body model"),
        ({"f": np.full((2, 3), 900)}, "a face names no vertex"),
    ],
)
def test_files_that_are_no_body_model_are_told(tmp_path, change, text):
    path = tmp_path / "model.pkl"
    path.write_bytes(old_pickle(published(random_model()) | change))
    with pytest.raises(InputCorrupt, match=text) as caught:
        load_body_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"not a model", b"PK\3\4 cut short", pickle.dumps([1, 2])])
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_other_files_are_told(tmp_path, raw, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(raw)
    with pytest.raises(InputCorrupt, match="body model|pickle file"):
        load_body_model(path)


def test_a_damaged_file_of_ours_is_told(tmp_path):
    path = save_body_model(random_model(), tmp_path / "model.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    for change, text in (
        ({"dp3d_body": 9}, "another format"),
        ({"weights": arrays["weights"] * 3}, "do not sum to 1"),
        ({"parents": np.array("a")}, "a damaged body model"),
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(InputCorrupt, match=text):
            load_body_model(path)


def test_objects_nobody_needs_keep_only_their_name(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(old_pickle(published(random_model())))
    assert str(read_pickle(path)["J"].kind) == "chumpy.ch.MatVecMult"


def test_import_then_show_then_list(tmp_path):
    path = tmp_path / "my_smpl.pkl"
    path.write_bytes(old_pickle(published(random_model(joints=35))))
    assert "none is imported" in run("list").output
    result = run("import", path, "--name", "rex")
    assert result.exit_code == 0, result.output
    assert "66 vertices, 128 faces" in result.output and "legs length" in result.output
    size = " x ".join(f"{extent:.3f}" for extent in np.ptp(load_body_model("rex").template, axis=0))
    assert f"{size} m" in result.output and "dp3d-data body show rex" in result.output
    result = run("show", "rex", "--picture", tmp_path / "rex.png", "--mesh", tmp_path / "rex.obj")
    assert result.exit_code == 0 and (tmp_path / "rex.png").exists() and (tmp_path / "rex.obj").exists()
    result = run("list")
    assert "rex" in result.output and "smal" in result.output
    again = run("import", path, "--name", "rex")
    assert again.exit_code == UsageError.exit_code and "--overwrite" in again.output
    assert run("import", path, "--name", "rex", "--overwrite", "--betas", 1).exit_code == 0
    assert load_body_model("rex").num_betas == 1


def test_the_rest_shape_becomes_a_template(tmp_path):
    path = tmp_path / "my_smpl.pkl"
    path.write_bytes(old_pickle(published(random_model(joints=24))))
    assert run("import", path, "--name", "rex").exit_code == 0
    result = run("template", "rex", "--name", "rested")
    assert result.exit_code == 0 and "--template rested" in result.output, result.output
    template = load_template("rested")
    assert template.content_hash in result.output and template.name == "rested"
    np.testing.assert_array_equal(template.vertices, rest_template(load_body_model("rex")).vertices)
    assert run("template", "rex", "--name", "rested").exit_code == UsageError.exit_code
    assert run("template", "rex", "--name", "rested", "--overwrite").exit_code == 0


def test_mistakes_are_answered(tmp_path):
    for words, code, text in (
        (("import", tmp_path / "smal_CVPR2017.pkl", "--name", "a"), 3, "smal.is.tue.mpg.de"),
        (("import", tmp_path / "a.pkl", "--name", "../a"), 2, "no name for a body model"),
        (("show", "rex"), 3, "no body model of that name"),
    ):
        result = run(*words)
        assert result.exit_code == code and text in result.output, result.output
    with pytest.raises(UsageError, match="a number of betas"):
        (tmp_path / "a.pkl").touch()
        import_body_model(tmp_path / "a.pkl", betas=-1)
