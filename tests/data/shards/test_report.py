"""The report is one page that parses, needs no network, and shows what is there."""

import json
import socket
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import InputCorrupt, NothingToDo
from dp3d_data.geometry import Template
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.shards import instance_batch
from dp3d_data.shards.schema import PER_VERTEX
from dp3d_model.export.gallery import square_in
from pipelines.cli.data import main
from pipelines.report import page, sections
from pipelines.report.page import safe_json, shown_file
from pipelines.report.sections import instance_crop
from pipelines.report.writer import write_report
from tests.data.hostile import png_header
from tests.data.shards.samples import grid_template, row, run, two_runs

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects addresses, headings and text, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.stack, self.ids, self.text = [], [], set(), ""
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[name] for name in ("src", "href", "data", "action", "poster") if name in values]
        self.ids |= {values["id"]} if "id" in values else set()
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with photographs, an overlay, a hostile file name, shards and a model's pictures."""
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    root = tmp_path / "dog"
    two_runs(root)
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(photo)
    hostile = {"instance_id": "<script>alert(1)</script>", "image_path": str(photo)}
    run(root / "extract2", [row(i) | {"image_path": str(photo)} for i in range(3)] + [row(9) | hostile])
    (root / "extract2" / "overlays").mkdir()
    Image.new("RGB", (64, 48), "red").save(root / "extract2" / "overlays" / "a&b.jpg")
    (root / "model").mkdir()
    Image.new("RGB", (64, 48), "blue").save(root / "model" / "parts.png")
    (root / "model" / "parts-broken.png").write_bytes(b"no picture")
    (root / "model" / "evaluation.md").write_text("# Scores\n\n| | rigid |\n| --- | --- |\n| MPJPE | 0.0660 |\n")
    (root / "model" / "other.json").write_text(json.dumps({"loss": {"arap": 0.25}, "curve": [1, 2]}))
    return root


@pytest.mark.slow
def test_the_page_stands_alone_and_shows_what_is_there(workspace):
    runs = ["--input", str(workspace / "extract2"), "--input", str(workspace / "synth")]
    assert (
        CliRunner()
        .invoke(main, ["build-shards", *runs, "--min-visible-vertices", "80"], catch_exceptions=False)
        .exit_code
        == 0
    )
    result = CliRunner().invoke(main, ["report", *runs], catch_exceptions=False)
    assert result.exit_code == 0 and "report.html" in result.output
    text = (workspace / "report.html").read_text()
    parsed = Page(text)
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses)
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= parsed.ids
    assert "http://" not in text and "https://" not in text and "url(" not in text
    assert text.count("<script") == text.count("</script") == 3, "two of data and the program, nothing of a file name"
    for words in (
        "Overview",
        "Photographs",
        "Instances",
        "Learned model",
        "Distributions",
        "Azimuth",
        "Worst",
        "Left out",
        "Origin",
        "0.0660",
        "a&b",
        "arap",
        "<script>alert(1)</script>",
    ):
        assert words in parsed.text
    assert sum(address.startswith("data:") for address in parsed.addresses) >= 1 + 4 + 1 + 4


@pytest.mark.slow
def test_same_workspace_same_bytes(workspace):
    for name in ("a.html", "b.html"):
        assert CliRunner().invoke(main, ["report", "--out", str(workspace / name)]).exit_code == 0
    assert (workspace / "a.html").read_bytes() == (workspace / "b.html").read_bytes()


@pytest.mark.slow
def test_shards_alone_can_be_reported(workspace, tmp_path):
    CliRunner().invoke(main, ["build-shards", "--min-visible-vertices", "80"])
    write_report(tmp_path / "r.html", "dog", [], workspace / "shards")
    text = Page((tmp_path / "r.html").read_text()).text
    assert all(words in text for words in ("Shards", "Train split", "Worst", "Left out", "not among the folders"))


def test_an_empty_workspace_has_nothing_to_report(tmp_path):
    with pytest.raises(NothingToDo, match="nothing to report"):
        write_report(tmp_path / "r.html", "dog", [])


def test_data_for_the_viewer_cannot_close_its_script():
    assert "<" not in safe_json({"a": "</script><!--"}) and json.loads(safe_json({"a": "</b>&"})) == {"a": "</b>&"}


