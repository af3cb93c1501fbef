"""Networks: from what is seen of an instance to its body and camera."""

from dp3d_model.networks.encoder import Encoder
from dp3d_model.networks.lifter import Lifted, Lifter, reproject

__all__ = [
    "Encoder",
    "Lifted",
    "Lifter",
    "reproject",
]
