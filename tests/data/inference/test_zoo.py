"""Every published network is in the table with the recorded state names, shapes and settings."""

import json

import pytest

from dp3d_data.detection import build_network, find_spec, zoo_specs
from dp3d_data.detection.zoo import differing_traits, matching_specs
from dp3d_data.errors import UsageError
from dp3d_data.geometry import load_template
from tests.shared import shared

PUBLISHED = [name for name in zoo_specs() if not name.startswith(("animals-", "narrow-"))]
HEADS = {"conv": "DensePoseV1ConvXHead", "deeplab": "DensePoseDeepLabHead"}


@pytest.fixture(scope="module")
def facts():
    return json.loads(shared("parity/zoo_facts.json").read_text(encoding="utf-8"))


def shapes_of(spec):
    return {name: tuple(value.shape) for name, value in build_network(spec, "meta").state_dict().items()}


def test_the_table_holds_what_is_published(facts):
    assert set(PUBLISHED) == set(facts) and len(facts) == 39


@pytest.mark.parametrize("name", PUBLISHED)
def test_state_names_and_shapes(name, facts):
    shapes, told = shapes_of(find_spec(name)), facts[name]
    assert len(shapes) == told["state_count"]
    assert {key: list(shapes[key]) for key in told["state"]} == told["state"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings(name, facts):
    spec, told = find_spec(name), facts[name]
    assert {str(key): mesh for key, mesh in spec.class_to_mesh.items()} == told["class_to_mesh"]
    assert spec.checkpoint_url == told["checkpoint_url"]
    assert (spec.depth, HEADS[spec.head], spec.num_classes) == (told["depth"], told["head"], told["num_classes"])
    assert (spec.min_side, spec.max_side) == (told["min_size_test"], told["max_size_test"])
    assert (spec.score_threshold, spec.nms_threshold) == (told["score_thresh_test"], told["nms_thresh_test"])
    assert [spec.pooling, spec.pool_size, 2] == told["pooler"]
    assert list(spec.proposals) == told["rpn"]
    assert list(spec.pixel_mean) == told["pixel_mean"] and list(spec.pixel_std) == told["pixel_std"]
    assert spec.pool_size * 4 == told["heatmap_size"]
    uv, segm = told["uv_confidence"], told["segm_confidence"]
    assert spec.uv_confidence == (uv["TYPE"] if uv["ENABLED"] else None)
    assert spec.segm_confidence == segm["ENABLED"]


@pytest.mark.parametrize("name", [*PUBLISHED[::5], "narrow-18-dl", "narrow-34-dl", "animals-3"])
def test_a_state_is_recognised(name):
    spec = find_spec(name)
    shapes = shapes_of(spec)
    assert differing_traits(spec, shapes) == []
    assert spec in matching_specs(shapes)


@pytest.mark.parametrize("name", ["narrow-18", "narrow-18-dl", "narrow-34-dl"])
def test_the_small_networks_fit_the_built_in_dog(name):
    spec = find_spec(name)
    assert spec.mesh_sizes == {"dog": load_template("dog").num_vertices}
    parameters = sum(one.numel() for one in build_network(spec, "meta").parameters())
    assert parameters < 7.5e6


def test_unknown_model_names_the_near_ones():
    with pytest.raises(UsageError, match="narrow-18"):
        find_spec("narow-18")


def test_the_non_local_block_starts_as_nothing():
    import torch

    from dp3d_data.detection.dense_layers import NonLocal

    maps = torch.randn(2, 64, 8, 8)
    assert torch.equal(NonLocal(64)(maps), maps)