def test_markdown_tables_become_tables():
    html = page.markdown("# T\nwords <b>\n\n| a | b |\n|---|---|\n| 1 | -2 |\n")
    assert "<h3>T</h3>" in html and "&lt;b&gt;" in html and "<td>-2</td>" in html and html.count("<tr>") == 2


def test_colours_are_smooth_and_tell_the_ends_apart():
    template = grid_template()
    colours = colour_by_vertex(template).astype(int)
    edges = np.concatenate([template.faces[:, [0, 1]], template.faces[:, [1, 2]]])
    assert np.abs(colours[edges[:, 0]] - colours[edges[:, 1]]).max() < 128
    corners = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, -0.2, 0], [0, 0.2, 0.3]])
    ends = colour_by_vertex(Template("corners", corners, template.faces[:1])).astype(int)
    gaps = [np.abs(ends[a] - ends[b]).sum() for a in range(4) for b in range(a)]
    assert min(gaps) > 60


def test_only_pictures_of_formats_that_are_read_and_of_sane_size_are_shown(tmp_path):
    Image.new("RGB", (9, 3)).save(tmp_path / "ok.png")
    address, wide = shown_file(tmp_path / "ok.png")
    assert wide and address.startswith("data:image/png;base64,")
    (tmp_path / "x.png").write_bytes(b"x")
    (tmp_path / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    (tmp_path / "bomb.gif").write_bytes(png_header(60_000, 60_000))
    for name in ("x.png", "drawing.png", "bomb.gif"):
        with pytest.raises(InputCorrupt, match="not an image|too many pixels"):
            shown_file(tmp_path / name)


def test_no_address_of_a_table_is_opened(tmp_path):
    """Neither for a crop of the report nor for a picture of predict and view."""
    colours = colour_by_vertex(grid_template())
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}/a.png"
        for address in (
            f"http://{place}",
            f"filecache::http://{place}",
            f"ftp://{place}",
            "data:image/png;base64,AAAA",
            "a\0.png",
            "",
        ):
            assert local_pixels(address) is None
            assert instance_crop(local_pixels(address), row(0) | {"image_path": address}, colours).size == (300, 300)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_turned_photograph_is_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves = np.repeat([[[255, 0, 0], [0, 0, 255]]], 2, axis=0).astype(np.uint8)
    Image.fromarray(halves).resize((8, 4), 0).save(tmp_path / "a.png", exif=exif)
    shown = np.asarray(square_in(local_pixels(str(tmp_path / "a.png")), (0.0, 0.0, 4.0), 4))
    assert shown[0, 0].tolist() == [255, 0, 0] and shown[0, 3].tolist() == [255, 0, 0], "the left half is the upper one"


def test_a_sheet_runs_from_the_best_score_to_the_worst_of_those_with_a_photograph(monkeypatch):
    seen = []
    monkeypatch.setattr(sections, "_figures", lambda facts, words, template: seen.append(list(words)) or [])
    scores, pictured = np.array([0.2, 0.9, 0.95, 0.5, 0.3]), np.array([True, True, False, True, True])
    columns = {"score": scores, "pictured": pictured, "visible_vertices": np.full(5, 9)}
    facts = sections.Facts("dogs", True, [], list("abcde"), columns, np.zeros(0, dtype=int))
    for limit in (2, 9):
        sections.contact_sheet(facts, grid_template(), limit)
    assert seen == [[1, 0], [1, 3, 4, 0]]


def test_cameras_are_those_of_their_instances_in_every_part_of_a_table(monkeypatch):
    """However many are fitted at a time; of three vertices none is fitted."""
    few = {name: row(2)[name][:3] for name in PER_VERTEX if row(2)[name] is not None}
    table = pa.Table.from_batches([instance_batch([row(0), row(1), row(2) | few, row(3), row(4)])])
    whole = sections.measured(table, grid_template())
    monkeypatch.setattr(sections, "_CHUNK", 2)
    for name, values in sections.measured(table, grid_template()).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-4, atol=1e-5)
    assert np.isnan(whole["residual"]).tolist() == [False, False, True, False, False]
    assert len(set(whole["azimuth"][[0, 1, 3, 4]].round(3))) == 4
