"""What only a GPU can show: processes that share one, messages over NCCL, and how much memory the largest template
takes."""

import numpy as np
import pytest
import torch

from dp3d_data.detection import load_predictor
from dp3d_model.config import preset
from dp3d_model.lifting.prediction import open_to_lift, predict
from dp3d_model.training.trainer import Trainer
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.bench.photographs import make_photographs
from tests.bench.predict_rate import sphere, world
from tests.gpu.devices import ANYWHERE, CUDA
from tests.model.toy import source_of
from tests.processes import together

GIB = 2**30
MESSAGES = """
import sys
from pathlib import Path
import torch, torch.distributed as distributed
from dp3d_data.ranks import Ranks, leave_ranks
backend, device = BACKEND
if device == "cuda":
    torch.cuda.set_device(0)
distributed.init_process_group(backend)
layer = torch.nn.Linear(3, 2).to(device)
layer(torch.ones(4, 3, device=device)).sum().backward()
before = [value.grad.clone() for value in layer.parameters()]
ranks = Ranks(0, 2)  # two are pretended, so that messages are sent; the sum is over the one that is there
ranks.sum_gradients(layer.parameters())
assert all(torch.equal(value.grad, own) for value, own in zip(layer.parameters(), before))
assert ranks.sum(torch.ones(5, device=device)).tolist() == [1.0] * 5
ranks.wait()
leave_ranks()
Path(sys.argv[1], "done").touch()
"""


@pytest.mark.slow
@ANYWHERE
def test_messages_of_one_process(device, tmp_path):
    backend = "nccl" if device == "cuda" else "gloo"
    together(MESSAGES.replace("BACKEND", repr((backend, device))), tmp_path, count=1)
    assert (tmp_path / "done").is_file()


def keypoints_of(folder, photographs, **settings):
    """Instances of a run, by name: their vertices and keypoints."""
    extract(make_plan(ExtractConfig(images=(str(photographs),), out=str(folder), overlays=0, **settings)))
    some = open_to_lift(folder, "all")[0]
    return {name: (some.visible[i].numpy(), some.keypoints[i].numpy()) for i, name in enumerate(some.ids)}


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_two_processes_on_one_device_find_what_one_finds(device, tmp_path):
    photographs = make_photographs(tmp_path / "photographs", 8, 320, 240)
    expected = keypoints_of(tmp_path / "one", photographs, workers=1)
    found = keypoints_of(tmp_path / "two", photographs, workers=2, device=device)
    assert found.keys() == expected.keys() and len(found) > 1
    for name, (visible, keypoints) in expected.items():
        both = visible & found[name][0]
        assert both.sum() > 0.9 * visible.sum()
        assert np.median(np.linalg.norm(keypoints[both] - found[name][1][both], axis=1)) < 1.0


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("name, most", [("quick", 8), ("stanford-dogs", 24)])
def test_512_instances_of_7000_vertices_fit(device, name, most, tmp_path):
    """A step and an optimised prediction; the figures are those that docs/scale.md asks for."""
    surface = sphere(7000)
    instances = world(surface, 512)
    torch.cuda.reset_peak_memory_stats()
    config = preset(name, {"optim": {"batch": 512, "steps": 2, "epochs": 0}})
    trainer = Trainer(surface, source_of(instances), config, tmp_path, device=device)
    lifter = trainer.run()
    print(f"{name}: training {torch.cuda.max_memory_allocated() / GIB:.1f} GiB")
    assert torch.cuda.max_memory_allocated() < most * GIB
    lifter.config = preset(name, {"refine.steps": 3})
    assert sum(len(one.scale) for one in predict(lifter.to(device), instances, batch=512)) == 512


@pytest.mark.parametrize("device", [CUDA])
def test_loading_a_network_keeps_no_second_copy(device):
    before = torch.cuda.memory_allocated()
    predictor = load_predictor("animals-3", device=device, precision="float16", channels_last=True)
    weights = sum(value.numel() * value.element_size() for value in predictor.network.state_dict().values())
    assert torch.cuda.memory_allocated() - before < 1.5 * weights + 2**20
