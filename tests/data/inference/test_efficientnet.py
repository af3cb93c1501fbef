"""The EfficientNet-Lite trunk: strides, and folded norms against norms written out."""

import torch
from torch import nn

from dp3d_data.detection.backbones import EPSILON, EfficientNetLite, FrozenBatchNorm2d, normed


def test_levels_of_odd_sizes_round_up():
    with torch.no_grad():
        levels = EfficientNetLite("lite0")(torch.zeros(1, 3, 75, 101))
    sizes = {name: tuple(level.shape[-2:]) for name, level in levels.items()}
    assert sizes == {"res2": (19, 26), "res3": (10, 13), "res4": (5, 7), "res5": (3, 4)}


def test_a_folded_norm_is_a_norm_after_the_convolution():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3, 2, bias=False).double(), FrozenBatchNorm2d(4).double()
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        value.uniform_(0.5, 2)
    maps = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    plain = convolution(nn.functional.pad(maps, (0, 1, 0, 1)))
    mean, var, weight, bias = (
        one[:, None, None] for one in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    wanted = (plain - mean) / (var + EPSILON).sqrt() * weight + bias
    assert torch.allclose(normed(convolution, norm, maps), wanted)
