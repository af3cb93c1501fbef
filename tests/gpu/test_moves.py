"""What is moved is moved whole: no tensor of a network stays behind. Only the template's surface does, which lives on
the CPU."""

from dataclasses import fields

import pytest
import torch

from dp3d_data.detection import DensePredictor
from dp3d_data.detection.training.compose import Batch
from dp3d_data.detection.training.stream import batch_of
from dp3d_data.loader import KeypointBatch, Loader
from dp3d_model.bodies import BODIES
from dp3d_model.config import EVALUATION_ONLY, preset, presets
from dp3d_model.geometry.surface import Surface
from dp3d_model.losses.objective import Objective
from tests.data.inference.small import small_network
from tests.gpu.test_lifter import SETTINGS, SURFACE, world
from tests.model.toy import source_of, tiny


def left_behind(value, where="meta", path="", seen=None):
    """Where tensors on another device hang, by the names of the attributes and keys that lead there."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, Surface):
        return []
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return [] if value.device.type == where else [path]
    members = dict(enumerate(value)) if isinstance(value, list | tuple) else value if isinstance(value, dict) else {}
    if hasattr(value, "__dict__") and not isinstance(value, type):
        members = vars(value)
    return [name for key, one in members.items() for name in left_behind(one, where, f"{path}.{key}", seen)]


@pytest.mark.parametrize("changes", [*SETTINGS.values(), *({"model.body": body} for body in BODIES)], ids=str)
def test_an_objective_moves_whole(changes):
    objective = Objective(SURFACE, tiny(changes))
    assert left_behind(objective, "cpu") == [] and left_behind(objective) != []
    assert left_behind(objective.to("meta")) == []


@pytest.mark.parametrize("name", [name for name in presets() if name not in EVALUATION_ONLY])
def test_the_model_of_every_preset_moves_whole(name):
    small = {"model.width": 32, "model.bottleneck": 16, "model.blocks": 2, "model.basis": 12}
    assert left_behind(Objective(SURFACE, preset(name, small)).to("meta")) == []


def test_batches_and_observations_move_whole():
    batch = next(iter(Loader(source_of(world(), truth=True), batch_size=4)))
    assert isinstance(batch, KeypointBatch) and left_behind(batch.to("meta")) == []
    lifter = Objective(SURFACE, tiny({"model.projection": "perspective", "model.keypoint_weights": True})).lifter
    assert left_behind(lifter.normalise(batch)) != []


def test_a_dense_network_moves_whole():
    predictor = DensePredictor(small_network(), device="meta")
    assert left_behind(predictor) == []


def test_a_batch_of_images_moves_whole():
    crops = Batch(**{one.name: torch.zeros(1) for one in fields(Batch) if one.name != "crops"})
    assert left_behind(batch_of([], 0, 64, crops).to("meta")) == []
