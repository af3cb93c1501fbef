"""Evaluation on known answers, and its report."""

import json
import math

import pytest
import torch

from dp3d_data.errors import NothingToDo
from dp3d_model.evaluation import evaluate, score_model, score_rigid, view_of
from dp3d_model.evaluation_report import write_report
from dp3d_model.instances import Instances, concatenate
from dp3d_model.lifter import Lifter
from dp3d_model.visualise import template_view
from tests.model.toy import tiny, toy_instances, toy_surface


def still_model(surface):
    """A model that answers with the rigid template."""
    lifter = Lifter(surface, tiny()).eval()
    torch.nn.init.zeros_(lifter.trunks[0].head.weight)
    return lifter


def test_a_rigid_world_has_no_error():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.0)
    for scores in (score_rigid(surface, world), score_model(still_model(surface), world)):
        for kind in scores.means().values():
            assert max(kind.values()) < 2e-3


def test_the_untrained_model_is_the_rigid_template():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.3)
    one, two = score_rigid(surface, world).means(), score_model(still_model(surface), world, batch=7).means()
    for kind in one:
        assert one[kind] == pytest.approx(two[kind], abs=1e-5)


def test_a_body_twice_as_large_is_only_wrong_where_the_scale_is_estimated():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.0)
    doubled = Instances(world.ids, world.keypoints, world.visible, 2.0 * world.true_vertices, world.true_scale / 2.0)
    scores = score_rigid(surface, doubled).means()
    assert scores["given"]["mpjpe"] < 4e-3
    assert scores["estimated"]["mpjpe"] > 0.2
    assert scores["estimated"]["pa_mpjpe"] < 4e-3


def test_the_flip_oracle_is_never_worse():
    surface = toy_surface()
    scores = score_rigid(surface, toy_instances(surface, bend=0.4))
    for kind in (scores.given, scores.estimated):
        assert (kind["mpjpe_flip"] <= kind["mpjpe"]).all()
        assert (kind["mpjpe_flip_replaced"] <= kind["mpjpe_replaced"]).all()


@pytest.mark.parametrize("azimuth", [0.0, 45.0, 90.0, 200.0, 355.0])
def test_views_are_named_by_where_the_viewer_stands(azimuth):
    surface = toy_surface()
    seen = surface.vertices @ torch.tensor(template_view(azimuth), dtype=torch.float32).T
    found = float(view_of(surface, seen[None])[0])
    assert math.isclose((found - azimuth + 180) % 360, 180, abs_tol=0.1)


def test_the_report_accounts_for_every_instance(tmp_path):
    surface = toy_surface()
    world = toy_instances(surface, 30, bend=0.3)
    result = evaluate(still_model(surface), world)
    assert sum(row["instances"] for row in result["by_view"].values()) == 30
    assert sum(row["instances"] for row in result["by_visible_share"].values()) == 30
    write_report(result, tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result
    text = (tmp_path / "evaluation.md").read_text()
    assert "| MPJPE, flip oracle |" in text
    assert "(500 mm)" in text
    assert (tmp_path / "evaluation.png").read_bytes()[:4] == b"\x89PNG"


def test_only_instances_with_truth_count():
    surface = toy_surface()
    known = toy_instances(surface, 6)
    blind = Instances(("a", "b"), known.keypoints[:2], known.visible[:2], None, None, torch.zeros(2, 4), ("", ""), ("", ""))
    mixed = concatenate([blind, known])
    assert mixed.with_truth().ids == known.ids
    with pytest.raises(NothingToDo, match="no instance carries its true shape"):
        evaluate(still_model(surface), blind)
