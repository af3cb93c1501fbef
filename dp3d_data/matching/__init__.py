"""From a network's answer to template vertices: resize, nearest vertex, mean pixel of each. Arrays in, arrays out."""

from dp3d_data.matching.charts import ChartIndex
from dp3d_data.matching.dense import (
    chart_pixels,
    chart_prediction,
    cut_to,
    cycle_weights,
    dense_prediction,
    integer_box,
    match_detection,
    object_mask,
    pool_pixels,
    resize_to,
    view_of,
)
from dp3d_data.matching.nearest import VertexIndex, nearest_vertices

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
