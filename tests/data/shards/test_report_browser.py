"""The report in a real browser, from disk: nothing complains, nothing is fetched, the template turns."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.shards import RunWriter
from dp3d_data.shards.files import read_manifest
from pipelines.cli.data import main
from pipelines.report import page, writer
from pipelines.report.page import html
from pipelines.report.writer import write_report
from tests.browser import Browser
from tests.data.shards.samples import grid_template, row, run, two_runs

CANVAS = "document.querySelector('.viewer canvas')"
BOX = (
    f"(() => {{ const c = {CANVAS}; c.scrollIntoView({{block: 'center'}});"
    " const r = c.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })()"
)
COLOURS = (
    f"(() => {{ const c = {CANVAS}; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen"
    " = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return"
    " seen.size })()"
)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The report of a small workspace, open in a browser."""
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    runs = [word for folder in two_runs(tmp_path / "dog") for word in ("--input", str(folder))]
    assert (
        CliRunner()
        .invoke(main, ["build-shards", *runs, "--min-visible-vertices", "80"], catch_exceptions=False)
        .exit_code
        == 0
    )
    assert CliRunner().invoke(main, ["report"], catch_exceptions=False).exit_code == 0
    with Browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "dog" / "report.html")
        yield browser


def pixels(browser):
    browser.settle()
    return browser.run(f"{CANVAS}.toDataURL()")


@pytest.mark.slow
def test_the_page_is_quiet_and_its_template_turns(opened):
    x, y, width, height = opened.run(BOX)
    middle = (x + width / 2, y + height / 2)
    seen = [pixels(opened)]
    assert opened.run(COLOURS) > 100, "the template is drawn in the colours of its vertices"
    opened.drag(*middle, 120, 30)
    seen.append(pixels(opened))
    opened.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft")
    seen.append(pixels(opened))
    for button in ('[data-view="0 90"]', "button[data-layer]:nth-of-type(2)"):
        opened.run(f"document.querySelector('{button}').click()")
        seen.append(pixels(opened))
    assert len(set(seen)) == len(seen), "dragging, keys, views and layers each change the picture"
    opened.hover(*middle)
    assert opened.run("document.querySelector('.viewer output').textContent").startswith("vertex ")
    assert not opened.run("document.querySelector('.viewer .scale').hidden")
    opened.run(f"{CANVAS}.dispatchEvent(new MouseEvent('dblclick'))")
    opened.run("document.querySelector('[data-layer]').click()")
    assert pixels(opened) == seen[0], "a double click resets the view"
    assert opened.complaints == []
    assert all(address.startswith(("file:", "data:")) for address in opened.requests)


@pytest.mark.slow
def test_nothing_is_wider_than_a_telephone(opened):
    opened.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=2, mobile=True)
    opened.settle()
    assert opened.run("document.documentElement.scrollWidth") <= 400
    assert opened.complaints == []


# Each would run or fetch something as a tag, in an attribute, in a script, in a style or in a title.
HOSTILE = (
    "<script>window.owned = 1</script>",
    "</script></title></style><img src=x onerror='window.owned = 1'>",
    '" onmouseover=window.owned=1 autofocus onfocus=window.owned=1 x="',
    "' style='background: url(http://127.0.0.1:9/x)' '",
    "{0}{name}%s<svg/onload=window.owned=1>&lt;",
)


def hostile(place: int) -> str:
    return HOSTILE[place % len(HOSTILE)]


