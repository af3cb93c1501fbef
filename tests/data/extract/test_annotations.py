"""Whole runs on annotations that are almost right: each is kept, rejected or failed, and costs the others nothing."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.datasets import ReadyInstance
from dp3d_data.datasets.images import TURNS, read_image, turned_points, turned_record
from dp3d_data.errors import InputCorrupt
from dp3d_data.records import GivenObject, ImageRecord, VertexView
from dp3d_data.run_lengths import encode_pixels, mask_pixels
from pipelines.annotate import Annotator
from pipelines.annotators import PrecomputedAnnotator
from pipelines.cli.data import main
from pipelines.extract import extract, make_plan
from pipelines.inputs import find_inputs
from pipelines.settings import ExtractConfig
from tests.data.extract.world import CLASSES, ball, known_object
from tests.data.sources.examples import COCO_CATEGORIES, note
from tests.data.sources.pictures import photo, write_json
from tests.shared import shared
from tests.synthetic_predictor import SyntheticPredictor, image_key


def run(folder, images, **more):
    """Extract with one known object that fills each photograph."""
    ball().save(folder / "ball.npz")
    known = {}
    for path in images.rglob("*.[jp][pn]g"):
        photograph = read_image(path)
        size = photograph.width, photograph.height
        known[image_key(photograph.pixels[:, :, ::-1])] = [
            known_object(*size, (0, 0, *size), block=2 + max(size) // 60)
        ]
    values = {"images": (str(images),), "out": str(folder / "run"), "template": str(folder / "ball.npz")}
    config = ExtractConfig(**(values | {"workers": 1, "min_vertices": 5, "overlays": 0} | more))
    return extract(make_plan(config, lambda: SyntheticPredictor(known, 162, CLASSES)))


def tables(outcome):
    """Instance id -> box, and the messages of failures, and the rejects."""
    rows = {row["instance_id"]: row for table in outcome.run.instances() for row in table.to_pylist()}
    boxes = {name: tuple(round(row[f"box_{end}"]) for end in ("x0", "y0", "x1", "y1")) for name, row in rows.items()}
    rejects = [(row["instance_id"], row["reason"]) for row in outcome.run.rejects().to_pylist()]
    return boxes, [row["message"].splitlines()[0] for row in outcome.run.failures().to_pylist()], rejects


DOG, HORSE = (120, 200, 330, 540), (20, 200, 130, 340)
BOTH = {"dog.jpg#11": DOG, "horses.jpg#12": HORSE}
NO_BOX = "annotation 11: not a box, got "
# Shared case -> boxes, beginnings of failures; with masks where they differ.
CASES = {
    "ok": (BOTH, []),
    "allstrid": (BOTH, []),
    "strid": (BOTH, []),
    "catstr": (BOTH, []),
    "cats_synnull": (BOTH, []),
    "bbox_5": ({"horses.jpg#12": HORSE}, [NO_BOX + "[120, 200, 210, 340, 0.5]"]),
    "bbox_empty": ({"horses.jpg#12": HORSE}, [NO_BOX + "[]"]),
    "bbox_null": ({"horses.jpg#12": HORSE}, [NO_BOX + "None"]),
    "bbox_missing": ({"horses.jpg#12": HORSE}, ["annotation 11: no 'bbox'"]),
    "orphan": ({"horses.jpg#12": HORSE}, ["annotation 11: its image 99 is not in the file"]),
    "wrongsize": ({"horses.jpg#12": HORSE}, ["the annotations are of an image of another size"]),
    "dupannid_sameimage": ({"dog.jpg#0-0": DOG, "dog.jpg#0-1": (500, 50, 700, 200)}, []),
}
WITH_MASKS = CASES | {
    "seg_pairs": (BOTH, []),
    "seg_flat": (BOTH, []),
    "rle_size": ({"horses.jpg#12": HORSE}, ["annotation 11: a mask of another size than its image, got 384 x 288"]),
    "dupannid_sameimage": ({"dog.jpg#0-0": DOG}, []),  # the second one's mask lies outside its box
}


@pytest.mark.slow
@pytest.mark.parametrize("masks", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_shared_cases_of_coco(masks, tmp_path):
    folder = shared("cases/coco")
    for name, (boxes, failures) in (WITH_MASKS if masks else CASES).items():
        out = str(tmp_path / name)
        outcome = run(tmp_path, folder / "img", dataset="coco", path=str(folder / f"{name}.json"), masks=masks, out=out)
        found, messages, rejects = tables(outcome)
        assert found == boxes, name
        assert [text[: len(start)] for text, start in zip(messages, failures, strict=True)] == failures, name
        assert len(found) + len(messages) + len(rejects) == 2, name


@pytest.mark.parametrize("name", ["panoptic", "results"])
def test_files_of_another_kind_end_with_one_error(name):
    folder = shared("cases/coco")
    with pytest.raises(InputCorrupt, match="not COCO's json"):
        find_inputs(
            ExtractConfig(dataset="coco", path=str(folder / f"{name}.json"), images=(str(folder / "img"),)), ("dog",)
        )


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        ("ok", 4, None),
        ("size_hw_float", 4, None),
        ("box_bad", 1, "a box without an area"),
        ("huge_px", 0, "the size of its image is none"),
        ("neg_px", 0, "a box far outside its image"),
    ],
)
def test_the_shared_cases_of_keypoints(name, kept, message, tmp_path):
    path = shared(f"cases/keypoints/{name}.npz")
    config = ExtractConfig(
        dataset="keypoints", path=str(path), template="dog", out=str(tmp_path / "run"), overlays=0, workers=1
    )
    outcome = extract(make_plan(config))
    assert (outcome.instances, outcome.failures, sum(outcome.rejects.values())) == (kept, 4 - kept, 0)
    assert all(message in row["message"] for row in outcome.run.failures().to_pylist())


def stored(path, orientation, size=(60, 40)):
    """A photograph of noise whose EXIF says how to turn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, "PNG", exif=exif)
    return pixels


