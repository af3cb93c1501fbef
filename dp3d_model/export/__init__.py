"""Lifted bodies as meshes, rigs, tables and pictures."""

from dp3d_model.export.gallery import save_turntable, write_predictions
from dp3d_model.export.meshes import (
    Texture,
    export_mesh,
    export_textured,
    prediction_rows,
    prediction_table,
    texture_of,
    write_rig,
)

__all__ = [
    "Texture",
    "export_mesh",
    "export_textured",
    "prediction_rows",
    "prediction_table",
    "save_turntable",
    "texture_of",
    "write_predictions",
    "write_rig",
]
