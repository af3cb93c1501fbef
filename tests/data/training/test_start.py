"""Where a training starts: random weights, an embedded network, or a network that gets a new mesh."""

from dataclasses import replace

import pytest
import torch

from dp3d_data.detection import build_network, find_spec, read_checkpoint
from dp3d_data.detection.training.adoption import align_field, fit_field, use_spectrum
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.start import OWN, start_of
from dp3d_data.detection.training.stream import Kind
from dp3d_data.detection.training.trainer import targets_of
from dp3d_data.detection.weights import fill
from dp3d_data.errors import CheckpointError, InputMissing
from dp3d_data.geometry import load_template, make_template
from tests.data.inference.small import SMALL, made_weights, small_network


@pytest.fixture(scope="module")
def ball():
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=3)
    return make_template("ball", mesh.vertices * [1.0, 0.8, 0.6], mesh.faces)


@pytest.fixture(scope="module")
def shipped():
    return read_checkpoint(made_weights("narrow-18"))[0]


def start(template, **settings):
    if settings.get("weights", "") in ("narrow-18", "narrow-18-dl"):
        settings["weights"] = str(made_weights(settings["weights"]))
    config = TrainCseConfig(**{"model": "narrow-18", **settings})
    kinds = (Kind("dog", template, True, 1.0),)
    return start_of(kinds, config, targets_of(kinds, config))[0]


@pytest.mark.slow
def test_random_weights_begin_with_a_field_that_knows_the_surface(ball):
    """Vertices near each other have embeddings near each other, and the far ones are told apart."""
    config = TrainCseConfig(model="narrow-18")
    kinds = (Kind("dog", ball, True, 1.0),)
    targets = targets_of(kinds, config)["ball"]
    begun, learned = start_of(kinds, config, {"ball": targets})
    assert begun.spec.class_to_mesh == {0: "ball"} and learned == {0: targets}
    assert begun.spec.min_side == config.image_size
    with torch.no_grad():
        field = begun.embedder("ball")()
    apart = torch.cdist(field, field)
    near, far = targets.distances < 0.1, targets.distances > 0.6
    assert apart[near].max() < 0.5 * apart[far].min()


@pytest.mark.slow
def test_a_fitted_field_is_far_better_than_a_random_one(ball):
    config = TrainCseConfig(model="narrow-18")
    kinds = (Kind("dog", ball, True, 1.0),)
    targets = targets_of(kinds, config)
    network, _ = start_of(kinds, config, targets)
    again = fit_field(network, "ball", targets["ball"], config.embedding_sigma, seed=3)
    use_spectrum(network, ball, "ball")
    assert again < 0.1
    assert fit_field(network, "ball", targets["ball"], config.embedding_sigma, seed=3) == pytest.approx(again, rel=1e-4)


def test_places_that_lie_alike_in_their_boxes_begin_with_the_same_embeddings(ball):
    long = make_template("long", ball.vertices * [3.0, 0.5, 1.0], ball.faces)
    spec = replace(SMALL, mesh_sizes={"ball": ball.num_vertices, "long": long.num_vertices}, embed_features=12)
    network = small_network(spec)
    for template in (ball, long):
        use_spectrum(network, template, template.name)
    with torch.no_grad():
        network.embedder("ball").embeddings[5:] = 0
        align_field(network, long, ball)
        assert (network.embedder("long")() * network.embedder("ball")()).sum(dim=1).min() > 0.9


def test_weights_of_the_same_mesh_are_taken_whole(shipped):
    begun = start(load_template("dog"), weights="narrow-18")
    assert begun.spec.name == "narrow-18"
    for name, value in begun.state_dict().items():
        torch.testing.assert_close(value, shipped[name].to(value.dtype))


@pytest.mark.slow
def test_fresh_embeddings_change_nothing_but_the_embeddings(shipped):
    begun = start(load_template("dog"), weights="narrow-18", fresh_embeddings=True)
    changed = [
        name for name, value in begun.state_dict().items() if not torch.equal(value, shipped[name].to(value.dtype))
    ]
    assert changed and all("embedder_dog" in name for name in changed)


@pytest.mark.slow
def test_another_mesh_stands_beside_those_of_the_weights(ball, shipped):
    begun = start(ball, weights="narrow-18", category="cow")
    assert begun.spec.class_to_mesh == {0: "ball"} and set(begun.spec.mesh_sizes) == {"dog", "ball"}
    state = begun.state_dict()
    new = "roi_heads.embedder.embedder_ball."
    assert {name for name in state if name not in shipped} == {new + "features", new + "embeddings"}
    assert all(torch.equal(state[name], value.to(state[name].dtype)) for name, value in shipped.items())
    assert state[new + "features"].abs().max() > 0