def noted(path, size, bbox, **more):
    """A file of one dog, in COCO's form."""
    images = [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}]
    return write_json(
        path, {"images": images, "annotations": [note(5, 1, 18, bbox, **more)], "categories": COCO_CATEGORIES}
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_annotations_turn_with_their_photograph(orientation, tmp_path):
    """The pixels in a turned box and mask are those that were marked in the stored image."""
    marked = stored(tmp_path / "a.jpg", orientation)
    photograph = read_image(tmp_path / "a.jpg")
    assert photograph.orientation == orientation
    mask = np.zeros((40, 60), bool)
    mask[8:20, 4:36] = True
    one = GivenObject((4.0, 8.0, 36.0, 20.0), "5", encode_pixels(mask), ((4.0, 8.0, 1.0),))
    (record,) = find_inputs(ExtractConfig(images=(str(tmp_path),)), ("dog",))["dog"].records
    record = turned_record(record.__class__("a.jpg", record.path, objects=(one,), size=(60, 40)), photograph)
    (turned,) = record.objects
    if orientation not in TURNS:
        assert turned == one
        return
    x0, y0, x1, y1 = map(int, turned.box)
    inside = photograph.pixels[y0:y1, x0:x1].astype(int)
    expected = np.sort(marked[8:20, 4:36].reshape(-1, 3).astype(int), axis=0)
    assert inside.shape[0] * inside.shape[1] == 12 * 32 and record.size == (40, 60)
    assert np.array_equal(np.sort(inside.reshape(-1, 3), axis=0), expected)
    pixels = mask_pixels(turned.mask)
    assert pixels.sum() == 12 * 32 and pixels[y0:y1, x0:x1].all()
    assert turned.keypoints[0][2] == 1 and turned.keypoints[0][:2] in {(x0, y0), (x0, y1), (x1, y0), (x1, y1)}


def test_a_run_notes_what_it_turned(tmp_path):
    stored(tmp_path / "img" / "a.jpg", 6)
    path = noted(tmp_path / "a.json", (60, 40), [4, 8, 32, 12], segmentation=[[4, 8, 36, 8, 36, 20, 4, 20]])
    outcome = run(tmp_path, tmp_path / "img", dataset="coco", path=str(path), masks=True)
    assert tables(outcome)[0] == {"a.jpg#5": (20, 4, 32, 36)} and outcome.turned == 1
    rows = [row for table in outcome.run.instances() for row in table.to_pylist()]
    assert rows[0]["mask_area"] == 12 * 32 and (rows[0]["image_width"], rows[0]["image_height"]) == (40, 60)
    upright = noted(tmp_path / "b.json", (40, 60), [20, 4, 12, 32])
    again = run(tmp_path, tmp_path / "img", dataset="coco", path=str(upright), out=str(tmp_path / "other"))
    assert tables(again)[0] == {"a.jpg#5": (20, 4, 32, 36)} and again.turned == 0


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (40, 60)), (3, (40, 60)), (6, (60, 41)), (6, (120, 80)), (1, (30, 20))]
)
def test_annotations_of_an_image_of_another_size_fail(orientation, size, tmp_path):
    stored(tmp_path / "img" / "a.jpg", orientation)
    path = noted(tmp_path / "a.json", size, [4, 8, 12, 12])
    for more in ({"dataset": "coco", "path": str(path)}, {"boxes": str(path)}):
        outcome = run(tmp_path, tmp_path / "img", out=str(tmp_path / next(iter(more))), **more)
        boxes, (message,), rejects = tables(outcome)
        assert message == "the annotations are of an image of another size" and not boxes and not rejects
    assert (
        run(
            tmp_path, tmp_path / "img", dataset="coco", path=str(path), given_boxes=False, out=str(tmp_path / "free")
        ).instances
        == 1
    )


