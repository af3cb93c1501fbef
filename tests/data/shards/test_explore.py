"""The page to look through a dataset: what it finds, sorts and saves as numbers, what it refuses, and clicks."""

import http.client
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.errors import NothingToDo, UsageError
from dp3d_data.files import read_json
from dp3d_data.shards.likeness import distances
from dp3d_data.shards.schema import PER_VERTEX
from pipelines.cli.data import main
from pipelines.explore import Catalogue, Explorer, unit_and_text, views
from pipelines.local_page import local_page
from tests.browser import Browser
from tests.data.shards.samples import row, run
from tests.data.shards.test_likeness import moved
from tests.data.shards.test_report_browser import hostile

COUNT = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 90: two animals to a photograph, a known score, the last ten near-duplicates of the first ten."""
    root = tmp_path_factory.mktemp("explored")
    Image.fromarray(np.full((256, 256, 3), (200, 40, 40), np.uint8)).save(root / "photo.png")
    rows = [row(i, score=np.float32(i / 100), image_path=str(root / "photo.png")) for i in range(COUNT - 10)]
    rows[3] |= {"image_path": str(root / "gone.png"), "confidence": None, "cycle": None}
    rows[5] |= {"source_dataset": "of mine", "cycle": np.full(len(rows[5]["vertex_ids"]), 0.5, np.float32)}
    rows[7] |= {"confidence": np.linspace(0, 1, len(rows[7]["vertex_ids"]), dtype=np.float32)}
    again = [moved(row(i), 1.2, 0.1, noise=0.2, seed=i, instance_id=f"again{i}") for i in range(10)]
    run(root / "run", rows + again)
    return root


@pytest.fixture(scope="module")
def catalogue(folder):
    return Catalogue.read(folder / "run")


def found(catalogue, **query):
    return catalogue.rows(query)[0].tolist()


def test_filters_find_what_the_table_says(catalogue):
    assert found(catalogue) == list(range(COUNT))
    assert found(catalogue, text="AGAIN3") == [83]
    assert found(catalogue, text="image4") == [8, 9, 80 + 8, 80 + 9]
    assert found(catalogue, kinds={"source_dataset": ["of mine"]}) == [5]
    assert found(catalogue, kinds={"left_out": ["kept"], "view": []}) == []
    assert found(catalogue, numbers={"cycle": [0.2, None]}) == [5], "an unknown value is in no range"
    assert found(catalogue, numbers={"score": [0.095, 0.125]}) == [10, 11, 12]
    widest = catalogue.numbers["image_width"].max()
    assert len(found(catalogue, numbers={"image_width": [widest, widest]})) == COUNT, "the ends belong to a range"
    assert found(catalogue, numbers={"confidence": [0, None]}) == [7], "no confidence is not one of 0"
    assert catalogue.numbers["confidence"][7] == pytest.approx(0.5)
    assert found(catalogue, only=[7, 3]) == [3, 7]
    assert found(catalogue, text="no such thing") == []
    with pytest.raises(KeyError):
        found(catalogue, numbers={"no column": [1, 2]})


def test_sorting_puts_unknown_values_last(catalogue):
    order = found(catalogue, sort="score", down=True)
    assert order[:11] == [*range(80, 90), 79] and found(catalogue, sort="score")[:3] == [0, 1, 2]
    assert found(catalogue, sort="cycle")[0] == 5 and found(catalogue, sort="cycle", down=True)[0] == 5
    names = [catalogue.texts["instance_id"][i].as_py() for i in found(catalogue, sort="instance_id")]
    assert names == sorted(names)


def test_likeness_orders_and_near_duplicates_stand_together(catalogue):
    rows, distance = catalogue.rows({"like": 4})
    assert rows[:2].tolist() == [4, 84] and (np.diff(distance[rows]) >= 0).all()
    assert catalogue.similar(4, 3)[0][0] == 84
    assert np.allclose(distance, distances(catalogue.shapes[4], catalogue.shapes))
    pairs = [one for i in range(10) for one in (i, 80 + i)]
    assert found(catalogue, near=0.1) == pairs
    assert found(catalogue, near=0.1, repeats=True) == list(range(80, 90))
    assert found(catalogue, near=0.0001) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"box_x0": np.nan},
        {"box_x1": 1e30},
        {"score": np.inf},
        {"keypoints_x": np.full(len(row(0)["keypoints_x"]), np.nan, np.float32)},
        {name: row(0)[name][:0] for name in PER_VERTEX[:-2]},
    ],
)
def test_rows_that_are_odd_are_shown_with_the_others(tmp_path, changes):
    run(tmp_path / "run", [row(0) | {"confidence": None, "cycle": None} | changes, row(1)])
    explorer = Explorer(Catalogue.read(tmp_path / "run"), tmp_path)
    for query in ({}, {"near": 0.1}, {"like": 0}, {"sort": "score", "down": True}):
        json.dumps(explorer.rows(query), allow_nan=False)
    for place in (0, 1):
        json.dumps(explorer.one({"row": place}), allow_nan=False)
        assert explorer.picture({"row": place, "size": "small", "dots": "1"})[0]


def test_an_empty_run_is_nothing_to_look_at(tmp_path):
    run(tmp_path / "run", [])
    with pytest.raises(NothingToDo, match="no instances to look at"):
        Catalogue.read(tmp_path / "run")


def test_views_have_names():
    azimuth, elevation = np.array([0, 90, -90, 180, 10, 10, np.nan]), np.array([0, 0, 0, 0, 70, -70, np.nan])
    assert views(azimuth, elevation).tolist() == ["front", "left", "right", "rear", "above", "below", "-"]


def test_pictures_show_the_photograph_or_the_keypoints_alone(catalogue):
    def pixels(number, dots):
        import io

        return np.asarray(Image.open(io.BytesIO(catalogue.picture(number, 100, dots))).convert("RGB")).astype(int)

    plain, dotted, lost = pixels(0, False), pixels(0, True), pixels(3, False)
    assert np.abs(plain[50, 50] - (200, 40, 40)).max() < 12
    assert (np.abs(plain - dotted).max(axis=2) > 40).sum() > 100
    assert (np.abs(lost - 245).max(axis=2) > 40).sum() > 100, "keypoints are drawn where the photograph is missing"


def test_a_list_that_is_saved_is_one_that_a_build_takes(catalogue, tmp_path):
    explorer = Explorer(catalogue, tmp_path / "lists")
    for split, kept in (("val", 3), ("out", COUNT - 3)):
        saved = explorer.save({"rows": [2, 4, 4, 83], "split": split, "name": f"{split}.txt"})
        assert saved["count"] == "3"
        words = saved["command"].split()
        assert "kept" not in words, "a run has no splits to keep"
        words[words.index("--out") + 1] = str(tmp_path / split)
        result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        account = read_json(tmp_path / split / "manifest.json", "manifest", seal="manifest_sha256")["account"]
        assert account["kept"] + account["rejected"].get("duplicate", 0) == kept


def test_lists_that_are_there_stay(catalogue, tmp_path):
    explorer = Explorer(catalogue, tmp_path)
    paths = [explorer.save({"rows": [i], "split": "val", "name": "a.txt"})["path"] for i in range(3)]
    assert [tmp_path / name for name in ("a.txt", "a-2.txt", "a-3.txt")] == [type(tmp_path)(path) for path in paths]
    assert (tmp_path / "a.txt").read_text().splitlines()[1] == "extract0,val"


def test_a_list_keeps_the_splits_of_shards(folder, tmp_path):
    words = ["build-shards", "--input", str(folder / "run"), "--out", str(tmp_path / "shards")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    catalogue = Catalogue.read(tmp_path / "shards")
    explorer = Explorer(catalogue, tmp_path)
    explorer.save({"rows": range(len(catalogue)), "split": "as it is", "name": "all.txt"})
    again = [
        "split",
        str(tmp_path / "shards"),
        "--out",
        str(tmp_path / "s2"),
        "--split-list",
        str(tmp_path / "all.txt"),
    ]
    assert CliRunner().invoke(main, again, catch_exceptions=False).exit_code == 0
    sizes = [
        {
            name: one["instances"]
            for name, one in read_json(at / "manifest.json", "m", seal="manifest_sha256")["splits"].items()
        }
        for at in (tmp_path / "shards", tmp_path / "s2")
    ]
    assert sizes[0] == sizes[1] and set(sizes[0]) == {"train", "val"}


@pytest.mark.parametrize(
    "wanted",
    [
        {"rows": [], "split": "val", "name": "a.txt"},
        {"rows": [1], "split": "as it is", "name": "a.txt"},
        {"rows": [1], "split": "val", "name": "../a.txt"},
        {"rows": [1], "split": "val", "name": ".a"},
        {"rows": [-1, 1], "split": "val", "name": "a.txt"},
        {"rows": [1, 10**6], "split": "val", "name": "a.txt"},
    ],
)
def test_what_cannot_be_saved_is_refused(catalogue, tmp_path, wanted):
    with pytest.raises(UsageError):
        Explorer(catalogue, tmp_path / "lists").save(wanted)
    assert not (tmp_path / "lists").exists()


def test_names_that_begin_a_comment_or_hold_a_line_are_minded(tmp_path):
    rows = [row(i, instance_id=name, image_id=f"i{i}", image_hash=None) for i, name in enumerate(["#1", "a,b", "c\nd"])]
    run(tmp_path / "run", [one | {"image_path": None} for one in rows])
    explorer = Explorer(Catalogue.read(tmp_path / "run"), tmp_path)
    explorer.save({"rows": [0, 1], "split": "train", "name": "a.txt"})
    words = ["build-shards", "--input", str(tmp_path / "run"), "--out", str(tmp_path / "s"), "--split-ratio", "1"]
    result = CliRunner().invoke(main, [*words, "--split-list", str(tmp_path / "a.txt")])
    assert result.exit_code == 0 and "kept 2" in result.output, result.output
    with pytest.raises(UsageError, match="a name a line"):
        explorer.save({"rows": [2], "split": "train", "name": "a.txt"})


@contextmanager
def served(explorer):
    server, address = local_page(explorer.gets, explorer.posts)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def reply(address, path, host=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=20)
    headers = {"Host": host} if host else {}
    connection.request("POST" if body is not None else "GET", path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_server_answers_its_own_page_alone(catalogue, tmp_path):
    with served(Explorer(catalogue, tmp_path)) as address:
        home = urlsplit(address).path
        assert reply(address, home)[0] == 200
        assert reply(address, "/")[0] == reply(address, "/wrong/")[0] == reply(address, f"{home}nothing")[0] == 404
        assert reply(address, home, host="evil.example")[0] == 404, "a name that was bound again"
        assert reply(address, home, host="localhost:1234")[0] == 200, "a tunnel"
        assert reply(address, f"{home}rows")[0] == 404, "posted alone"
        for body in (
            "[]",
            "{",
            '{"numbers": {"score": 3}}',
            '{"sort": "nothing"}',
            '{"start": "x"}',
            '{"near": NaN}',
            '{"near": -1}',
        ):
            status, text = reply(address, f"{home}rows", body=body)
            assert status == 400 and "error" in json.loads(text), body
        assert reply(address, f"{home}picture?row=9999&size=small")[0] == 400
        assert reply(address, f"{home}picture?row=-1&size=small")[0] == 400
        assert reply(address, f"{home}picture?row=1&size=small")[1][:2] == b"\xff\xd8"


@pytest.mark.slow
def test_clicks_find_choose_and_save(catalogue, tmp_path):
    with served(Explorer(catalogue, tmp_path)) as address, Browser(tmp_path / "profile") as browser:
        browser.visit(address)

        wait = browser.wait

        def click(place):
            browser.run(f"document.querySelector({place!r}).click()")

        wait("document.querySelector('.count').textContent === '90 of 90'")
        wait("document.querySelector('.cell img').naturalWidth > 0")
        assert browser.run("document.querySelectorAll('.cell').length") == 60
        click("[data-page='1']")
        wait("document.querySelector('output.page').textContent === '61 to 90'")
        browser.run(
            "(s => { s.value = 'score'; s.dispatchEvent(new Event('change')) })(document.querySelector('.sort'))"
        )
        click(".down")
        wait("document.querySelector('.cell b') && document.querySelector('.cell b').textContent === '0.9'")
        click(".near [type=checkbox]")
        wait("document.querySelector('.count').textContent === '20 of 90'")
        click("[data-choose=repeats]")
        wait("document.querySelector('.chosen').textContent === '10 chosen'")
        click(".cell .open")
        wait("document.querySelector('dialog').open && document.querySelectorAll('dialog .similar .cell').length > 5")
        assert "again" in browser.run("document.querySelector('dialog table').textContent")
        click("dialog .close")
        browser.run(
            "(s => { s.value = 'out'; s.dispatchEvent(new Event('change')) })(document.querySelector('.split'))"
        )
        click(".save")
        wait("document.querySelector('.told').textContent.includes('--split-list')")
        assert (tmp_path / "leave-out.txt").read_text().splitlines()[1:] == [f"again{i},out" for i in range(10)]
        assert browser.complaints == []
        assert all(address.startswith((address, "data:")) for address in browser.requests)


def test_hostile_names_are_text(tmp_path):
    names = [hostile(i) + str(i) for i in range(5)]
    rows = [row(i, instance_id=name, category=name, source_dataset=name) for i, name in enumerate(names)]
    run(tmp_path / "run", rows)
    explorer = Explorer(Catalogue.read(tmp_path / "run"), tmp_path)
    with served(explorer) as address, Browser(tmp_path / "profile") as browser:
        browser.visit(address)
        browser.wait("document.querySelectorAll('.cell').length === 5")
        browser.run("document.querySelector('.cell .open').click()")
        browser.wait("document.querySelector('dialog').open")
        text = browser.run("document.body.textContent")
        assert all(name in text for name in names)
        assert browser.run("typeof window.owned") == "undefined" and browser.complaints == []


def test_the_command_refuses_what_is_no_folder_and_a_port_that_is_taken(tmp_path, folder):
    assert CliRunner().invoke(main, ["explore", str(tmp_path / "none")]).exit_code == 3
    with served(Explorer(Catalogue.read(folder / "run"), tmp_path)) as address:
        port = str(urlsplit(address).port)
        result = CliRunner().invoke(main, ["explore", str(folder / "run"), "--port", port, "--no-browser"])
        assert result.exit_code == 19 and "--port 0" in result.output


def test_columns_say_what_they_say_of_instances():
    assert unit_and_text("instance_id")[1] == "Unique name of the instance."
