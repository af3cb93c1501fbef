"""Does a crop show the animal at all? A box branch that has learned from renders calls people and cats dogs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.zoo import RECOGNITION
from dp3d_data.errors import InputCorrupt
from dp3d_data.files import DAMAGE

NAMES = ("trunk", "mesh", "likeness", "members", "bias", "offsets", "widen", "widen_scale", "classes", "classes_scale")


class Recogniser(nn.Module):
    """The probability that a crop shows an animal, by the ImageNet classes that the trunk was first trained for (ours).

    Training for boxes and vertices moves the features of a trunk, but its first classifier still tells dogs from people
    by them. This is the classifier of the published weights, rounded.

    Args:
        arrays: widen [wide, c] and bias [wide], the last convolution with its norm; classes [k, wide] and offsets [k],
            the logits of ImageNet's classes; members [k], which of them are of the animal.
        mesh: name of the mesh of the network's classes that it tells.
        likeness: the least probability of what is taken for the animal.
    """

    widen: torch.Tensor
    bias: torch.Tensor
    classes: torch.Tensor
    offsets: torch.Tensor
    members: torch.Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray], mesh: str, likeness: float) -> None:
        super().__init__()
        for name in ("widen", "bias", "classes", "offsets", "members"):
            self.register_buffer(name, torch.from_numpy(arrays[name]))
        self.mesh, self.likeness = mesh, likeness

    def forward(self, deepest: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n"]:
        """The probability of the animal.

        Args:
            deepest: the trunk's level res5 of each crop.
        """
        cells = deepest.float().flatten(2).transpose(1, 2)
        pooled = nn.functional.relu6(cells @ self.widen.T + self.bias).mean(dim=1)
        logits = pooled @ self.classes.T + self.offsets
        return logits.softmax(dim=1)[:, self.members].sum(dim=1)


def doubled(score: float) -> float:
    """The score with twice the odds: most of what is no animal is gone from what is recognised (ours)."""
    return 2 * score / (1 + score)


def halved(score: float) -> float:
    """The score with half the odds, which comes to `score` once it is recognised."""
    return score / (2 - score)


def trunk_digest(trunk: nn.Module) -> str:
    """The SHA-256 of a trunk's numbers: what a recogniser says holds for one trunk alone."""
    digest = hashlib.sha256()
    for name, value in sorted(trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def recogniser_of(trunk: nn.Module) -> Recogniser | None:
    """The shipped recogniser, where it belongs to this very trunk.

    Raises:
        InputCorrupt: the file of the package is not what it was.
    """
    stored = _stored()
    if str(stored["trunk"]) != trunk_digest(trunk):
        return None
    whole = {name: stored[name] * stored[f"{name}_scale"][:, None] for name in ("widen", "classes")}
    return Recogniser(stored | whole, str(stored["mesh"]), float(stored["likeness"]))


@lru_cache(maxsize=1)
def _stored() -> dict[str, np.ndarray]:
    try:
        with np.load(RECOGNITION, allow_pickle=False) as file:
            return {name: file[name] for name in NAMES}
    except DAMAGE as error:
        raise InputCorrupt("not the shipped recogniser", path=RECOGNITION, hint="install dp3d anew") from error