def test_every_source_of_boxes_compares_the_size(tmp_path):
    """StanfordExtra and the XML of Stanford Dogs, one photograph of another size in each."""
    name = "n02099601-golden/n02099601_3.jpg"
    photo(tmp_path / "Images" / name, size=(80, 60))
    xml = (
        "<annotation><size><width>40</width><height>30</height></size><object><bndbox>{}</bndbox></object></annotation>"
    )
    corners = "<xmin>4</xmin><ymin>5</ymin><xmax>24</xmax><ymax>15</ymax>"
    (tmp_path / "Annotation" / "n02099601-golden").mkdir(parents=True)
    (tmp_path / "Annotation" / name.removesuffix(".jpg")).write_text(xml.format(corners))
    entry = {
        "img_path": name,
        "img_width": 40,
        "img_height": 30,
        "img_bbox": [4, 5, 20, 10],
        "seg": "",
        "joints": [[0, 0, 0]],
    }
    extra = write_json(tmp_path / "extra.json", [entry])
    for source, path in (("stanford-dogs", tmp_path), ("stanford-extra", extra)):
        outcome = run(tmp_path, tmp_path / "Images", dataset=source, path=str(path), out=str(tmp_path / source))
        assert tables(outcome)[1] == ["the annotations are of an image of another size"] and outcome.images.failed == 1


def test_boxes_far_outside_fail_and_those_just_outside_are_rejected(tmp_path):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    boxes = [[5, 5, 30, 30], [61, 0, 70, 30], [5, 5, 2**40, 30], [-500, 5, 30, 30], [50, 30, 90, 60]]
    path = write_json(tmp_path / "boxes.json", {"a.jpg": boxes})
    found, failures, rejects = tables(run(tmp_path, tmp_path / "img", boxes=str(path)))
    assert found == {"a.jpg#0": (5, 5, 30, 30), "a.jpg#4": (50, 30, 60, 40)} and rejects == [
        ("a.jpg#1", "box outside the image")
    ]
    assert failures == [f"a.jpg#{number}: a box far outside its image" for number in (2, 3)]


