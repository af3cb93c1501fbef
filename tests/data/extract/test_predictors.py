"""One contract, every predictor: what extract relies on, for the network itself and for the one that knows the
answers."""

from dataclasses import replace

import numpy as np
import pytest

from dp3d_data.config import file_digest
from dp3d_data.datasets.folder import Samples
from dp3d_data.datasets.images import read_image
from dp3d_data.detection.zoo import RECOGNITION, zoo_specs
from dp3d_data.errors import UsageError
from dp3d_data.geometry import load_template
from dp3d_data.matching import match_detection
from dp3d_data.records import GivenObject, ImageRecord
from pipelines.annotate import Annotator
from pipelines.extract import network_of
from pipelines.settings import ExtractConfig
from tests.data.extract.world import CLASSES, ball, known_object

VERTICES = 162


def bgr():
    """The first sample photograph: a dog, a bicycle, a car."""
    return np.ascontiguousarray(read_image(Samples().records()[0].path).pixels[:, :, ::-1])


def knowing():
    from tests.synthetic_predictor import SyntheticPredictor, image_key

    image = bgr()
    objects = [known_object(image.shape[1], image.shape[0], (130, 220, 315, 540), block=20)]
    return SyntheticPredictor({image_key(image): objects}, VERTICES, CLASSES)


def untrained():
    """The embedded network's architecture with random weights."""
    import torch

    from dp3d_data.detection import DensePredictor, build_network, find_spec

    spec = replace(find_spec("narrow-18"), class_to_mesh={0: "ball"}, mesh_sizes={"ball": VERTICES})
    torch.manual_seed(0)
    network = build_network(spec)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if "embedder" in name:
                value.copy_(torch.randn(value.shape))
    return DensePredictor(network)


@pytest.fixture(scope="module", params=[knowing, untrained], ids=["synthetic", "network"])
def predictor(request):
    return request.param()


def test_vertex_embeddings_are_unit_rows_of_the_category_mesh(predictor):
    rows = predictor.vertex_embeddings(predictor.class_of("dog"))
    assert len(rows) == VERTICES
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_detections_have_the_fields_that_matching_reads(predictor):
    kind = predictor.class_of("dog")
    found = predictor.predict(bgr(), score=0.0, classes=[kind])
    assert found
    index = predictor.vertex_embeddings(kind)
    for one in found[:3]:
        assert len(one.box) == 4 and 0 <= one.score <= 1 and one.class_id == kind
        dense = match_detection(one, index)
        assert dense.vertex_ids.shape == dense.mask.shape
        assert dense.vertex_ids[dense.mask].size == 0 or dense.vertex_ids.max() < VERTICES


def test_nothing_comes_back_from_above_every_score(predictor):
    assert predictor.predict(np.zeros((64, 64, 3), dtype=np.uint8), score=1.0) == []


def test_given_boxes_come_back_in_their_order(predictor):
    boxes = np.array([[130, 220, 315, 540], [10, 10, 60, 90], [130, 220, 315, 540]], dtype=np.float32)
    found = predictor.predict(bgr(), boxes=boxes, classes=[predictor.class_of("dog")])
    np.testing.assert_allclose([one.box for one in found], boxes, atol=1e-3)


def test_an_image_becomes_rows_and_no_failure(predictor):
    template = ball()
    predictor.template_hash = template.content_hash
    annotator = Annotator(ExtractConfig(min_vertices=1), predictor, template, "tested")
    sample = Samples().records()[0]
    record = ImageRecord(sample.image_id, sample.path, objects=(GivenObject((130.0, 220.0, 315.0, 540.0)),))
    rows = annotator.annotate(record)
    assert not rows.failures and len(rows.instances) + len(rows.rejects) == 1
    for row in rows.instances:
        x, y = row["keypoints_x"], row["keypoints_y"]
        assert x.min() >= 130 and x.max() <= 315 and y.min() >= 220 and y.max() <= 540
        assert row["score"] == 1.0 and 0 < row["visible_area"] <= 1 + 1e-6


def test_two_runs_give_the_same_rows(predictor):
    annotator = Annotator(ExtractConfig(score=0.0, min_vertices=1), predictor, ball(), "tested")
    one, other = (annotator.annotate(Samples().records()[0]) for _ in range(2))
    assert len(one.instances) == len(other.instances)
    for a, b in zip(one.instances, other.instances, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["cuda:97", "graphics"])
def test_a_device_that_is_not_there(name):
    from dp3d_data.device import require_device

    require_device("cpu")
    with pytest.raises(UsageError, match=f"no device '{name}' here(.|\n)*expected: cpu"):
        require_device(name)


def test_what_is_not_the_animal_is_dropped_unless_it_is_to_be_kept():
    from dp3d_data.detection import load_predictor

    predictor, template = load_predictor(category="dog"), load_template("dog")
    by_setting = {
        recognise: Annotator(ExtractConfig(recognise=recognise), predictor, template, "network").predictor
        for recognise in (True, False)
    }
    assert by_setting[True].recogniser is not None and by_setting[False] is predictor
    assert ExtractConfig().recognise and predictor.recogniser is None
    both = Annotator(ExtractConfig(mirror=True), predictor, template, "network").predictor
    assert both.recogniser is not None and both.symmetry is not None
    assert by_setting[True].of_category("cow").recogniser is by_setting[True].recogniser


def test_what_tells_animals_shapes_a_run_of_a_network_that_can(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    published = next(name for name, spec in zoo_specs().items() if not spec.crop_side)
    for given, told in (
        ({}, True),
        ({"weights": str(weights)}, True),
        ({"weights": str(weights), "model": published}, False),
    ):
        without, both = (network_of(ExtractConfig(recognise=on, **given))[2] for on in (False, True))
        assert both == (without + file_digest(RECOGNITION) if told else without)


def test_mirror_images_are_looked_at_where_it_is_asked_for_and_left_and_right_are_known():
    from dp3d_data.detection import load_predictor

    predictor, template = load_predictor(category="dog"), load_template("dog")
    plain = Annotator(ExtractConfig(recognise=False), predictor, template, "network")
    both = Annotator(ExtractConfig(mirror=True), predictor, template, "network")
    assert both.index.dim == 2 * plain.index.dim and plain.predictor is predictor
    with pytest.raises(UsageError, match="mirror images cannot be looked at here"):
        Annotator(ExtractConfig(mirror=True), predictor, replace(template, symmetry=None), "network")
