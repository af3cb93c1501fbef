"""Lifted bodies as meshes, rigs, tables and pictures."""

from dp3d_model.export.gallery import Output, Written, write_predictions
from dp3d_model.export.meshes import export_mesh, export_textured
from dp3d_model.export.pictures import save_turntable
from dp3d_model.export.rig import write_rig
from dp3d_model.export.table import PredictionTable
from dp3d_model.export.texture import Texture, texture_of

__all__ = [
    "Output",
    "PredictionTable",
    "Texture",
    "Written",
    "export_mesh",
    "export_textured",
    "save_turntable",
    "texture_of",
    "write_predictions",
    "write_rig",
]
