"""Networks: from what is seen of an instance to its body and camera."""

from dp3d_model.networks.canonicaliser import Canonicaliser
from dp3d_model.networks.lifter import Lifted, Lifter, reproject
from dp3d_model.networks.observation import Observation, observe

__all__ = [
    "Canonicaliser",
    "Lifted",
    "Lifter",
    "Observation",
    "observe",
    "reproject",
]
