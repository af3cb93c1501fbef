"""Landmarks from clicks and from named keypoints: names that mean one, upright pixels, a csv that adopt reads."""

import csv
import json
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from dp3d_data.geometry import load_template
from dp3d_data.matching.landmarks import Landmark, name_key, read_landmarks, read_named_vertices
from pipelines.adopt import _agreed, _cse_vertices
from pipelines.cli.data import main
from pipelines.landmarks import LandmarkPage, table_for, write_marks
from pipelines.settings import AdoptConfig
from tests.browser import Browser
from tests.data.shards.test_explore import reply, served
from tests.shared import shared
from tests.synthetic_predictor import KnownObject, SyntheticPredictor, image_key

KEYPOINTS = ["L_Eye", "R_Eye", "Nose", "Root of tail", "L_Elbow", "L_F_Paw", "L_Knee", "L_B_Paw", "Neck"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left_front_paw", "Left front leg: paw"),
        ("L_F_Paw", "Left front leg: paw"),
        ("R_B_Paw", "Right rear leg: paw"),
        ("right_back_paw", "Right rear leg: paw"),
        ("right hind foot", "Right rear leg: paw"),
        ("tail_base", "Tail start"),
        ("TailBase", "Tail start"),
        ("tailbase", "Tail start"),
        ("Root of tail", "Tail start"),
        ("tail_tip", "Tail end"),
        ("L_EarBase", "Base of left ear"),
        ("left_ear_tip", "Left ear tip"),
        ("L_Eye", "Left eye"),
        ("NOSE", "Nose"),
        ("L_Elbow", "Left front leg: top"),
        ("L_F_Elbow", "Left front leg: top"),
        ("L_B_Elbow", "Left rear leg: top"),
        ("R_Knee", "Right rear leg: top"),
        ("L_F_Knee", "Left front leg: middle joint"),
        ("L_B_Knee", "Left rear leg: middle joint"),
        ("left hock", "Left rear leg: middle joint"),
    ],
)
def test_names_that_mean_one(one, other):
    assert name_key(one) == name_key(other)


def test_names_of_the_dog_mean_different_points():
    table = table_for(None, load_template("dog"))
    assert len(table) == 24 == len({name_key(name) for name in table})


def test_the_definitions_of_stanford_extra_name_what_animal_pose_does():
    rows = csv.DictReader(shared("data/stanford_extra/keypoint_definitions.csv").open(encoding="utf-8-sig"))
    pairs = [(row["Name"], row["(name in animal pose)"]) for row in rows if row["(name in animal pose)"]]
    assert len(pairs) == 20 and [pair for pair in pairs if name_key(pair[0]) != name_key(pair[1])] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("name,vertex\nnose,10\n", "0..9"), ("vertex\n1\n", "name"), ("name,vertex\n", "without rows"),
     ("name,vertex\ntail_base,1\nTail start,2\n", "second vertex"), ("name,vertex\n,2\n", "no name")],
)  # fmt: skip
def test_tables_that_are_none(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputCorrupt, match=f"(?s){words}"):
        read_named_vertices(tmp_path / "t.csv", 10)


def test_another_mesh_needs_a_table():
    with pytest.raises(UsageError, match="nothing says which vertex a name is"):
        table_for(None, load_template("cow"))


