"""The report in a real browser, from disk: nothing complains, nothing is fetched, the template turns."""

import pytest
from click.testing import CliRunner

from dp3d_data.cli import main
from tests.browser import Browser
from tests.data.shards.samples import two_runs

CANVAS = "document.querySelector('.viewer canvas')"
BOX = (
    f"(() => {{ const c = {CANVAS}; c.scrollIntoView({{block: 'center'}});"
    " const r = c.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })()"
)
COLOURS = (
    f"(() => {{ const c = {CANVAS}; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();"
    " for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return seen.size })()"
)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """The report of a small workspace, open in a browser."""
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    runs = [word for folder in two_runs(tmp_path / "dog") for word in ("--input", str(folder))]
    assert CliRunner().invoke(main, ["build-shards", *runs, "--min-visible-vertices", "80"], catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(main, ["report"], catch_exceptions=False).exit_code == 0
    with Browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "dog" / "report.html")
        yield browser


def pixels(browser):
    browser.settle()
    return browser.run(f"{CANVAS}.toDataURL()")


def test_the_page_is_quiet_and_its_template_turns(opened):
    x, y, width, height = opened.run(BOX)
    middle = (x + width / 2, y + height / 2)
    seen = [pixels(opened)]
    assert opened.run(COLOURS) > 100, "the template is drawn in the colours of its vertices"
    opened.drag(*middle, 120, 30)
    seen.append(pixels(opened))
    opened.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft")
    seen.append(pixels(opened))
    for button in ('[data-view="0 90"]', '[data-layer="1"]'):
        opened.run(f"document.querySelector('{button}').click()")
        seen.append(pixels(opened))
    assert len(set(seen)) == len(seen), "dragging, keys, views and layers each change the picture"
    opened.hover(*middle)
    assert opened.run("document.querySelector('.viewer output').textContent").startswith("vertex ")
    assert not opened.run("document.querySelector('.viewer .scale').hidden")
    opened.run(f"{CANVAS}.dispatchEvent(new MouseEvent('dblclick'))")
    opened.run("document.querySelector('[data-layer=\"0\"]').click()")
    assert pixels(opened) == seen[0], "a double click resets the view"
    assert opened.complaints == []
    assert all(address.startswith(("file:", "data:")) for address in opened.requests)


def test_nothing_is_wider_than_a_telephone(opened):
    opened.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=2, mobile=True)
    opened.settle()
    assert opened.run("document.documentElement.scrollWidth") <= 400
    assert opened.complaints == []
