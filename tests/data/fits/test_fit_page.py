"""The page on fits: its example of the neutral json is one, and every reader has a row and a section."""

import re

from dp3d_data.datasets import FITS
from dp3d_data.datasets.fits import Fit
from dp3d_data.datasets.neutral import NAMES
from tests.data.fits.trees import read_fits
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "fits.md").read_text(encoding="utf-8")


def test_the_example_is_read(tmp_path):
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "example.json").write_text(text)
    first, second = read_fits("neutral", tmp_path / "example.json")
    assert isinstance(first, Fit) and isinstance(second, Fit)
    assert (
        first.pose.shape == second.pose.shape == (2, 3)
        and second.camera.scale == 120
        and second.group == "rex/0002.jpg"
    )


def test_every_reader_has_a_row_and_every_field_of_the_json_is_named():
    assert all(f"| `{name}` |" in PAGE for name in FITS)
    assert not [name for name in NAMES if f"`{name}`" not in PAGE]
