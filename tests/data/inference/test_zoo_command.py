"""dp3d-data zoo, as a user types it."""

from click.testing import CliRunner

from dp3d_data.detection import save_weights
from dp3d_data.detection.zoo import find_spec, shipped_path, zoo_specs
from pipelines.cli.cse import zoo
from tests.data.inference.small import small_network, write_published


def run(*words):
    return CliRunner().invoke(zoo, words)


def test_list_names_every_network():
    text = run("list").output
    assert all(name in text for name in zoo_specs())
    assert "not published" in text and "not published" not in run("list", "--published").output


def test_show_says_shape_meshes_and_place():
    text = run("show", "cse/densepose_rcnn_R_50_FPN_soft_animals_CA_finetune_4k").output
    assert "sheep_5004 (5004 vertices)" in text and "dog_5002" in text and "model_final_6d69b7.pkl" in text
    assert "15 x" not in text and "indep_aniso, segmentation" in run("show", "densepose_rcnn_R_50_FPN_WC2M_s1x").output


def test_check_names_the_network_and_the_next_command(tmp_path):
    path = write_published(tmp_path / "w.pth", find_spec("cse/densepose_rcnn_R_50_FPN_soft_chimps_finetune_4k"))
    found = run("check", str(path))
    assert found.exit_code == 0, found.output
    assert "chimps_finetune_4k" in found.output and "extract --category chimpanzee" in found.output
    assert (
        f"--weights {path} --template MESH\n" in found.output
        and f"template adopt MESH --weights {path}" in found.output
    )


def test_the_next_command_names_no_template_where_it_is_the_category_s_own():
    path = shipped_path(find_spec("animals-3"))
    assert run("check", str(path)).output.endswith(f"--weights {path}\n")


def test_check_tells_notes_of_this_project(tmp_path):
    from dataclasses import replace

    spec = replace(find_spec("narrow-18"), mesh_sizes={"spot": 30}, class_to_mesh={0: "spot"})
    save_weights(small_network(spec), tmp_path / "w.pth", template_hash="abcd")
    found = run("check", str(tmp_path / "w.pth"), "--model", "narrow-18")
    assert found.exit_code == 0, found.output
    assert "template hash: abcd" in found.output and "spot" in found.output


def test_check_refuses_what_is_no_checkpoint(tmp_path):
    (tmp_path / "w.pkl").write_text("text")
    found = run("check", str(tmp_path / "w.pkl"))
    assert found.exit_code == 7 and "not a checkpoint" in found.output
