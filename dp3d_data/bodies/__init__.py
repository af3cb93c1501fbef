"""Body models: SMPL, SMAL and kin: their files, families and posing."""

from dp3d_data.bodies.files import bodies_folder, import_body_model, imported_bodies, load_body_model, save_body_model
from dp3d_data.bodies.model import BodyModel, rest_template
from dp3d_data.bodies.posing import BodyTensors, body_tensors, pose_body

__all__ = [
    "BodyModel",
    "BodyTensors",
    "bodies_folder",
    "body_tensors",
    "import_body_model",
    "imported_bodies",
    "load_body_model",
    "pose_body",
    "rest_template",
    "save_body_model",
]
