"""Lifted photographs against annotations whose right answer is known, and measures of shapes without truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.detection.training.evaluation import scenes_with_truth
from dp3d_data.detection.training.metrics import TrueObject
from dp3d_data.errors import NothingToDo
from dp3d_data.geometry import load_template, make_template
from dp3d_data.geometry.renderer import silhouette
from dp3d_data.geometry.subsets import named_keypoints
from dp3d_data.records import ImageRecord
from dp3d_data.run_lengths import encode_pixels
from dp3d_model.config import preset
from dp3d_model.evaluation.evaluator import RIGID, evaluate_unknown
from dp3d_model.evaluation.quality import silhouette_iou, stretched
from dp3d_model.geometry.surface import surface_of
from dp3d_model.lifting.prediction import predict
from dp3d_model.networks.lifter import Lifter
from pipelines import evaluate_lifter
from pipelines.annotated import annotated
from pipelines.cli.model import main
from pipelines.evaluate_lifter import compare, outline, run
from tests.data.training.test_annotated_photographs import annotate
from tests.model.test_commands import TRAIN, make_shards
from tests.model.test_commands import run as command
from tests.model.toy import blob, toy_instances, toy_surface


def test_a_shape_under_its_own_silhouette_scores_one():
    surface = toy_surface()
    faces, ids = surface.faces.numpy(), np.array([0, 5, -1, 40])
    projected = (surface.vertices.numpy() * 60 + [50, 40, 0]).astype(np.float32)
    mask = silhouette(projected, faces, 100, 80)
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)
    truth = TrueObject(box, mask, named=np.column_stack([projected[ids, :2], [1, 1, 1, 0]]))
    elsewhere = np.array([0.0, 0.0, 8.0, 8.0])
    (mark,), _ = compare([(elsewhere, projected + 30), (box, projected)], [truth], faces, ids)
    assert mark.found and mark.mask_overlap == 1
    np.testing.assert_allclose(mark.named[:2], 0, atol=1e-6)
    assert np.isnan(mark.named[2:]).all()  # no vertex, and not visible
    (shifted,), _ = compare([(box, projected + [9, 0, 0])], [truth], faces, ids)
    np.testing.assert_allclose(shifted.named[:2], 9 / np.sqrt(mask.sum()), rtol=1e-5)
    assert 0.3 < shifted.mask_overlap < 0.9
    (best,), _ = compare([(box, projected + [9, 0, 0]), (box, projected)], [truth], faces, ids)
    assert best.mask_overlap == shifted.mask_overlap, "the best one of an object counts"
    (missed,), masks = compare([], [truth], faces, ids)
    assert not missed.found and np.isinf(missed.named[:2]).all() and masks == []


def test_the_outline_of_a_square_is_its_border():
    mask = np.zeros((7, 8), dtype=bool)
    mask[2:6, 3:8] = True
    inner = np.zeros_like(mask)
    inner[3:5, 4:7] = True
    np.testing.assert_array_equal(outline(mask), mask & ~inner)


def test_a_rigid_world_reprojects_stretches_nothing_and_agrees_with_itself():
    surface = toy_surface()
    (found,) = predict(Lifter(surface, preset("rigid")), toy_instances(surface, 12, bend=0.0))
    assert found.reprojection.max() < 1e-2 and found.stretched.max() == 0 and found.agreement.max() < 1e-2
    assert np.isnan(found.silhouette_iou).all() and np.isnan(found.confidence).all()
    (bent,) = predict(Lifter(surface, preset("rigid")), toy_instances(surface, 12, bend=0.5))
    assert bent.reprojection.mean() > 3 * found.reprojection.max()


def test_edges_count_as_stretched_beyond_half_their_length():
    surface = toy_surface()
    rest = surface.vertices.numpy()
    np.testing.assert_array_equal(stretched(np.stack([rest, 1.49 * rest, 1.51 * rest]), surface), [0, 0, 1])


SQUARE = np.array([[30.0, 20, 0], [70, 20, 0], [70, 60, 0], [30, 60, 0]])
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    ("shift", "overlap"), [((0, 0), 1), ((20, 0), 1 / 3), ((0, 20), 1 / 3), ((0, -30), 1 / 6), ((-50, 0), 0)]
)
def test_a_square_overlaps_one_beside_it_as_far_as_both_lie_in_the_image(shift, overlap):
    mask = np.zeros((90, 110), dtype=bool)
    mask[20:60, 30:70] = True
    found = silhouette_iou(SQUARE + [*shift, 0], HALVES, encode_pixels(mask))
    assert found == pytest.approx(overlap, abs=0.01)
    assert np.isnan(silhouette_iou(SQUARE, HALVES, encode_pixels(np.zeros_like(mask))))


def test_a_body_beside_the_image_overlaps_nothing_however_small_the_mask():
    mask = np.zeros((600, 600), dtype=bool)
    mask[500, 500] = True
    assert silhouette_iou(SQUARE - [500, 0, 0], HALVES, encode_pixels(mask)) == 0


def test_no_instance_is_an_error():
    surface = toy_surface()
    with pytest.raises(NothingToDo, match="no instance to measure"):
        evaluate_unknown({"model": Lifter(surface, preset("rigid"))}, toy_instances(surface).take([]))


@pytest.mark.slow
def test_shards_without_truth_are_measured_as_far_as_can_be(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    make_shards(tmp_path / "dog", make_template("blob", *blob()), truth=False)
    assert command(*TRAIN).exit_code == 0
    measured = command("evaluate")
    assert measured.exit_code == 0, measured.output
    assert "instances without truth" in measured.output and "rigid template: reprojection" in measured.output
    result = json.loads((tmp_path / "dog" / "evaluation" / "evaluation.json").read_text())
    assert result["truth"] is False and set(result["models"]) == {"rigid template", "model"}
    assert set(result["models"]["model"]) == {"reprojection", "stretched", "agreement"}
    assert "| rigid template |" in (tmp_path / "dog" / "evaluation" / "evaluation.md").read_text()


BYTES = "\udcff.jpg"  # a name that is no text; tables write it as \\xff.jpg


def test_every_model_is_scored_at_both_kinds_of_boxes_and_a_missed_animal_counts(tmp_path, monkeypatch):
    surface, asked = toy_surface(), []
    projected = (surface.vertices.numpy() * 30 + [50, 40, 0]).astype(np.float32)
    mask = silhouette(projected, surface.faces.numpy(), 100, 80)
    rows, columns = np.nonzero(mask)
    one = TrueObject(np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=float), mask)

    class Photographs:
        def read(self):
            return ((ImageRecord(name, name), np.zeros((80, 100, 3), np.uint8), [one]) for name in (BYTES, "b"))

        def tally(self):
            return {"listed": 2}

    def extracted(photographs, template, out, given_boxes):
        asked.append((out.name, given_boxes))

    monkeypatch.setattr(evaluate_lifter, "from_annotated", extracted)
    monkeypatch.setattr(evaluate_lifter, "_lifted", lambda *_: {"\\xff.jpg": [(one.box, projected)]})
    scores = run({"mine": Lifter(surface, preset("rigid"))}, Photographs(), tmp_path)
    assert asked == [("detected", False), ("given", True)]
    assert list(scores) == [f"{name}, {boxes}" for boxes in ("detected", "given") for name in (RIGID, "mine")]
    found = scores["mine, given"]
    assert (found["silhouette_iou"], found["silhouette_iou_found"], found["found"]) == (0.5, 1.0, 1)
    assert found["listed"] == found["objects"] == 2 and "ap50" not in found
    assert (tmp_path / "photographs-mine-given.jpg").is_file()


def test_lifted_instances_are_told_by_their_photograph_with_their_own_boxes(monkeypatch):
    surface = toy_surface()
    instances = replace(toy_instances(surface, 3), boxes=torch.arange(12.0).reshape(3, 4), image_paths=("a", "b", "a"))
    monkeypatch.setattr(evaluate_lifter, "open_to_lift", lambda _: (instances, None))
    lifter = Lifter(surface, preset("rigid"))
    found = evaluate_lifter._lifted(lifter, "folder")
    assert [(path, [box[0] for box, _ in own]) for path, own in found.items()] == [("a", [0, 8]), ("b", [4])]
    (many,) = predict(lifter, instances)
    np.testing.assert_array_equal(found["a"][1][1], many.at(2).projected())


@pytest.mark.slow
def test_annotated_renders_from_detected_and_given_boxes(tmp_path):
    """Through the embedded network: the rigid dog covers most of a rendered one; a photograph less is said."""
    body = load_template("dog")
    dogs = [(image, truth[0]) for image, truth in scenes_with_truth(body, 0, 192, 5) if len(truth) == 1][:3]
    entries, _ = annotate(tmp_path, dogs)
    (tmp_path / "Images" / entries[-1]["img_path"]).unlink()
    surface = surface_of(body, np.ones((body.num_vertices, 1), np.float32), 1)
    given = annotated("stanford-extra", str(tmp_path / "annotation.json"), str(tmp_path / "Images"))
    scores = run({"model": Lifter(surface, preset("rigid"))}, given, tmp_path / "out")
    for boxes in ("detected", "given"):
        whole = scores[f"model, {boxes}"]
        assert whole == scores[f"rigid template, {boxes}"]
        assert (whole["listed"], whole["on_disk"], whole["objects"]) == (3, 2, 2)
        assert (tmp_path / "out" / f"photographs-model-{boxes}.jpg").is_file()
    assert scores["model, given"]["found"] == 2 and scores["model, given"]["silhouette_iou"] > 0.3
    assert "| Nose |" in (tmp_path / "out" / "photographs.md").read_text()
    assert (
        json.loads((tmp_path / "out" / "photographs.json").read_text())["model, given"]["pck_15"]
        == scores["model, given"]["pck_15"]
    )
    coco, table = as_coco(entries[:2], tmp_path)
    again = run({"model": Lifter(surface, preset("rigid"))}, coco, tmp_path / "coco", table)
    row = again["model, given"]
    assert row["annotated_keypoints"] == sum(
        entry["joints"][16][2] > 0 for entry in entries[:2]
    )  # noses alone have a vertex
    assert row["silhouette_iou"] == pytest.approx(scores["model, given"]["silhouette_iou"], abs=1e-6)


def as_coco(entries, folder):
    """The same annotation as COCO's json, with two keypoints, of which the table names one."""
    images, annotations = [], []
    for number, entry in enumerate(entries):
        size = [entry["img_height"], entry["img_width"]]
        images.append({"id": number, "file_name": entry["img_path"], "height": size[0], "width": size[1]})
        keypoints = [float(value) for index in (16, 0) for value in entry["joints"][index]]
        shape = {"size": size, "counts": entry["seg"]}
        one = {"id": number, "image_id": number, "category_id": 1, "bbox": entry["img_bbox"]}
        annotations.append(one | {"segmentation": shape, "keypoints": keypoints})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (folder / "coco.json").write_text(json.dumps(content))
    (folder / "table.csv").write_text(f"index,vertex,name\n0,{named_keypoints()[0][16]},nose\n")
    return annotated("coco", str(folder / "coco.json"), str(folder / "Images")), str(folder / "table.csv")


def test_two_annotations_at_once_are_refused():
    refused = CliRunner().invoke(main, ["evaluate", "--coco", "a.json", "--stanford-extra", "b.json"])
    assert refused.exit_code == 2 and "are two annotations" in refused.stderr