def test_categories_of_other_images_share_their_chunks(tmp_path):
    """A chunk of one number is of the same images for all: two of those that some category has, in the file's order."""
    kinds = {"dog": (18, (6, 3, 0, 2)), "cow": (21, (5, 1, 3))}
    photo(tmp_path / "0.jpg", size=(60, 40))
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 40} for number in range(7)]
    notes = [note(10 * kind + image, image, kind, [4, 8, 9, 9]) for kind, own in kinds.values() for image in own]
    categories = [{"id": kind, "name": name} for name, (kind, _) in kinds.items()]
    path = write_json(tmp_path / "a.json", {"images": images, "annotations": notes, "categories": categories})
    config = ExtractConfig(dataset="coco", path=str(path), images=(str(tmp_path),), part=2)
    found = find_inputs(config, ("dog", "cow"))
    assert [record.image_id for record in found["dog"].records] == ["0.jpg", "2.jpg", "3.jpg", "6.jpg"]
    assert [record.image_id for record in found["cow"].records] == ["1.jpg", "3.jpg", "5.jpg"]
    assert (found["dog"].ends, found["cow"].ends) == ((1, 3, 4), (1, 2, 3))


def test_boxes_of_a_category_by_its_name_in_the_file_and_those_of_no_image(tmp_path):
    photo(tmp_path / "a.jpg", size=(60, 40))
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    notes = [note(5, 1, 7, [4, 8, 9, 9]), note(6, 2, 7, [4, 8, 9, 9]), note(7, 1, 8, [0, 0, 3, 3])]
    categories = [{"id": 7, "name": "hound"}, {"id": 8, "name": "cat"}]
    path = write_json(tmp_path / "boxes.json", {"images": images, "annotations": notes, "categories": categories})
    config = ExtractConfig(images=(str(tmp_path),), boxes=str(path), category_in_file="hound")
    found = find_inputs(config, ("dog",))["dog"]
    assert [record.boxes for record in found.records] == [((4.0, 8.0, 13.0, 17.0),)] and found.unmatched == ("b.jpg",)
    several = find_inputs(ExtractConfig(images=(str(tmp_path),)), ("dog", "cow"))
    assert [one.records[0].objects for one in several.values()] == [None, None], "both are looked for"


def test_annotations_that_are_not_wanted_cost_nothing_but_those_of_no_image(tmp_path):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    notes = [note(5, 1, 18, [4, 8]), note(6, 1, 18, [4, 8, 9, 9], iscrowd=1), note(7, 99, 18, [4, 8, 9, 9])]
    images = [{"id": 1, "file_name": "a.jpg", "width": 61, "height": 40}]
    path = write_json(tmp_path / "a.json", {"images": images, "annotations": notes, "categories": COCO_CATEGORIES})
    words = {"dataset": "coco", "path": str(path)}
    found, failures, rejects = tables(run(tmp_path, tmp_path / "img", given_boxes=False, **words))
    assert found == {"a.jpg#0": (0, 0, 60, 40)} and not rejects
    assert failures == ["annotation 7: its image 99 is not in the file"]
    outcome = run(tmp_path, tmp_path / "img", out=str(tmp_path / "given"), **words)
    assert (outcome.failures, outcome.images.failed) == (2, 2), "an image of another size has no annotation to use"


def test_an_image_is_rejected_for_its_first_reason(tmp_path):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    path = write_json(tmp_path / "boxes.json", {"a.jpg": [[61, 0, 70, 30], [5, 5, 6.5, 6.5]]})
    outcome = run(tmp_path, tmp_path / "img", boxes=str(path))
    assert outcome.images.rejected == {"box outside the image": 1}
    assert outcome.rejects == {"box outside the image": 1, "few vertices": 1}