def ap10k(folder, turned=0):
    """Two photographs of two dogs and one, as AP-10K writes them; the first may be turned by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = turned
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.jpg", **({"exif": exif} if turned else {}))
    Image.fromarray(noise).save(folder / "b.jpg")

    def points(seen):
        return [value for i, shown in enumerate(seen) for value in (5 + 6 * i, 10 + 2 * i, shown)]

    notes = [points([2] * 4 + [0] * 5), points([2] * 8 + [1]), points([2, 2, 2, 1, 1, 1, 0, 0, 2])]
    content = {
        "images": [{"id": i, "file_name": f"{name}.jpg", "width": 80, "height": 60} for i, name in enumerate("ab")],
        "annotations": [
            {"id": i, "image_id": [0, 0, 1][i], "category_id": 8, "bbox": [1, 1, 70, 50], "keypoints": one}
            for i, one in enumerate(notes)
        ],
        "categories": [{"id": 8, "name": "dog", "keypoints": KEYPOINTS}],
    }
    (folder / "ap10k.json").write_text(json.dumps(content))
    return folder / "ap10k.json"


def landmarks(*words):
    return CliRunner().invoke(main, ["template", "landmarks", *map(str, words)], catch_exceptions=False)


def test_named_keypoints_become_landmarks(tmp_path):
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "dog.csv"
    result = landmarks("dog", "--from-keypoints", ap10k(tmp_path), "--out", out)
    assert result.exit_code == 0, result.output
    assert "not in the table: Neck" in result.output and "11 landmarks, 8 names in 2 photographs" in result.output
    marks = read_landmarks(out, 3123, 3123)
    dog = table_for(None, load_template("dog"))
    assert marks[0] == Landmark(2, dog["Left eye"], None, out.parent / ".." / "a.jpg", (5.0, 10.0), "Left eye")
    assert [mark.image.name for mark in marks] == ["a.jpg"] * 8 + ["b.jpg"] * 3, "what is hidden is left out"
    one = landmarks("dog", "--from-keypoints", tmp_path / "ap10k.json", "--out", out, "--set", "photographs=1")
    assert "8 landmarks, 8 names in 1 photographs" in one.output


def test_points_are_those_of_the_upright_photograph(tmp_path):
    result = landmarks("dog", "--from-keypoints", ap10k(tmp_path, turned=6), "--out", tmp_path / "dog.csv")
    assert result.exit_code == 0, result.output
    assert read_landmarks(tmp_path / "dog.csv", 3123, 3123)[0].point == (50.0, 5.0)


def test_a_photograph_that_exif_mirrors_has_no_left_and_right(tmp_path):
    result = landmarks("dog", "--from-keypoints", ap10k(tmp_path, turned=5), "--out", tmp_path / "dog.csv")
    assert "left out: " in result.output and "that EXIF mirrors" in result.output
    assert {mark.image.name for mark in read_landmarks(tmp_path / "dog.csv", 3123, 3123)} == {"b.jpg"}


def test_keypoints_without_names_or_in_no_table_are_told(tmp_path):
    path = ap10k(tmp_path)
    content = json.loads(path.read_text())
    (tmp_path / "t.csv").write_text("name,vertex\nhorn,1\n")
    words = ("cow", "--from-keypoints", path, "--out", tmp_path / "o.csv", "--table", tmp_path / "t.csv")
    result = landmarks(*words)
    assert result.exit_code == 2 and "the table has none of the keypoints" in result.output
    del content["categories"][0]["keypoints"]
    path.write_text(json.dumps(content))
    result = landmarks(*words)
    assert result.exit_code == 4 and "the keypoints have no names" in result.output


def test_stanford_extra_gives_landmarks(tmp_path):
    root = shared("data/stanford_extra")
    source = root / "StanfordExtra_sample.json"
    words = ("--from-keypoints", source, "--images", root / "images", "--out", tmp_path / "dog.csv")
    result = landmarks("dog", *words)
    assert result.exit_code == 0 and "in 6 photographs" in result.output
    marks = read_landmarks(tmp_path / "dog.csv", 3123, 3123)
    assert len(marks) > 80 and len({mark.vertex for mark in marks}) >= 20


def test_rows_of_one_vertex_agree_and_what_is_not_seen_is_left_out(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ids = np.full((20, 20), -1)
    ids[5:15, 5:15] = np.arange(100).reshape(10, 10)
    known = {image_key(np.ascontiguousarray(pixels[:, :, ::-1])): [KnownObject((5.0, 5.0, 15.0, 15.0), ids)]}
    predictor = SyntheticPredictor(known, 100, {"dog": 0})
    points = [(2, (7.5, 9.5)), (2, (7.5, 9.5)), (2, (14.5, 14.5)), (1, (5.5, 5.5)), (3, (1.0, 1.0))]
    marks = [Landmark(i + 2, vertex, None, tmp_path / "a.png", point) for i, (vertex, point) in enumerate(points)]
    told = []
    own, found = _cse_vertices(marks, predictor, 0, AdoptConfig(), told.append)
    assert own.tolist() == [1, 2] and found.tolist() == [0, 42]
    assert len(told) == 1 and "line 6" in told[0]
    with pytest.raises(InputCorrupt, match="the network finds nothing there"):
        _cse_vertices(marks[4:], predictor, 0, AdoptConfig(), told.append)


def test_the_one_most_like_the_others_is_taken():
    embeddings = np.array([[1, 0], [0.9, 0.1], [-1, 0]])
    assert _agreed([2, 0, 1], embeddings) in (0, 1) and _agreed([2], embeddings) == 2


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "photos, of mine"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(noise).save(folder / name)
    return LandmarkPage(
        "dog", load_template("dog"), [str(folder / name) for name in ("a.png", "b.png")], tmp_path / "d.csv"
    )


def test_what_is_saved_is_read_by_adopt_and_by_the_page(pages):
    wanted = [{"name": "a, nose ", "vertex": 5, "photograph": 1, "x": 0.5, "y": 0.25}]
    assert "template adopt dog --landmarks" in pages.save({"marks": wanted})["command"]
    [mark] = read_landmarks(pages.out, 10, 10)
    assert (mark.vertex, mark.point, mark.image.name) == (5, (200.0, 75.0), "b.png")
    again = LandmarkPage("dog", pages.template, [], pages.out)
    assert again.photographs == pages.photographs[1:], "those of the file are there though nobody names them"
    again = LandmarkPage("dog", pages.template, pages.photographs, pages.out, {"tail": 4})
    assert again.asked == [] and len(LandmarkPage("dog", pages.template, [], pages.out).asked) == 12
    assert again.marks().pop() == {"name": "tail", "vertex": 4, "point": None}
    assert again.marks()[:1] == [{"name": "a, nose", "vertex": 5, "point": {"photograph": 1, "x": 0.5, "y": 0.25}}]


@pytest.mark.parametrize(
    ("text", "error"),
    [("name,vertex,cse_vertex\nnose,1,2\n", UsageError), ("name,vertex\nnose,1\n", UsageError),
     ("vertex,image,x,y\n1,none.png,2,3\n", InputMissing), ("not,a\ntable\n", InputCorrupt)],
)  # fmt: skip
def test_a_file_that_the_page_would_lose_is_refused(pages, text, error):
    pages.out.write_text(text)
    with pytest.raises(error):
        LandmarkPage("dog", pages.template, pages.photographs, pages.out)


def test_landmarks_without_names_keep_their_points(pages):
    pages.out.write_text('vertex,image,x,y\n3,"photos, of mine/a.png",40,30\n')
    [mark] = LandmarkPage("dog", pages.template, [], pages.out).marks()
    assert mark == {"name": "vertex 3", "vertex": 3, "point": {"photograph": 0, "x": 0.1, "y": 0.1}}


@pytest.mark.parametrize(
    "changes", [{"name": " "}, {"vertex": 99999}, {"vertex": -1}, {"photograph": 2}, {"x": 1.5}, {"y": float("nan")}]
)
def test_what_is_no_landmark_is_refused(pages, changes):
    whole = {"name": "nose", "vertex": 5, "photograph": 1, "x": 0.5, "y": 0.25}
    with pytest.raises(UsageError):
        pages.save({"marks": [whole | changes]})
    assert not pages.out.exists()


def test_vertices_alone_make_a_table(pages):
    pages.photographs = []
    pages.save({"marks": [{"name": "nose", "vertex": 7}]})
    assert pages.out.read_text() == "name,vertex\nnose,7\n"
    assert read_named_vertices(pages.out, 10) == {"nose": 7}
    write_marks(pages.out, [Landmark(0, 7, None, pages.out.parent / "x.png", (1.0, 2.0), "nose")])
    assert read_named_vertices(pages.out, 10) == {"nose": 7}, "landmarks are a table too"


@pytest.mark.slow
def test_clicks_make_pairs(pages, tmp_path):
    with served(pages) as address, Browser(tmp_path / "profile", 1400, 900) as browser:
        browser.visit(address)
        browser.run("document.querySelector('.sheet img').decode()")
        assert reply(address, f"{urlsplit(address).path}photograph?number=7")[0] == 400

        def click(place, x, y):
            left, top, width, height = browser.run(
                f"(() => {{ const r = document.querySelector({place!r}).getBoundingClientRect();"
                " return [r.x, r.y, r.width, r.height] })()"
            )
            browser.drag(left + x * width, top + y * height, 0, 0)

        rows = "[...document.querySelectorAll('.landmarks tbody tr')].map(r => r.textContent)"
        click(".sheet img", 0.25, 0.5)
        assert "a.png" in browser.run(rows)[0]
        click("canvas.turn", 0.5, 0.5)
        click(".sheet img", 0.75, 0.5)
        current = "document.querySelector('tr[aria-current=true] .name').textContent"
        assert browser.run(current) == "Left ear tip", "the next one is asked for"
        click("canvas.turn", 0.01, 0.01)
        assert browser.run(current) == "Left ear tip", "beside the body is no vertex"
        browser.run("document.querySelector('[data-step=\"1\"]').click()")
        browser.run("document.querySelector('.save').click()")
        browser.wait("document.querySelector('.list .told').textContent.startsWith('1 landmarks written')")
        assert browser.complaints == []
    [mark] = read_landmarks(pages.out, 3123, 3123)
    assert np.allclose(mark.point, (100, 150), atol=2) and mark.image.name == "a.png"
    vertices = load_template("dog").vertices
    assert np.linalg.norm(vertices[mark.vertex, ::2] - (vertices[:, ::2].max(0) + vertices[:, ::2].min(0)) / 2) < 0.25
