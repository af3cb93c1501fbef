"""From a network's answer to template vertices: resize, nearest vertex, mean pixel of every vertex. Arrays in, arrays
out."""

from dp3d_data.matching.charts import ChartIndex, chart_pixels
from dp3d_data.matching.dense import (
    chart_prediction,
    cut_to,
    cycle_weights,
    dense_prediction,
    match_detection,
    pool_pixels,
    view_of,
)
from dp3d_data.matching.nearest import VertexIndex, nearest_vertices
from dp3d_data.matching.resampling import integer_box, object_mask, resize_to

__all__ = [
    "ChartIndex",
    "VertexIndex",
    "chart_pixels",
    "chart_prediction",
    "cut_to",
    "cycle_weights",
    "dense_prediction",
    "integer_box",
    "match_detection",
    "nearest_vertices",
    "object_mask",
    "pool_pixels",
    "resize_to",
    "view_of",
]