def test_one_bad_detection_costs_the_others_nothing(tmp_path, monkeypatch):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    path = write_json(tmp_path / "boxes.json", {"a.jpg": [[1, 1, 20, 20], [5, 5, 30, 30], [9, 9, 40, 40]]})
    add = Annotator.add_instance

    def refuse(self, rows, instance_id, *rest):
        if instance_id.endswith("#1"):
            raise ValueError("broken")
        return add(self, rows, instance_id, *rest)

    monkeypatch.setattr(Annotator, "add_instance", refuse)
    outcome = run(tmp_path, tmp_path / "img", boxes=str(path), overlays=1)
    found, failures, _ = tables(outcome)
    assert list(found) == ["a.jpg#0", "a.jpg#2"] and failures == ["a.jpg#1: broken"] and outcome.run.overlays
    assert (outcome.images.kept, outcome.images.failed, outcome.failures) == (1, 0, 1)


def test_an_annotator_of_ones_own_is_asked_of_the_upright_photograph_and_for_its_score(tmp_path):
    """Boxes of the stored photograph are turned before it sees them; what it is less sure of than asked is left out."""
    stored(tmp_path / "a.png", 6)
    asked = []

    class Own:
        def annotate(self, image, boxes):
            asked.append((image.shape, boxes.tolist()))
            view = VertexView(np.arange(9, dtype=np.int32), np.full((9, 2), 25.0), np.ones(9, np.int32), np.zeros(9))
            return [ReadyInstance(str(score), (20.0, 4.0, 32.0, 36.0), score, view) for score in (0.9, 0.5, 0.4)]

    config = ExtractConfig(score=0.5, min_vertices=5)
    record = ImageRecord(
        "a.png", str(tmp_path / "a.png"), objects=(GivenObject((4.0, 8.0, 36.0, 20.0)),), size=(60, 40)
    )
    rows = PrecomputedAnnotator(config, Own(), ball(), "own").annotate(record)
    assert asked == [((60, 40, 3), [[20.0, 4.0, 32.0, 36.0]])]
    assert [row["instance_id"] for row in rows.instances] == ["a.png#0.9", "a.png#0.5"] and not rows.failures


def arrays(path, **more):
    """Keypoints of every vertex of the ball in a box of 4, 8 to 36, 20."""
    spread = np.random.default_rng(0).uniform((4, 8), (36, 20), (1, 162, 2))
    spread[0, :2] = (4, 8), (36, 20)
    fields = {
        "keypoints": spread,
        "visible": np.ones((1, 162), bool),
        "image": np.array(["a.jpg"]),
        "size": np.array([[60, 40]]),
    }
    np.savez(path, **(fields | more))
    return spread[0]


def test_keypoint_arrays_turn_with_their_photograph(tmp_path):
    """Keypoints, box and true points, so that the truth still projects to the keypoints."""
    stored(tmp_path / "img" / "a.jpg", 8)
    plane = np.random.default_rng(0).uniform(0, 1, (162, 1))
    keypoints = arrays(tmp_path / "k.npz")
    points = np.concatenate([keypoints / 10, plane], axis=1)
    arrays(tmp_path / "k.npz", xyz=points[None])
    outcome = run(tmp_path, tmp_path / "img", dataset="keypoints", path=str(tmp_path / "k.npz"))
    (row,) = (row for table in outcome.run.instances() for row in table.to_pylist())
    found = np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1)
    expected = np.stack([keypoints[:, 1], 60 - keypoints[:, 0]], axis=1)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (row["image_width"], row["image_height"], row["box_x0"], row["box_y1"]) == (
        40,
        60,
        8,
        56,
    ) and outcome.turned == 1
    truth = np.reshape(row["true_vertices"], (-1, 3))[:, :2] * row["true_scale"]
    np.testing.assert_allclose(truth - truth.mean(0), found - found.mean(0), atol=0.05)


