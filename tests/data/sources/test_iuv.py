"""IUV results and images: order of channels, people told apart, and files that are almost right."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from dp3d_data.datasets import BadInstance, DatasetOptions, open_images
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.matching.charts import read_charts
from tests.data.sources.pictures import SIZE, photo
from tests.data.sources.ready_examples import iuv_pixels, people, png, write_iuv_images, write_iuv_results


def instances(name, options):
    source = open_images(name, options)
    reader = source.reader(6890, read_charts(options.charts))
    return {record.image_id: (lambda record=record: reader(record, SIZE)) for record in source.records()}


def test_a_result_lies_at_its_box(tmp_path):
    options = write_iuv_results(tmp_path)
    (first, third), (second,) = (make() for make in instances("iuv-results", options).values())
    assert [one.score for one in (first, second, third)] == pytest.approx([0.9, 0.8, 0.7])
    assert first.box == (2.5, 3.25, 14.5, 12.25) and first.found.origin == (2, 3)
    pixels = iuv_pixels(12, 9, 0)
    inside = pixels[..., 0] > 0
    expected = read_charts(options.charts).search(pixels[inside][:, 0].astype(int), pixels[inside][:, 1:] / 255)
    assert np.array_equal(first.found.mask, inside) and np.array_equal(first.found.vertex_ids[inside], expected)


def test_both_orders_of_channels_mean_the_same(tmp_path):
    """I, U, V as in results, and as OpenCV writes them."""
    for name, pixels in (("a", iuv_pixels(*SIZE)), ("b", iuv_pixels(*SIZE)[..., ::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}_IUV.png")
    found = [make() for make in instances("iuv-images", people(tmp_path, path=str(tmp_path))).values()]
    assert np.array_equal(found[0][0].found.vertex_ids, found[1][0].found.vertex_ids)


def test_people_are_told_apart_by_their_numbers(tmp_path):
    found = {name: make() for name, make in instances("iuv-images", write_iuv_images(tmp_path)).items()}
    assert [one.name for one in found["sub/b.png"]] == ["0", "1"] and [one.name for one in found["a.jpg"]] == ["0"]
    assert [one.box for one in found["sub/b.png"]] == [(1, 1, 39, 15), (1, 15, 39, 29)]
    assert found["a.jpg"][0].box == (1, 1, 39, 29)


def test_only_results_of_people(tmp_path):
    options = write_iuv_results(tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text())
    for entry in entries:
        entry["category_id"] = 7
    (tmp_path / "results.json").write_text(json.dumps(entries))
    with pytest.raises(NothingToDo, match="no result of a person"):
        open_images("iuv-results", options).records()
    assert len(open_images("iuv-results", DatasetOptions(**(vars(options) | {"category_in_file": "7"}))).records()) == 2
    with pytest.raises(UsageError, match="(?s)number of a category.*person"):
        open_images("iuv-results", DatasetOptions(**(vars(options) | {"category_in_file": "person"}))).records()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"uv_data": "§"}, "not a result"),
        ({"uv_data": base64.b64encode(b"no png").decode()}, "not a PNG"),
        ({"uv_data": base64.b64encode(png(iuv_pixels(12, 9))[:90]).decode()}, "not a PNG"),
        ({"uv_data": base64.b64encode(png(iuv_pixels(12, 9)[..., 0])).decode()}, "not an IUV image"),
        ({"uv_data": base64.b64encode(png(iuv_pixels(12, 9) + 20)).decode()}, "parts 0 to 24"),
        ({"uv_shape": [3, 12, 9]}, "another size than uv_shape"),
        ({"bbox": [1, 2]}, "not a result"),
        ({"score": "high"}, "not a result"),
    ],
)
def test_a_damaged_result_fails_alone(change, match, tmp_path):
    options = write_iuv_results(tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text())
    entries[1].update(change)
    (tmp_path / "results.json").write_text(json.dumps(entries))
    first, second = instances("iuv-results", options).values()
    assert len(first()) == 2
    (bad,) = second()
    assert isinstance(bad, BadInstance) and match in str(bad.error)
    assert " at 0x" not in str(bad.error)  # the same rows in every run


def test_one_bad_result_of_an_image_costs_the_others_nothing(tmp_path):
    options = write_iuv_results(tmp_path)
    entries = json.loads((tmp_path / "results.json").read_text())
    entries[0].update(bbox=None)
    entries += [{**entries[2], "image_id": "785"}, {**entries[2], "image_id": [7]}, 7]
    del entries[2]["uv_shape"]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    found = [make() for name, make in instances("iuv-results", options).items() if name.endswith(".jpg")]
    assert [isinstance(one, BadInstance) for one in found[0]] == [True, True, False] and len(found[1]) == 1
    stray = open_images("iuv-results", options).records()[-1]
    assert (stray.path, len(stray.faults)) == ("", 2) and stray.faults[1].startswith("result 1: no image_id, got 7")


def test_iuv_images_that_are_none(tmp_path):
    rng = np.random.default_rng(0)
    photo(tmp_path / "small.jpg")
    for name, pixels in {
        "noise": rng.integers(30, 256, (*SIZE[::-1], 3), dtype=np.uint8),
        "small": iuv_pixels(20, 20),
        "grey": iuv_pixels(*SIZE)[..., 0],
        "numbers": iuv_pixels(*SIZE),
    }.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}_IUV.png")
    Image.fromarray(iuv_pixels(20, 20)).save(tmp_path / "numbers_INDS.png")
    found = instances("iuv-images", people(tmp_path, path=str(tmp_path)))
    assert list(found) == ["grey_IUV.png", "noise_IUV.png", "numbers_IUV.png", "small.jpg"]
    for name, match in zip(
        found, ["not an IUV image", "a channel of parts", "numbers of the people", "another size"], strict=True
    ):
        with pytest.raises(InputCorrupt, match=match):
            found[name]()