def test_weights_that_are_not_there_or_none(ball, tmp_path):
    with pytest.raises(InputMissing):
        start(ball, weights=str(tmp_path / "none.pth"))
    torch.save({"model": {}}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError):
        start(ball, weights=str(tmp_path / "empty.pth"))


@pytest.mark.slow
def test_the_trunk_alone_goes_under_a_head_of_its_own(shipped):
    """narrow-18-dl has another dense head than the weights, which are refused as a whole."""
    dog = load_template("dog")
    with pytest.raises(CheckpointError, match="do not belong to narrow-18-dl"):
        fill(build_network(find_spec("narrow-18-dl")), shipped, "narrow-18.pth")
    begun = start(dog, model="narrow-18-dl", weights="narrow-18", take="trunk")
    state = begun.state_dict()
    assert begun.spec.name == "narrow-18-dl"
    taken = [name for name in state if not name.startswith(OWN["trunk"])]
    assert any(name.startswith("roi_heads.decoder") for name in taken)
    assert all(torch.equal(state[name], shipped[name].to(state[name].dtype)) for name in taken)


def test_a_grown_network_begins_as_the_one_it_grew_from():
    dog = load_template("dog")
    grown = start(dog, model="narrow-34-dl", weights="narrow-18-dl", take="grown")
    assert (grown.spec.name, grown.spec.depth) == ("narrow-34-dl", 34)
    small, large = start(dog, model="narrow-18-dl", weights="narrow-18-dl").eval(), grown.eval()
    assert len(large.state_dict()) > len(small.state_dict())
    images = torch.randint(256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    boxes = [torch.tensor([[4.0, 8.0, 60.0, 50.0]])]
    with torch.no_grad():
        said, again = (network.backbone(network.normalised(images)) for network in (small, large))
        assert all(torch.equal(level, again[name]) for name, level in said.items())
        maps = small.dense_maps(small.pooled(said, boxes))
        same = large.dense_maps(large.pooled(again, boxes))
    assert all(torch.equal(maps[name], same[name]) for name in ("embedding", "coarse_segm"))


@pytest.mark.slow
def test_a_grown_network_with_fresh_embeddings():
    settings = {"model": "narrow-34-dl", "weights": "narrow-18-dl", "take": "grown"}
    one, other = (
        start(load_template("dog"), **settings, fresh_embeddings=fresh).state_dict() for fresh in (False, True)
    )
    changed = {name for name, value in one.items() if not torch.equal(value, other[name])}
    assert "roi_heads.embedder.embedder_dog.embeddings" in changed and all("embedder_dog" in name for name in changed)


def test_layers_of_a_grown_network_learn():
    """They add nothing at first, and their last scale has a gradient: the others have theirs once it is no longer
    zero."""
    grown = start(load_template("dog"), model="narrow-34-dl", weights="narrow-18-dl", take="grown")
    images = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    grown.train().backbone(grown.normalised(images))["p2"].square().mean().backward()
    scales = [grown.backbone.bottom_up.res4[block].conv2.norm.weight for block in (2, 5)]
    assert all(float(scale.detach().abs().max()) == 0 < float(scale.grad.abs().max()) for scale in scales)


def test_only_residual_blocks_may_be_missing_from_a_network_that_grows():
    with pytest.raises(CheckpointError, match="do not belong to narrow-34-dl"):  # narrow-18 has no atrous head
        start(load_template("dog"), model="narrow-34-dl", weights="narrow-18", take="grown")


@pytest.mark.slow
def test_everything_but_the_meshes_goes_to_another_animal(ball, shipped):
    begun = start(ball, model="narrow-18", weights="narrow-18", take="network", category="cow")
    assert begun.spec.class_to_mesh == {0: "ball"} and set(begun.spec.mesh_sizes) == {"ball"}
    state = begun.state_dict()
    taken = {name for name in state if "embedder" not in name}
    assert taken == {name for name in shipped if "embedder" not in name}
    assert all(torch.equal(state[name], shipped[name].to(state[name].dtype)) for name in taken)
    assert {name.removeprefix("roi_heads.embedder.embedder_ball.") for name in set(state) - taken} == {
        "features",
        "embeddings",
    }


@pytest.mark.slow
def test_a_network_is_for_images_of_the_size_that_it_is_trained_on(ball):
    assert start(ball, image_size=288).spec.min_side == 288 and start(ball, image_size=288).spec.max_side == 504
    assert start(load_template("dog"), weights="narrow-18", image_size=128).spec.min_side == 128