@pytest.mark.parametrize(("orientation", "size"), [(1, (50, 40)), (5, (60, 40)), (6, (61, 40))])
def test_keypoint_arrays_of_another_photograph_fail(orientation, size, tmp_path):
    """Of another size, or of one that EXIF mirrors, where left and right of the body would change places."""
    stored(tmp_path / "img" / "a.jpg", orientation)
    arrays(tmp_path / "k.npz", size=np.array([size]))
    outcome = run(tmp_path, tmp_path / "img", dataset="keypoints", path=str(tmp_path / "k.npz"))
    assert outcome.instances == 0 and outcome.failures == 1


def test_one_bad_row_of_an_image_costs_the_others_nothing(tmp_path):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    spread = np.repeat(np.random.default_rng(0).uniform((4, 8), (36, 20), (1, 162, 2)), 6, axis=0)
    spread[1] += 500
    spread[2, 0] = np.nan
    box = np.repeat([[4.0, 8, 36, 20]], 6, axis=0)
    box[3], box[4] = (9, 9, 3, 3), (41, 25, 50, 30)
    more = {"keypoints": spread, "visible": np.ones((6, 162), bool), "image": np.array(["a.jpg"] * 6), "box": box}
    arrays(tmp_path / "k.npz", size=np.array([[60, 40]] * 5 + [[30, 20]]), **more)
    outcome = run(tmp_path, tmp_path / "img", dataset="keypoints", path=str(tmp_path / "k.npz"))
    boxes, failures, _ = tables(outcome)
    assert list(boxes) == ["a.jpg#0"] and [text[:9] for text in failures] == [
        f"a.jpg#{number}: " for number in (1, 2, 3, 4, 5)
    ]
    assert [text[9:] for text in failures][::2] == [
        "the keypoints lie outside their image",
        "a box without an area",
        "row 5: another size than its image",
    ]


def test_turning_is_that_of_pillow():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for turn in TURNS:
        exif = Image.Exif()
        exif[0x0112] = turn
        image = Image.fromarray(pixels)
        image.info["exif"] = exif.tobytes()
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(image))
        y, x = np.mgrid[0:5, 0:7]
        places = turned_points(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1), turn, (7, 5)).astype(int)
        assert np.array_equal(upright[places[:, 1], places[:, 0]], pixels.reshape(-1, 3))


def test_the_command_tells_rows_and_images(tmp_path):
    photo(tmp_path / "a.jpg", size=(60, 40))
    arrays(tmp_path / "k.npz", size=np.array([[70, 40]]))
    ball().save(tmp_path / "ball.npz")
    words = [
        "extract",
        "--dataset",
        "keypoints",
        "--path",
        str(tmp_path / "k.npz"),
        "--template",
        str(tmp_path / "ball.npz"),
    ]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out"), "--set", "overlays=0"])
    assert (
        "failed 1 (dp3d-data failures)" in result.output
        and "1 images = 0 with instances + 0 without + 1 failed" in result.output
    )
    shown = CliRunner().invoke(main, ["failures", str(tmp_path / "out")])
    assert "got: 70 x 40" in shown.output and "1 failed of 1 images" in shown.output


def test_failed_annotations_are_tried_again_with_their_image(tmp_path):
    photo(tmp_path / "img" / "a.jpg", size=(60, 40))
    path = write_json(tmp_path / "boxes.json", {"a.jpg": [[1, 1, 20, 20], [5, 5, 3, 3], [5, 5, 2, 2]]})
    once = run(tmp_path, tmp_path / "img", boxes=str(path))
    again = run(tmp_path, tmp_path / "img", boxes=str(path), retry_failed=True)
    assert tables(once) == tables(again) and again.fresh and (again.instances, again.failures) == (1, 2)


def test_a_category_given_twice_is_refused():
    for words in (["--category", "cat", "--category", "dog"], ["--score", "0.1", "--score", "0.1"]):
        result = CliRunner().invoke(main, ["extract", *words, "--dry-run"])
        assert result.exit_code == 2 and f"{words[0]} is given 2 times" in result.stderr
