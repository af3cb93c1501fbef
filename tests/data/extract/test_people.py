"""Recorded outputs of the reference carried through a whole run: photograph and boxes in, rows of keypoints out."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dp3d_data.detection import DensePredictor
from dp3d_data.errors import TemplateError, UsageError
from dp3d_data.geometry import make_template
from dp3d_data.matching import integer_box, view_of
from dp3d_data.records import DensePrediction
from pipelines.annotate import Annotator
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.data.extract.test_sources import person, rows_of
from tests.data.extract.world import ball
from tests.data.inference.recorded import network_of, recorded
from tests.references.charts import chart_keypoints, read_mat
from tests.shared import shared


def recorded_predictor(record):
    """The recorded network, which sees its photograph at the size at which it was recorded."""
    height, width = record["image_bgr_chw"].shape[1:]
    network = network_of(record)
    network.spec = replace(network.spec, min_side=min(height, width), max_side=max(height, width))
    predictor = DensePredictor(network)
    if network.spec.kind == "cse":
        predictor.class_of = lambda category: 0
    return predictor


def run(name, folder, boxes, template, **more):
    """Extract the recorded photograph with the recorded network and these boxes."""
    record = recorded(name)
    (folder / "photos").mkdir()
    Image.fromarray(np.ascontiguousarray(record["image_bgr_chw"].transpose(1, 2, 0)[..., ::-1])).save(
        folder / "photos" / "a.png"
    )
    lines = ["image,x0,y0,x1,y1", *(",".join(["a.png", *map(repr, map(float, box))]) for box in boxes)]
    (folder / "boxes.csv").write_text("\n".join(lines))
    template.save(folder / "template.npz")
    values = {
        "images": (str(folder / "photos"),),
        "boxes": str(folder / "boxes.csv"),
        "template": str(folder / "template.npz"),
    }
    values |= {"out": str(folder / "run"), "workers": 1, "min_vertices": 1, "overlays": 0}
    return rows_of(extract(make_plan(ExtractConfig(**values, **more), lambda: recorded_predictor(record))))


def assert_keypoints(row, expected, allowed=0):
    """Every keypoint to 1e-3 pixel, but for `allowed` vertices: a pixel whose choice rounding decides moves two of
    them."""
    found = dict(zip(row["vertex_ids"], zip(row["keypoints_x"], row["keypoints_y"], strict=True), strict=True))
    differ = set(found) ^ set(expected)
    differ |= {
        vertex
        for vertex in set(found) & set(expected)
        if np.abs(np.subtract(found[vertex], expected[vertex][:2])).max() >= 1e-3
    }
    assert len(differ) <= allowed and len(expected) > 20, sorted(differ)


@pytest.mark.slow
def test_keypoints_of_a_chart_network(tmp_path):
    record, mat = recorded("chart"), shared("data/densepose/UV_Processed.mat")
    boxes = record["given_boxes_xyxy"]
    rows = run("chart", tmp_path, boxes, person(), category="person", charts=str(mat))
    for number in range(len(boxes)):
        uv = np.clip(record[f"chart/{number}/uv"], 0, 1)
        corner = integer_box(boxes[number])[:2]
        expected = chart_keypoints(record[f"chart/{number}/labels"], uv, corner, read_mat(mat))
        assert_keypoints(rows[f"a.png#{number}"], expected, allowed=len(expected) // 50)
        assert rows[f"a.png#{number}"]["category"] == "person"


def test_keypoints_of_an_embedding_network(tmp_path):
    record = recorded("cse")
    count = len(record["vertex_embeddings/toy_a"])
    surface = make_template("toy", np.random.default_rng(0).normal(size=(count, 3)), ball().faces)
    chosen = np.flatnonzero(record["classes"] == 0)
    rows = run("cse", tmp_path, record["given_boxes_xyxy"][chosen], surface)
    for number, place in enumerate(chosen):
        known = record[f"closest/{place}/vertices"].astype(np.int32), record[f"closest/{place}/mask"]
        view = view_of(DensePrediction(integer_box(record["given_boxes_xyxy"][place])[:2], *known), count)
        expected = dict(zip(view.ids.tolist(), view.keypoints, strict=True))
        assert_keypoints(rows[f"a.png#{number}"], expected, allowed=len(expected) // 50)


def test_charts_and_networks_that_do_not_belong_together():
    chart, cse = recorded_predictor(recorded("chart")), recorded_predictor(recorded("cse"))
    mat = str(shared("data/densepose/UV_Processed.mat"))
    with pytest.raises(UsageError, match="(?s)answers in charts of the body.*--charts UV_Processed.mat"):
        Annotator(ExtractConfig(category="person"), chart, person(), "m")
    with pytest.raises(UsageError, match="knows no charts"):
        Annotator(ExtractConfig(category="person", charts=mat), cse, person(), "m")
    with pytest.raises(TemplateError, match="(?s)name the vertices of another body.*got: 162 vertices.*6890.*27554"):
        Annotator(ExtractConfig(category="person", charts=mat), chart, ball(), "m")
    with pytest.raises(UsageError, match="knows people only"):
        Annotator(ExtractConfig(category="dog", charts=mat), chart, person(), "m")
