"""Evaluation on known answers, and its report."""

import json
import math
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from dp3d_data.errors import NothingToDo, TemplateError, UsageError
from dp3d_data.geometry.renderer import view_rotation
from dp3d_data.shards import reader
from dp3d_data.shards.batch import KeypointBatch, collate
from dp3d_model.evaluation import evaluator, report
from dp3d_model.evaluation.evaluator import METRICS, evaluate, score_model, score_rigid, score_shapes, view_of
from dp3d_model.evaluation.report import write_report
from dp3d_model.geometry.camera import rotation_from_log
from dp3d_model.lifting import model_file
from dp3d_model.networks.lifter import Lifter
from pipelines import annotated, evaluate_lifter
from pipelines.cli import evaluate as cli
from pipelines.cli.evaluate import EvaluateConfig, named_runs, on_photographs, on_shards
from pipelines.cli.model import main
from tests.model.toy import tiny, toy_instances, toy_surface


def still_model(surface):
    """A model that answers with the rigid template."""
    lifter = Lifter(surface, tiny()).eval()
    torch.nn.init.zeros_(lifter.trunks[0].head.weight)
    return lifter


def scores_of(world, shapes, surface):
    """Scores of given shapes in the camera frame, true scale."""
    points = torch.arange(len(surface.vertices))
    return score_shapes(shapes, world.true_scale, world, points).means()


def test_the_truth_has_no_error_in_any_metric():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.4)
    for kind in scores_of(world, world.true_vertices, surface).values():
        assert set(kind) == set(METRICS)
        assert max(kind.values()) < 1e-5


def test_a_shift_along_all_axes_costs_nothing():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.4)
    for kind in scores_of(world, world.true_vertices + torch.tensor([0.3, -0.2, 5.0]), surface).values():
        assert max(kind.values()) < 1e-5


def test_depth_stretched_by_a_tenth_costs_a_tenth_of_the_mean_depth():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.4)
    found = scores_of(world, world.true_vertices * torch.tensor([1.0, 1.0, 1.1]), surface)["given"]
    depth = world.true_vertices[..., 2]
    expected = float((depth - depth.mean(1, keepdim=True)).abs().mean()) / 10.0
    assert found["mpjpe"] == pytest.approx(expected, abs=1e-5)
    assert found["mpjpe_replaced"] == pytest.approx(expected, abs=1e-5)
    assert 0 < found["pa_mpjpe"] < expected


def test_a_turn_costs_what_it_moves_and_nothing_after_a_similarity():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.4)
    world = replace(world, visible=torch.ones_like(world.visible))
    turn = rotation_from_log(torch.tensor([0.0, 0.0, 0.2]))
    found = scores_of(world, world.true_vertices @ turn.T, surface)["given"]
    flat = world.true_vertices[..., :2] - world.true_vertices[..., :2].mean(1, keepdim=True)
    assert found["mpjpe"] == pytest.approx(2 * math.sin(0.1) * float(flat.norm(dim=2).mean()), rel=1e-4)
    assert max(found["pa_mpjpe"], found["stress"], found["mpjpe_replaced"]) < 1e-5


def test_a_body_mirrored_in_depth_is_forgiven_by_the_oracle_alone():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.4)
    for kind in scores_of(world, world.true_vertices * torch.tensor([1.0, 1.0, -1.0]), surface).values():
        assert max(kind["mpjpe_flip"], kind["mpjpe_flip_replaced"], kind["stress"]) < 1e-5
        assert min(kind["mpjpe"], kind["mpjpe_replaced"], kind["pa_mpjpe"]) > 0.02


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
    doubled = replace(world, true_vertices=2.0 * world.true_vertices, true_scale=world.true_scale / 2.0)
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
    view = torch.tensor(view_rotation(math.radians(azimuth), math.radians(15.0)), dtype=torch.float32)
    seen = surface.vertices @ view.T
    found = float(view_of(surface, seen[None])[0])
    assert math.isclose((found - azimuth + 180) % 360, 180, abs_tol=0.1)


