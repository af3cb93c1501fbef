"""Every published network is in the table with the recorded state names, shapes and settings."""

import json
from dataclasses import replace

import pytest
import torch
from detectron2.layers import Conv2d, ShapeSpec

from dp3d_data.detection import build_network, find_spec, zoo_specs
from dp3d_data.detection.dense_layers import MeshEmbedder, NonLocal, low_resolution
from dp3d_data.detection.network import dense_branch
from dp3d_data.detection.zoo import differing_traits, matching_specs
from dp3d_data.errors import UsageError
from dp3d_data.geometry import load_template
from tests.data.inference.small import SMALL
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
    maps = torch.randn(2, 64, 8, 8)
    assert torch.equal(NonLocal(64)(maps), maps)


def decoder_of(strides, before, inside, after):
    spec = replace(SMALL, fpn_channels=before, decoder_channels=inside, decoder_out=after)
    levels = {name: ShapeSpec(channels=before, stride=stride) for name, stride in strides.items()}
    return dense_branch(spec, levels)["decoder"]


def test_the_decoder_brings_every_level_to_the_finest():
    """A map that is one everywhere stays so inside its border, whatever its level."""
    strides = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    decoder = decoder_of(strides, 3, 5, 1)
    maps = {name: torch.ones(2, 3, 512 // stride, 256 // stride) for name, stride in strides.items()}
    for module in decoder.modules():
        if isinstance(module, Conv2d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    found = decoder.layers(maps)
    assert found.shape == (2, 1, 128, 64)
    assert torch.allclose(found[:, 0, 60:68, 31:33], torch.tensor(4.0)), "the sum of the levels"
    assert [sum(isinstance(one, Conv2d) for one in getattr(decoder, name)) for name in strides] == [1, 1, 2, 3]


def test_layers_begin_with_the_spread_of_their_kind():
    """Convolutions as He et al. (2015) have it, what says the maps near zero, embeddings of unit length."""
    convolutions = [one for one in decoder_of({"p3": 8}, 64, 64, 64).modules() if isinstance(one, Conv2d)]
    for one in convolutions:
        spread = (2 / (one.out_channels * one.kernel_size[0] ** 2)) ** 0.5
        assert one.weight.std().item() == pytest.approx(spread, rel=0.1) and not one.bias.any()
    last = low_resolution(64, 32)
    assert last.weight.std().item() == pytest.approx(0.001, rel=0.1) and not last.bias.any()
    assert MeshEmbedder(1, 400, 64).embeddings.std().item() == pytest.approx(1 / 20, rel=0.1)
