"""What users really give: each bad input has its clear error, or its row of the failures table."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.end_to_end.programs import run, succeeds

ZERO_MESH = "v 0 0 0\nv 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\nf 1 3 4\n"


@pytest.fixture
def photos(tmp_path):
    """A folder with one good picture, one broken JPEG and one text file named .jpg."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(folder / "good.png")
    Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(folder / "broken.jpg")
    whole = (folder / "broken.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "text.jpg").write_text("this is no picture")
    return folder


def test_bad_images_become_rows_of_the_failures_table(photos, tmp_path):
    out = tmp_path / "out"
    told = succeeds(f"dp3d-data extract --category dog --images {photos} --out {out} --workers 1").output
    assert "failed 2" in told
    table = succeeds(f"dp3d-data failures {out}").output
    assert "broken.jpg" in table and "text.jpg" in table and "good.png" not in table
    assert "2 failed of 3 images" in table


def test_an_empty_folder_is_nothing_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(f"dp3d-data extract --category dog --images {tmp_path / 'empty'}")
    assert result.exit_code == 12 and "empty" in result.stderr and "hint:" in result.stderr


def test_a_missing_path_is_named(tmp_path):
    result = run(f"dp3d-data extract --category dog --images {tmp_path / 'nowhere'}")
    assert result.exit_code == 3 and "nowhere" in result.stderr


def test_a_checkpoint_that_is_none(photos, tmp_path):
    (tmp_path / "weights.pth").write_text("hello")
    result = run(f"dp3d-data extract --category dog --images {photos} --weights {tmp_path / 'weights.pth'} --workers 1")
    assert result.exit_code == 7 and "weights.pth" in result.stderr and "hint:" in result.stderr


def test_a_checkpoint_of_another_model(photos, tmp_path):
    torch.save({"model": {"classifier.weight": torch.zeros(10, 10)}}, tmp_path / "other.pth")
    result = run(f"dp3d-data extract --category dog --images {photos} --weights {tmp_path / 'other.pth'} --workers 1")
    assert result.exit_code == 7 and "other.pth" in result.stderr and "hint:" in result.stderr


def test_a_template_of_zeros(tmp_path):
    (tmp_path / "zeros.obj").write_text(ZERO_MESH)
    result = run(f"dp3d-data template import {tmp_path / 'zeros.obj'} --name zeros")
    assert result.exit_code == 6 and "zero" in result.stderr and "hint:" in result.stderr


def test_a_category_with_a_slip(tmp_path):
    result = run("dp3d-data extract --category dgo")
    assert result.exit_code == 2 and "did you mean 'dog'?" in result.stderr


def test_a_setting_with_a_slip(tmp_path):
    (tmp_path / "extract.toml").write_text("scor = 0.3\n")
    result = run(f"dp3d-data extract --config {tmp_path / 'extract.toml'}")
    assert result.exit_code == 5 and "did you mean 'score'?" in result.stderr
