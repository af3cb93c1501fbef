"""The product on a small world: each command finds what the one before it left in the workspace."""

import json

import pytest

from dp3d_data.config import workspace
from tests.end_to_end.programs import run, succeeds

STEPS = [
    "dp3d-data synth --category dog --count 32 --no-images --workers 1",
    "dp3d-data build-shards --category dog",
    "dp3d-data verify",
    (
        "dp3d-model train --category dog --steps 3 --batch 8 --set model.width=32 --set model.bottleneck=16 --set"
        " model.blocks=1"
    ),
    "dp3d-model evaluate --category dog",
    "dp3d-model predict --category dog --count 2",
    "dp3d-data report --category dog",
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run the slice once; the text that each command printed, and the workspace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_WORKSPACE", str(tmp_path_factory.mktemp("slice")))
        texts = {line: succeeds(line).output for line in STEPS}
        yield texts, workspace("dog")


def test_every_command_says_where_the_result_lies(told):
    texts, folder = told
    for line, text in texts.items():
        assert str(folder) in text.replace("\n", ""), f"{line}\n{text}"


def test_evaluation_measures_the_model_beside_the_rigid_template(told):
    _, folder = told
    result = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert result["instances"] > 0 and len(result["models"]) >= 2


def test_predictions_are_meshes_and_pictures(told):
    _, folder = told
    assert len(list((folder / "predictions").rglob("*.glb"))) == 2
    assert list((folder / "predictions").rglob("*.png"))


def test_report_is_one_file(told):
    _, folder = told
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<html" in page and 'src="http' not in page and "src='http" not in page


def test_training_the_same_again_finds_it_done(told, monkeypatch):
    _, folder = told
    monkeypatch.setenv("DP3D_WORKSPACE", str(folder.parent))
    assert "trained already" in run(STEPS[3]).output
