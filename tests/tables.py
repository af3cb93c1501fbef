"""Dense arrays as a table of instances."""

import numpy as np

from dp3d_data.shards.table import InstanceTable


def table_of(keypoints: np.ndarray, visible: np.ndarray, intrinsics: np.ndarray | None = None) -> InstanceTable:
    """keypoints [N, K, 2] image pixels, visible [N, K], intrinsics [N, 4] or None."""
    rows, vertex_ids = np.nonzero(visible)
    offsets = np.concatenate([[0], np.cumsum(visible.sum(axis=1))])
    points = np.ascontiguousarray(keypoints[rows, vertex_ids], dtype=np.float32)
    index = np.arange(len(visible))
    return InstanceTable(visible.shape[1], offsets, vertex_ids.astype(np.int32), points, index, intrinsics=intrinsics)