def hostile_workspace(root):
    """Every name that can be chosen is hostile; returns what its report is made of."""
    sheet = replace(grid_template(), name=hostile(0))
    photo = root / "photo.png"
    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(photo)
    made = RunWriter(root / "run", kind=hostile(1), fingerprint=hostile(2))
    rows = [row(i, instance_id=hostile(i) + str(i), image_path=str(photo), image_id=hostile(i)) for i in range(6)]
    failures = [{"image_id": word, "path": word, "stage": word, "error": word, "message": word} for word in HOSTILE]
    rejects = [{"image_id": word, "instance_id": word, "reason": word, "value": 1.0} for word in HOSTILE]
    made.commit(0, rows, failures, rejects, inputs=11)
    made.finish(template=sheet, category=hostile(3), config={"model": hostile(4)})
    overlays, extra = root / "run" / "overlays", root / "<img src=x onerror=owned=1>"
    for folder in (overlays, extra):
        folder.mkdir()
        Image.new("RGB", (9, 9)).save(folder / '" onload=window.owned=1 <b>.png')
    (extra / "a.md").write_text(
        "# <script>window.owned = 1</script>\n\n" + "\n\n".join(HOSTILE) + "\n\n|" + "|".join(HOSTILE) + "|\n"
    )
    (extra / "b.json").write_text(json.dumps({word: word for word in HOSTILE}))
    return hostile(0), [root / "run"], root / "shards", [extra]


def hostile_manifest(folder):
    """The manifest of a build whose splits, reasons, settings and files have hostile names."""
    found = read_manifest(folder)
    found["splits"] = {f"{hostile(i)}{name}": split for i, (name, split) in enumerate(found["splits"].items())}
    found["account"]["rejected"] = dict.fromkeys(HOSTILE, 1)
    found["settings"], found["recipe"] = {word: {word: word} for word in HOSTILE}, hostile(1)
    found["template"] |= {"name": hostile(2), "unit": hostile(3)}
    for i, entry in enumerate(found["shards"]):
        entry["split"] = f"{hostile(i)}split"
    return found


def harmless(browser, path):
    """Nothing of a page ran, was fetched or became an element of its own."""
    browser.open(path)
    for kind in ("mouseover", "focus", "mouseenter"):
        browser.run(f"document.querySelectorAll('*').forEach(one => one.dispatchEvent(new Event('{kind}')))")
    browser.settle()
    assert browser.run("typeof window.owned") == "undefined"
    assert browser.run("document.querySelectorAll('[onerror], [onload], [onfocus], [onmouseover]').length") == 0
    assert all(address.startswith(("file:", "data:")) for address in browser.requests)
    return browser.run("document.body.textContent")


@pytest.mark.slow
def test_hostile_names_are_text_wherever_they_stand(tmp_path, monkeypatch):
    run(tmp_path / "extract", [row(index) for index in range(40)])
    words = ["build-shards", "--input", str(tmp_path / "extract"), "--out", str(tmp_path / "shards")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    monkeypatch.setattr(writer, "read_manifest", hostile_manifest)
    write_report(tmp_path / "r.html", *hostile_workspace(tmp_path))
    with Browser(tmp_path / "profile") as browser:
        text = harmless(browser, tmp_path / "r.html")
        assert all(word in text for word in HOSTILE)
        assert browser.complaints == [], "the page's own script and styles are allowed"


def asked_of(server):
    """What was asked of a server; a browser may connect ahead of the page and ask nothing."""
    server.settimeout(1)
    try:
        connection, _ = server.accept()
        connection.settimeout(1)
        return connection.recv(100)
    except TimeoutError:
        return b""


@pytest.mark.slow
def test_the_policy_stops_what_escaping_would_miss(tmp_path):
    """A page into which a tag got all the same: its script does not run, its picture and its frame are not fetched."""
    with socket.create_server(("127.0.0.1", 0)) as server, Browser(tmp_path / "profile") as browser:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        tags = "<script>window.owned = 1</script><img src='{0}' onerror='window.owned = 1'><iframe src='{0}'></iframe>"
        text = page.page("t", "s", [("Section", html(tags, address))], "f", "document.title = 'own script';")
        (tmp_path / "p.html").write_bytes(text)
        browser.open(tmp_path / "p.html")
        assert browser.run("document.title") == "own script" and browser.run("typeof window.owned") == "undefined"
        assert any("Content Security Policy" in complaint for complaint in browser.complaints)
        assert asked_of(server) == b""
