"""Lifted bodies as meshes, rigs, tables and pictures."""

from dp3d_model.export.gallery import Output, save_turntable, write_predictions
from dp3d_model.export.meshes import Texture, export_mesh, export_textured, texture_of, write_rig

__all__ = [
    "Output",
    "Texture",
    "export_mesh",
    "export_textured",
    "save_turntable",
    "texture_of",
    "write_predictions",
    "write_rig",
]
