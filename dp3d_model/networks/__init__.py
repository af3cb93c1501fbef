"""Networks: from what is seen of an instance to its body and camera."""

from dp3d_model.networks.encoder import Encoder
from dp3d_model.networks.lifter import Canonicaliser, Lifted, Lifter, reproject

__all__ = [
    "Canonicaliser",
    "Encoder",
    "Lifted",
    "Lifter",
    "reproject",
]
