"""evaluate-cse on annotated photographs whose right answer is known: renders, annotated at the projections of named
vertices."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco_mask

import pipelines.cse as command
from dp3d_data.detection import find_spec
from dp3d_data.detection.training.adoption import placed_keypoints
from dp3d_data.detection.training.evaluation import Marks, scenes_with_truth
from dp3d_data.detection.training.metrics import TrueObject, transfer_errors, transferred
from dp3d_data.geometry import load_template
from dp3d_data.geometry.subsets import named_keypoints
from dp3d_data.records import DensePrediction
from pipelines.annotated import _said, annotated
from pipelines.cli.cse import evaluate_cse
from tests.data.extract.test_annotations import stored
from tests.references.training import placed_keypoints_slow, transfer_errors_slow
from tests.synthetic_predictor import KnownDetection, KnownObject, SyntheticPredictor, image_key


class Knowing(SyntheticPredictor):
    """A perfect network with the specification of a real one."""

    spec = find_spec("narrow-18")


@pytest.fixture(scope="module")
def dogs():
    """BGR renders with one dog each, and its truth."""
    scenes = scenes_with_truth(load_template("dog"), 0, 128, 8)
    return [(image, truth[0]) for image, truth in scenes if len(truth) == 1]


def annotate(folder, dogs):
    """StanfordExtra's json and photographs of renders, and the network that knows them; keypoints are visible where
    their vertex is."""
    ids, entries, known = named_keypoints()[0], [], {}
    for number, (image, one) in enumerate(dogs):
        path = folder / "Images" / "n1-render" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(path)
        seen = np.isin(ids, one.vertex_map[one.mask])
        x0, y0, x1, y1 = map(float, one.box)
        height, width = one.mask.shape
        entries.append(
            {
                "img_path": f"n1-render/{number}.png",
                "img_width": width,
                "img_height": height,
                "img_bbox": [x0, y0, x1 - x0, y1 - y0],
                "joints": np.column_stack([one.keypoints[ids], seen]).tolist(),
                "is_multiple_dogs": False,
                "seg": coco_mask.encode(np.asfortranarray(one.mask.astype(np.uint8)))["counts"].decode(),
            }
        )
        known[image_key(image)] = [KnownObject(tuple(one.box), np.where(one.mask, one.vertex_map, -1))]
    (folder / "annotation.json").write_text(json.dumps(entries))
    return entries, known


def run(monkeypatch, folder, known, *words):
    monkeypatch.setattr(
        command, "load_predictor", lambda *_, **__: Knowing(known, load_template("dog").num_vertices, {"dog": 0})
    )
    given = ["--count", "0", "--stanford-extra", str(folder / "annotation.json"), "--images", str(folder / "Images")]
    result = CliRunner().invoke(evaluate_cse, [*given, "--out", str(folder / "out.json"), *words])
    assert result.exit_code == 0, result.output
    return json.loads((folder / "out.json").read_text()), result.output


@pytest.mark.parametrize("boxes", ["given", "detected"])
def test_a_perfect_network_scores_one_as_a_whole_and_at_every_keypoint(tmp_path, monkeypatch, dogs, boxes):
    """Nearly one: of a close dog cut by the border the surface near a vertex may be seen on one side of it only."""
    entries, known = annotate(tmp_path, dogs)
    scores, output = run(monkeypatch, tmp_path, known, "--boxes", boxes, "--pictures", str(tmp_path / "pictures"))
    whole = scores["photographs"]
    assert whole["pck_10"] > 0.95 and whole["mask_iou"] > 0.95 and whole["boxes"] == boxes
    assert ("ap50" in whole) == ("spurious" in whole) == (boxes == "detected")
    seen = np.array([entry["joints"] for entry in entries])[:, :, 2].sum(0)
    for name, count in zip(named_keypoints()[1], seen, strict=True):
        if count:
            row = scores[f"photographs, {name}"]
            assert row["annotated_keypoints"] == count and row["pck_10"] >= 0.5 and row["median_error"] < 0.08
    assert f"{len(dogs)} listed, {len(dogs)} on disk, {len(dogs)} read" in output
    sheet = np.asarray(Image.open(tmp_path / "pictures" / "photographs-sheet.jpg"))
    assert sheet.std() > 20


def test_what_is_missing_or_broken_is_said_and_the_rest_is_scored(tmp_path, monkeypatch, dogs):
    entries, known = annotate(tmp_path, dogs)
    (tmp_path / "Images" / entries[0]["img_path"]).unlink()
    (tmp_path / "Images" / entries[1]["img_path"]).write_bytes(b"no image")
    entries[2]["img_height"] += 2
    (tmp_path / "annotation.json").write_text(json.dumps(entries))
    scores, output = run(monkeypatch, tmp_path, known)
    whole = scores["photographs"]
    assert whole["listed"] == len(dogs) and whole["on_disk"] == len(dogs) - 1 and whole["objects"] == len(dogs) - 3
    assert set(whole["left_out"]) == {entries[1]["img_path"], entries[2]["img_path"]} and whole["pck_10"] > 0.95
    assert f"left out: {entries[1]['img_path']}: " in output and "not an image" in output


def test_a_faulty_annotation_beside_others_is_left_out_alone(tmp_path, monkeypatch, dogs):
    entries, known = annotate(tmp_path, dogs)
    whole = run(monkeypatch, tmp_path, known)[0]["photographs"]
    entries.append(entries[0] | {"img_bbox": [5, 5, -3, 8]})
    entries.append(
        entries[1] | {"seg": coco_mask.encode(np.zeros((128, 128), dtype=np.uint8, order="F"))["counts"].decode()}
    )
    (tmp_path / "annotation.json").write_text(json.dumps(entries))
    scores, output = run(monkeypatch, tmp_path, known)
    found = scores["photographs"]
    assert (
        found["left_out"] == {}
        and found["objects"] == whole["objects"] == len(dogs)
        and found["pck_10"] == whole["pck_10"]
    )
    assert len(found["annotations_left_out"]) == 2 and whole["annotations_left_out"] == {}
    assert "an annotation that cannot be used" in output and f"left out: {entries[0]['img_path']}" in output


def test_annotated_photographs_are_upright_and_evenly_chosen(tmp_path):
    """Boxes and masks of the stored photograph are turned with it, masks of another size are none of its own."""
    mask = np.zeros((40, 60), dtype=np.uint8, order="F")
    mask[8:20, 4:36] = 1
    images, notes = [], []
    for number in range(5):
        pixels = stored(tmp_path / f"{number}.png", 6)
        images.append({"id": number, "file_name": f"{number}.png"})
        size = {"width": 60, "height": 40} if number < 4 else {}  # nobody says how large the last one is
        images[-1] |= size
        counts = coco_mask.encode(mask)["counts"].decode()
        one = {"id": number, "image_id": number, "category_id": 18, "bbox": [4, 8, 32, 12]}
        notes.append(one | {"segmentation": {"size": [40, 60], "counts": counts}})
    content = {"images": images, "annotations": notes, "categories": [{"id": 18, "name": "dog"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    photographs = annotated("coco", str(tmp_path / "coco.json"), str(tmp_path))
    read = list(photographs.read())
    assert [record.image_id for record, _, _ in read] == ["0.png", "1.png", "2.png", "3.png"]
    assert "of another size than its photograph" in photographs.left_out["4.png"]
    _, image, (one,) = read[0]
    assert np.array_equal(image, np.rot90(pixels, -1)[:, :, ::-1])
    assert one.box.tolist() == [20, 4, 32, 36] and one.mask.sum() == 12 * 32 and one.mask[4:36, 20:32].all()
    assert [record.image_id for record, _, _ in photographs.read(2)] == ["0.png", "2.png"]


def test_a_picture_says_how_many_keypoints_were_placed():
    marks = Marks((), True, 0.5, named=np.array([0.15, 0.12, 0.16, np.inf, np.nan]))
    assert _said(marks) == "IoU 0.50, 2 of 4 within 0.15" and _said(Marks(())) == "not found"


def test_a_network_that_finds_nothing_misses_every_keypoint_and_writes_plain_json(tmp_path, monkeypatch, dogs):
    annotate(tmp_path, dogs)
    scores, _ = run(monkeypatch, tmp_path, {})
    assert scores["photographs"]["pck_15"] == 0 and scores["photographs"]["mask_iou"] is None
    assert all(part["median_error"] is None for title, part in scores.items() if "," in title)


def test_detections_that_hit_no_dog_are_spurious_there_and_on_photographs_without_one(tmp_path, monkeypatch, dogs):
    _, known = annotate(tmp_path, dogs)
    image, one = dogs[0]
    x0, y0, x1, y1 = one.box
    near, nothing = (x0 + 1, y0, x1, y1), np.full(one.mask.shape, -1)
    false = [(near, 0.9), ((0, 0, 5, 5), 0.51), ((0, 0, 6, 6), 0.49)]
    known[image_key(image)] += [KnownObject(box, nothing, score) for box, score in false]
    words = ["--without", str(tmp_path / "Images")]
    scores, output = run(monkeypatch, tmp_path, known, *words)
    assert scores["photographs"]["spurious"] == 1  # one is below the score, another overlaps the dog
    assert scores["photographs"]["spurious_on_20"] == pytest.approx(20 / len(dogs))
    assert scores["without"]["spurious"] == len(dogs) + 2 and len(scores["without"]["best_scores"]) == len(dogs)
    assert "n1-render/0.png: score 1.00" in output
    assert run(monkeypatch, tmp_path, known, "--set", "score=0.3")[0]["photographs"]["spurious"] == 2


class Sceptic(Knowing):
    """A network that sees no dog at all, once it is asked to tell dogs."""

    def recognising(self):
        return Knowing({}, load_template("dog").num_vertices, {"dog": 0})


def test_photographs_are_asked_whether_they_show_a_dog_and_renders_are_not(tmp_path, monkeypatch, dogs):
    scenes = list(scenes_with_truth(load_template("dog"), 5, 128, 2))
    _, known = annotate(tmp_path, dogs)
    known |= {image_key(image): [KnownObject(one.box, one.vertex_map) for one in truth] for image, truth in scenes}
    monkeypatch.setattr(
        command, "load_predictor", lambda *_, **__: Sceptic(known, load_template("dog").num_vertices, {"dog": 0})
    )
    folder = str(tmp_path / "Images")
    settings = {"count": 2, "seed": 5, "size": 128, "without": (folder,)}
    scores = command.evaluate_cse(
        command.EvaluateCseConfig(**settings, stanford_extra=str(tmp_path / "annotation.json"), images=folder)
    )
    assert scores["synthetic"]["found"] == scores["synthetic"]["objects"] > 0
    assert scores["photographs"]["found"] == 0 and scores["without"]["spurious"] == 0


def test_the_side_reaches_the_network(monkeypatch):
    asked = []

    def loading(*_, **settings):
        asked.append(settings["side"])
        return Knowing({}, load_template("dog").num_vertices, {"dog": 0})

    monkeypatch.setattr(command, "load_predictor", loading)
    command.evaluate_cse(command.EvaluateCseConfig(count=0, side=320, beside="other.pth"))
    assert asked == [320, 320]


def seen_with_keypoints(dogs):
    """Detections at the true boxes, of a perfect network; the keypoints are pixels of vertices that every dog shows."""
    body = load_template("dog")
    common = np.array(sorted(set.intersection(*({*one.vertex_map[one.mask].tolist()} for _, one in dogs))))
    seen = []
    for image, one in dogs:
        network = SyntheticPredictor(
            {image_key(image): [KnownObject(tuple(one.box), one.vertex_map)]}, body.num_vertices, {"dog": 0}
        )
        places = [np.argwhere(one.mask & (one.vertex_map == vertex))[0][::-1] + 0.5 for vertex in common]
        named = np.column_stack([places, np.ones(len(common))])
        seen.append((network.predict(image, boxes=np.array([one.box]))[0], TrueObject(one.box, one.mask, named=named)))
    return seen


def mirrored(image, one):
    width = one.mask.shape[1]
    x0, y0, x1, y1 = one.box
    flipped = TrueObject(np.array([width - x1, y0, width - x0, y1]), one.mask[:, ::-1], one.vertex_map[:, ::-1])
    return np.ascontiguousarray(image[:, ::-1]), flipped


def test_keypoints_carried_by_perfect_embeddings_land_on_their_vertices(dogs):
    seen = seen_with_keypoints([dogs[0], mirrored(*dogs[0])])
    result = transferred(seen)
    assert result["keypoints"] == 2 * len(seen[0][1].named) > 200 and result["pck_10"] == 1


def test_transfer_is_what_a_loop_over_pairs_says():
    rng, seen = np.random.default_rng(4), []
    for _ in range(3):
        embedding = rng.normal(size=(4, 6, 5)).astype(np.float32)
        mask = np.zeros((12, 12), dtype=bool)
        mask[4:9, 2:6] = True
        named = np.column_stack([rng.uniform(0, 12, (6, 2)), rng.integers(0, 2, 6)])
        detection = KnownDetection(np.array([3.0, 4.0, 8.0, 10.0]), 1.0, 0, embedding, np.zeros((2, 6, 5)))
        seen.append((detection, TrueObject(np.array([3.0, 4.0, 8.0, 10.0]), mask, named=named)))
    np.testing.assert_allclose(transfer_errors(seen), transfer_errors_slow(seen), rtol=1e-6)


def test_a_dog_whose_mask_is_outside_its_box_takes_no_keypoint(dogs):
    first, second = seen_with_keypoints(dogs[:2])
    nowhere = TrueObject(second[1].box, np.zeros_like(second[1].mask), named=second[1].named)
    nowhere.mask[0, 0] = True
    errors = transfer_errors([first, (second[0], nowhere)])
    assert np.isinf(errors).sum() == len(first[1].named) == len(errors) // 2


def test_placed_keypoints_are_the_loops_and_a_vertex_nobody_shows_stands_by_its_nearest():
    rng = np.random.default_rng(5)
    steps = np.abs(np.subtract.outer(np.arange(20), np.arange(20))) / 50
    dense = DensePrediction((-3, 7), rng.integers(0, 10, (9, 8)), rng.random((9, 8)) < 0.5)
    wanted = np.array([0, 4, 9, 19])
    places = placed_keypoints(dense, wanted, steps)
    np.testing.assert_allclose(places, placed_keypoints_slow(dense, wanted, steps), rtol=1e-9)
    rows, columns = np.nonzero(dense.mask & (dense.vertex_ids == dense.vertex_ids[dense.mask].max()))
    np.testing.assert_allclose(places[3], [columns.mean() - 2.5, rows.mean() + 7.5], atol=1e-3)