def test_a_view_stands_in_the_middle_of_its_bin(monkeypatch):
    surface = toy_surface()
    monkeypatch.setattr(evaluator, "view_of", lambda *_: torch.tensor([22.4, 22.6, 337.6, 359.0]))
    result = evaluator.summary({}, toy_instances(surface, 4), surface)
    assert {name: row["instances"] for name, row in result["by_view"].items()} == {"0": 3, "45": 1}


def test_the_report_accounts_for_every_instance(tmp_path):
    surface = toy_surface()
    world = toy_instances(surface, 30, bend=0.3)
    result = evaluate({"model": still_model(surface)}, world)
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
    blind = KeypointBatch(known.keypoints[:2], known.visible[:2], boxes=torch.zeros(2, 4), ids=("a", "b"))
    mixed = collate([blind, known])
    assert mixed.with_truth().ids == known.ids
    with pytest.raises(NothingToDo, match="no instance carries its true shape"):
        evaluate({"model": still_model(surface)}, blind)


def in_groups(world, count):
    return replace(world, groups=tuple(f"animal-{i % count}" for i in range(len(world))))


@pytest.mark.parametrize(("count", "listed"), [(3, 3), (20, 10)])
def test_groups_are_summed_up_and_the_extreme_ones_listed(count, listed, tmp_path):
    surface = toy_surface()
    world = in_groups(toy_instances(surface, 40, bend=0.4), count)
    found = evaluate({"one": still_model(surface)}, world)["by_group"]
    errors = score_rigid(surface, world).given["mpjpe"]
    means = [float(errors[i::count].mean()) for i in range(count)]
    assert found["groups"] == count
    assert len(found["listed"]) == listed
    assert found["spread"]["one"]["highest"] == pytest.approx(max(means), abs=1e-4)
    assert found["spread"]["one"]["lowest"] == pytest.approx(min(means), abs=1e-4)
    assert next(iter(found["listed"])) == f"animal-{means.index(max(means))}"
    assert list(found["listed"])[-1] == f"animal-{means.index(min(means))}"
    assert sum(row["instances"] for row in found["listed"].values()) == 40 * listed // count


def test_several_models_stand_beside_the_rigid_template(tmp_path):
    surface = toy_surface()
    world = in_groups(toy_instances(surface, 30, bend=0.4), 15)
    noisy = Lifter(surface, tiny({"model.noise": "clipped"})).eval()
    result = evaluate({"still": still_model(surface), "noisy": noisy}, world)
    assert list(result["models"]) == ["rigid template", "still", "noisy"]
    assert set(result["uncertainty"]) == {"noisy"}
    write_report(result, tmp_path)
    text = (tmp_path / "evaluation.md").read_text()
    for words in (
        "| noisy |",
        "15 groups",
        "hardest and easiest for noisy",
        "## Predicted noise",
        "noisy, vertices in ten bins",
    ):
        assert words in text
    with pytest.raises(TemplateError, match="models of different templates cannot be compared"):
        evaluate({"one": noisy, "two": Lifter(replace(surface, content_hash="0ther"), tiny()).eval()}, world)


def test_models_are_named_by_what_tells_them_apart():
    assert named_runs(("a/full", "a/plain")) == {"full": "a/full", "plain": "a/plain"}
    assert named_runs(("one/model", "two/model")) == {"one/model": "one/model", "two/model": "two/model"}
    assert named_runs(("mine=a/model", "b/model")) == {"mine": "a/model", "b/model": "b/model"}
    with pytest.raises(UsageError, match="(?s)two models have one name.*--compare one=a two=b"):
        named_runs(("y=c", "x=a", "x=b"))
    with pytest.raises(UsageError, match="got: model"):
        named_runs(("a/model", "a/model", "b/other"))


def test_models_are_the_one_that_is_named_or_those_to_compare():
    assert EvaluateConfig(model="a/m.pt").models(()) == {"model": "a/m.pt"}
    assert EvaluateConfig(compare=("a/m", "b/n")).models(("x=c/o",)) == {"m": "a/m", "n": "b/n", "x": "c/o"}
    with pytest.raises(UsageError, match="after --compare"):
        EvaluateConfig(model="a").models(("b",))


