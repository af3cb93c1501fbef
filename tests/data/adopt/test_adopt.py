"""dp3d-data template adopt from end to end, its landmarks, and what it does to the field."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.detection import load_predictor
from dp3d_data.detection.spec import class_and_mesh
from dp3d_data.detection.training.adoption import (
    Known,
    blank_field,
    fitted_to_renders,
    matching_errors,
    mean_field,
    pulled_to_photographs,
    unit,
)
from dp3d_data.detection.zoo import as_trained, find_spec
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.geometry import load_template
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.matching.landmarks import Landmark, read_landmarks
from pipelines.adopt import _cse_vertex, run
from pipelines.cli.template import template
from pipelines.extract import extract_all, make_plans
from pipelines.settings import AdoptConfig, ExtractConfig
from tests.data.bodies.shapes import arm
from tests.shared import ROOT, shared
from tests.synthetic_predictor import KnownObject, SyntheticPredictor, image_key

HUSKY = ROOT / "tests" / "data" / "adopt" / "husky_landmarks.csv"


def csv(tmp_path, text: str):
    path = tmp_path / "marks.csv"
    path.write_text(text)
    return path


def test_landmarks_are_read_from_both_kinds_of_rows(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = csv(tmp_path, "name,vertex,cse_vertex,image,x,y\nnose,3,5,,,\near,4,,a.png,1.5,2\n")
    marks = read_landmarks(path, 10, 10)
    assert marks == [Landmark(2, 3, 5, name="nose"), Landmark(3, 4, None, tmp_path / "a.png", (1.5, 2.0), "ear")]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("vertex,cse_vertex\n10,0\n", InputCorrupt, "line 2 is no landmark.*vertex 10 is not in 0..9"),
        ("vertex,cse_vertex\n1,99\n", InputCorrupt, "cse_vertex 99"),
        ("vertex\n1\n", InputCorrupt, "line 2 is no landmark"),
        ("vertex,image,x,y\n1,none.png,1,2\n", InputMissing, "no such photograph"),
        ("vertex,image,x,y\n1,none.png,one,2\n", InputCorrupt, "could not convert"),
    ],
)
def test_rows_that_are_no_landmarks_name_their_line(tmp_path, text, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        read_landmarks(csv(tmp_path, text), 10, 10)


def test_a_missing_file_of_landmarks(tmp_path):
    with pytest.raises(InputMissing, match="no such file of landmarks"):
        read_landmarks(tmp_path / "none.csv", 1, 1)


def test_a_point_of_a_photograph_means_the_vertex_that_the_network_sees_there(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ids = np.full((20, 20), -1)
    ids[5:15, 5:15] = np.arange(100).reshape(10, 10)
    known = {image_key(np.ascontiguousarray(pixels[:, :, ::-1])): [KnownObject((5.0, 5.0, 15.0, 15.0), ids)]}
    predictor = SyntheticPredictor(known, 100, {"dog": 0})
    mark = Landmark(2, 0, None, tmp_path / "a.png", (7.5, 9.5))
    assert _cse_vertex(mark, predictor, 0, AdoptConfig(), {}) == 42
    outside = Landmark(2, 0, None, tmp_path / "a.png", (1.0, 1.0))
    with pytest.raises(InputCorrupt, match="the network finds nothing there"):
        _cse_vertex(outside, predictor, 0, AdoptConfig(), {})


def truthful(body, noise: float, seed: int = 0) -> Known:
    """Pixels whose embeddings are a smooth field of the body with noise."""
    rng = np.random.default_rng(seed)
    blank = blank_field(body, 20, 8)
    field = unit(blank.functions @ (rng.normal(size=(20, 8)) / np.arange(1, 21)[:, None]))
    ids = rng.integers(0, body.num_vertices, 400)
    pixels = 2 * field[ids] + noise * rng.normal(size=(400, 8)).astype(np.float32)
    return pixels.astype(np.float32), ids


@pytest.mark.slow
def test_renders_teach_the_field():
    body = arm()
    known = truthful(body, 0.1)
    distances = geodesic_distances(body)
    good = mean_field(blank_field(body, 20, 8), [known])
    noise = 0.05 * np.random.default_rng(1).normal(size=good.coefficients.shape)
    before = replace(good, coefficients=good.coefficients + noise)
    after = fitted_to_renders(before, [known], distances, 0)
    assert matching_errors(after, [known], distances).mean() < 0.7 * matching_errors(before, [known], distances).mean()
    assert np.allclose(np.linalg.norm(after.embeddings, axis=1), 1, atol=1e-5)


def test_photographs_without_an_animal_change_nothing_and_others_pull_gently():
    body = arm()
    known = truthful(body, 0.1)
    places = np.random.default_rng(2).random((400, 2))
    before = mean_field(blank_field(body, 20, 8), [known])
    assert pulled_to_photographs(before, []) is before
    after = pulled_to_photographs(before, [(known[0], places)])
    assert 0 < np.linalg.norm(after.embeddings - before.embeddings, axis=1).mean() < 0.5


def test_an_adopted_mesh_stands_for_its_category_in_a_network_of_nine_kinds():
    spec = find_spec("cse/densepose_rcnn_R_50_FPN_soft_animals_I0_finetune_16k")
    classes = {str(key): "rex" if key == 3 else mesh for key, mesh in spec.class_to_mesh.items()}
    sizes = {**{mesh: size for mesh, size in spec.mesh_sizes.items() if mesh != "dog_7466"}, "rex": 500}
    adopted = as_trained(spec, {"class_to_mesh": classes, "mesh_sizes": sizes})
    assert class_and_mesh(adopted, "dog") == (3, "rex")
    assert class_and_mesh(adopted, "cow") == (1, "cow_5002")


@pytest.mark.slow
def test_the_husky_is_adopted_from_twelve_landmarks_and_works(tmp_path):
    """The embedded network, of whose mesh only spectral functions are used, matches renders of a mesh it never saw."""
    mesh = shared("data/rigs/husky.glb")
    out = tmp_path / "husky.pth"
    said: list[str] = []
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    photographs = (str(broken), str(shared("data/photos/dog.jpg")))
    config = AdoptConfig(landmarks=str(HUSKY), renders=8, size=96, images=photographs, out=str(out), name="rex")
    result = run(str(mesh), config, said.append)
    assert list(result[2])[0] == "12 landmarks" and len(result[2]) == 3
    assert len(said) == 4 and any("left out" in line and "broken.jpg" in line for line in said)
    predictor = load_predictor("", out, category="dog")
    body = load_template("rex")
    assert predictor.template_hash == body.content_hash == load_template(mesh).content_hash
    embedded, kind = load_predictor("", "", category="dog"), predictor.class_of("dog")
    others = set(embedded.spec.mesh_sizes) - {embedded.mesh_of[kind]}
    assert set(predictor.spec.mesh_sizes) == others | {predictor.mesh_of[kind]}  # its own mesh goes, all else stays
    vertices = predictor.vertex_embeddings(kind)
    assert vertices.shape == (962, 16) and np.allclose(np.linalg.norm(vertices, axis=1), 1, atol=1e-3)
    assert CliRunner().invoke(template, ["adopt", str(mesh), "--name", "rex", "--landmarks", str(HUSKY)]).exit_code == 2


@pytest.mark.slow
def test_a_folder_of_meshes_is_adopted_into_one_file_that_extract_takes(tmp_path, monkeypatch):
    """Two meshes named after categories, each with its landmarks; the templates are found by the weights alone."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "meshes"
    folder.mkdir()
    for kind in ("cow", "dog"):
        body = load_template(kind)
        replace(body, vertices=body.vertices * [1.0, 1.1, 0.9]).save(folder / f"{kind}.npz")
        ids = np.linspace(0, body.num_vertices - 1, 12).astype(int)
        (folder / f"{kind}.csv").write_text("vertex,cse_vertex\n" + "".join(f"{one},{one}\n" for one in ids))
    (folder / "notes.txt").write_text("not a mesh")
    out = tmp_path / "both.pth"
    result = CliRunner().invoke(
        template, ["adopt", str(folder), "--renders", "0", "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert f"extract --category cow,dog --weights {out}" in result.output
    plans = make_plans(ExtractConfig(category="cow,dog", weights=str(out), out=str(tmp_path / "run"), overlays=0))
    assert [plan.template.name for plan in plans] == ["meshes-cow", "meshes-dog"]
    cow = load_predictor("", out, category="cow")
    for one in (cow, cow.of_category("dog")):
        assert one.template_hash in {load_template(f"meshes-{kind}").content_hash for kind in ("cow", "dog")}
    assert [one.images.inputs for one in extract_all(plans)] == [4, 4]
    again = CliRunner().invoke(template, ["adopt", str(folder), "--renders", "0", "--out", str(out)])
    assert again.exit_code == 2 and "a template of that name exists" in again.output


def test_a_folder_without_meshes_of_categories(tmp_path):
    (tmp_path / "unicorn.obj").write_text("")
    result = CliRunner().invoke(template, ["adopt", str(tmp_path)])
    assert result.exit_code == 12 and "no mesh of a category in this folder" in result.output


def test_without_landmarks_and_renders_there_is_nothing_to_go_by():
    result = CliRunner().invoke(template, ["adopt", "dog", "--renders", "0"])
    assert result.exit_code == 2 and "nothing says where the embeddings belong" in result.output
