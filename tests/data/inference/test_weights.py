"""Weights belong to their network, wholly, or are refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.detection import (
    build_network,
    check_file,
    find_spec,
    load_predictor,
    read_checkpoint,
    save_weights,
    shipped_weights,
)
from dp3d_data.detection.spec import class_and_mesh
from dp3d_data.detection.weights import fill
from dp3d_data.detection.zoo import as_trained
from dp3d_data.errors import CheckpointError, InputMissing, UsageError
from tests.data.inference.small import SMALL, small_network, write_pickle, write_published

BEARS = "cse/densepose_rcnn_R_50_FPN_soft_animals_I0_finetune_16k"


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published") / "model.pth", find_spec(BEARS))


def loaded(network, path):
    """Fill a network from a file; the notes beside the weights."""
    state, notes = read_checkpoint(path)
    fill(network, state, path)
    return notes


def test_saved_weights_come_back_in_half_precision(tmp_path):
    network = small_network()
    save_weights(network, tmp_path / "w.pth", template_hash="abc")
    other = build_network(SMALL)
    notes = loaded(other, tmp_path / "w.pth")
    assert notes["template_hash"] == "abc" and notes["mesh_sizes"] == {"dog": 40}
    for name, value in network.state_dict().items():
        back = other.state_dict()[name]
        assert back.dtype == value.dtype and torch.allclose(back.double(), value.double(), rtol=1e-3, atol=1e-6), name


def test_small_weights_take_half_the_space_and_lose_a_two_hundredth(tmp_path):
    """A two-hundredth of the largest number of each output channel at most; small arrays only what 16 bits lose."""
    network = small_network()
    save_weights(network, tmp_path / "half.pth")
    save_weights(network, tmp_path / "small.pth", small=True)
    assert (tmp_path / "small.pth").stat().st_size < 0.75 * (tmp_path / "half.pth").stat().st_size
    other = build_network(SMALL)
    loaded(other, tmp_path / "small.pth")
    for name, value in network.state_dict().items():
        back = other.state_dict()[name]
        assert back.dtype == value.dtype, name
        largest = value.abs().double().flatten(1).amax(1) if value.dim() > 1 else value.abs().double()
        apart = (back.double() - value.double()).abs()
        apart = apart.flatten(1).amax(1) if value.dim() > 1 else apart
        assert (apart <= 0.005 * largest + 1e-6).all(), name


def test_a_whole_published_file_is_checked_and_named(animals):
    spec, state, _, others = check_file(animals)
    assert spec.name == BEARS and len(state) == 349
    assert [name.rpartition("animals_")[2] for name in others] == [
        "I0_finetune_i2m_16k",
        "finetune_16k",
        "finetune_maskonly_24k",
    ]


def test_constants_of_older_files_do_not_matter(tmp_path):
    state = {name: value.numpy() for name, value in small_network().state_dict().items()}
    state |= {"pixel_mean": np.zeros((3, 1, 1)), "proposal_generator.anchor_generator.cell_anchors.0": np.zeros((3, 4))}
    network = build_network(SMALL)
    loaded(network, write_pickle(tmp_path / "w.pkl", {"model": state}))
    assert all(np.array_equal(value.numpy(), state[name]) for name, value in network.state_dict().items())


def test_weights_of_another_model_name_it(animals):
    with pytest.raises(CheckpointError, match="do not belong to narrow-18") as caught:
        check_file(animals, "narrow-18")
    assert "missing" in str(caught.value) and f"--model {BEARS}" in str(caught.value)


def test_one_array_too_few_or_too_many_is_refused(tmp_path):
    state = {name: value.numpy() for name, value in small_network().state_dict().items()}
    name = "roi_heads.box_head.fc1.bias"
    one_more = {name: state[name], "extra": np.zeros(1)}
    for change, text in (({}, "1 missing"), (one_more, "1 unexpected: extra"), ({name: np.zeros(3)}, "another shape")):
        changed = {key: value for key, value in state.items() if key != name} | change
        with pytest.raises(CheckpointError, match=text):
            loaded(build_network(SMALL), write_pickle(tmp_path / "w.pkl", changed))


def test_foreign_weights_get_the_nearest_model(tmp_path):
    layers = {
        "backbone.bottom_up.res4.22.conv3.weight": (4, 4),
        "roi_heads.densepose_predictor.u_lowres.weight": (512, 25, 4, 4),
    }
    state = {name: np.zeros(shape) for name, shape in layers.items()}
    with pytest.raises(CheckpointError, match="nearest model is densepose_rcnn_R_101"):
        check_file(write_pickle(tmp_path / "w.pkl", state))


@pytest.mark.parametrize(
    ("embeddings", "text"),
    [
        (0.0, "40 of 40 vertices with zero embedding"),
        (1.0, "the same embedding for every vertex"),
        (float("nan"), "not finite"),
    ],
)
def test_embeddings_that_say_nothing_are_refused(tmp_path, embeddings, text):
    """Zero embeddings make every pixel vertex 0 without a word, as users of other tools met."""
    state = {name: value.numpy() for name, value in small_network().state_dict().items()}
    base = "roi_heads.embedder.embedder_dog."
    state[base + "embeddings"] = np.full((8, 16), embeddings, dtype=np.float32)
    state[base + "features"] = np.ones((40, 8), dtype=np.float32)
    with pytest.raises(CheckpointError, match=text):
        loaded(build_network(SMALL), write_pickle(tmp_path / "w.pkl", state))


def test_class_and_mesh_of_a_category():
    assert class_and_mesh(find_spec(BEARS), "dog") == (3, "dog_7466")
    agnostic = find_spec("cse/densepose_rcnn_R_50_FPN_soft_animals_CA_finetune_4k")
    assert class_and_mesh(agnostic, "dog") == (0, "dog_5002")
    assert class_and_mesh(find_spec("narrow-18"), "dog") == (0, "dog")
    assert class_and_mesh(find_spec("densepose_rcnn_R_50_FPN_s1x"), "person") == (0, "")


@pytest.mark.parametrize(
    ("model", "category"), [(BEARS, "person"), ("densepose_rcnn_R_50_FPN_s1x", "dog"), ("narrow-18", "cat")]
)
def test_a_network_that_does_not_know_the_category_says_so(model, category):
    with pytest.raises(UsageError, match="does not know|knows people only"):
        class_and_mesh(find_spec(model), category)


def test_weights_that_are_not_here_say_where_they_are():
    with pytest.raises(InputMissing, match="model_final_421d28.pkl"):
        shipped_weights(find_spec(BEARS))
    with pytest.raises(InputMissing, match="never published"):
        shipped_weights(find_spec(BEARS.replace("I0_", "")))
    with pytest.raises(InputMissing, match="train-cse"):
        shipped_weights(replace(SMALL, name="of-mine"))


def test_a_category_without_a_network_says_so():
    with pytest.raises(UsageError, match="no network is shipped for 'zebra'"):
        load_predictor(category="zebra")


def test_the_side_that_images_are_scaled_to_can_be_chosen():
    own, half = (load_predictor(category="dog", side=side) for side in (0, 96))
    assert (own.spec.min_side, own.spec.max_side) == (256, 448) and (half.spec.min_side, half.spec.max_side) == (
        96,
        168,
    )
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    assert own.prepare(image).pixels.shape == (256, 341, 3) and half.prepare(image).pixels.shape == (96, 128, 3)
    assert own.prepare(image[:, :60]).pixels.shape == (448, 56, 3) and half.prepare(image[:, :60]).pixels.shape == (
        168,
        21,
        3,
    )


def test_a_file_remembers_the_size_of_images_that_it_was_trained_for(tmp_path):
    spec = find_spec("narrow-18").looking_at(96)
    save_weights(small_network(spec), tmp_path / "small.pth")
    read = load_predictor(weights=tmp_path / "small.pth", category="dog").spec
    assert read == spec and (read.min_side, read.max_side) == (96, 168)


@pytest.mark.parametrize("sides", [(0, 100), (200, 100), (192, 10**9), ("192", 336), (192, None)])
def test_a_size_that_no_training_has_is_refused(sides):
    with pytest.raises(CheckpointError, match="name no size of images"):
        as_trained(find_spec("narrow-18"), {"min_side": sides[0], "max_side": sides[1]})