@pytest.mark.parametrize(
    ("words", "where"), [([], "shards"), (["--coco", "c"], "photos"), (["--stanford-extra", "s"], "photos")]
)
def test_annotations_are_measured_on_photographs_and_shards_without(monkeypatch, words, where):
    asked = []
    monkeypatch.setattr(model_file, "load_model", lambda path: path)
    monkeypatch.setattr(cli, "on_shards", lambda lifters, *_: asked.append(("shards", lifters)))
    monkeypatch.setattr(cli, "on_photographs", lambda lifters, *_: asked.append(("photos", lifters)))
    done = CliRunner().invoke(main, ["evaluate", "--model", "m.pt", "--out", "here", *words])
    assert asked == [(where, {"model": "m.pt"})] and done.output.startswith("  written to here · next: ")


class Shards:
    """Two instances without truth before six with it."""

    def __init__(self, _):
        surface = toy_surface()
        known = toy_instances(surface, 6, bend=0.3)
        blind = KeypointBatch(known.keypoints[:2], known.visible[:2], boxes=torch.zeros(2, 4), ids=("a", "b"))
        self.template, self.instances = surface, collate([blind, known])

    def split(self, name):
        return self.instances.take(range(8 if name == "all" else 0))


@pytest.mark.parametrize(("count", "measured"), [(0, 6), (5, 3), (99, 6)])
def test_the_first_instances_of_shards_are_measured_where_truth_is_known(
    tmp_path, monkeypatch, capsys, count, measured
):
    monkeypatch.setattr(reader, "ShardReader", Shards)
    monkeypatch.setattr(model_file, "lifter_for", lambda lifter, *_: lifter)
    written = []
    monkeypatch.setattr(report, "write_report", lambda *found: written.append(found))
    on_shards({"mine": still_model(toy_surface())}, tmp_path, EvaluateConfig(split="all", count=count))
    ((result, folder),) = written
    assert folder == tmp_path
    assert result["instances"] == measured
    said = capsys.readouterr().out
    assert said.startswith(f"dog: {measured} instances with truth")
    assert [line.count(" (") for line in said.splitlines()[1:]] == [4, 4], "the main figures alone"
    for name, kinds in result["models"].items():
        assert f"  {name}: MPJPE {kinds['given']['mpjpe']:.4f} ({kinds['estimated']['mpjpe']:.4f}) · " in said


def test_photographs_have_a_line_for_each_model_and_what_is_left_out(tmp_path, monkeypatch, capsys):
    boxes = {"silhouette_iou": 0.5, "found": 3.0, "objects": 4.0, "listed": 9, "on_disk": 8}
    boxes |= {"left_out": {"a.jpg": "no such file"}, "annotations_left_out": {"b.jpg": "no mask"}}
    scores = {"note": {}, "mine, given": boxes, "mine, detected": boxes | {"pck_10": 0.25, "pck_15": 0.75}}
    monkeypatch.setattr(annotated, "annotated", lambda *given: given)
    monkeypatch.setattr(evaluate_lifter, "run", lambda lifters, photographs, *_: asked.append(photographs) or scores)
    asked = []
    for words in ({"stanford_extra": "s.json"}, {"coco": "c.json"}):
        on_photographs({}, tmp_path, EvaluateConfig(images="photos", **words))
        assert capsys.readouterr().out.splitlines() == [
            "dog: 9 photographs listed, 8 on disk, 1 left out",
            "  left out: a.jpg: no such file",
            "  left out: b.jpg: no mask",
            "  mine, given boxes: 3 of 4 found · silhouette IoU 0.500",
            "  mine, detected boxes: 3 of 4 found · silhouette IoU 0.500 · PCK 0.10 0.250 · 0.15 0.750",
        ]
    assert asked == [("stanford-extra", "s.json", "photos", "dog"), ("coco", "c.json", "photos", "dog")]
