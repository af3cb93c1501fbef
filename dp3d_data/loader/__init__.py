"""Shards as batches for torch: the loader, and datasets for torch's own DataLoader."""

from dp3d_data.loader.loader import InstanceDataset, InstanceStream, Loader
from dp3d_data.loader.source import Source, joined_source, shard_source, table_source
from dp3d_data.shards.batch import KeypointBatch, collate
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.table import InstanceTable

__all__ = [
    "InstanceDataset",
    "InstanceStream",
    "InstanceTable",
    "KeypointBatch",
    "Loader",
    "ShardReader",
    "Source",
    "collate",
    "joined_source",
    "shard_source",
    "table_source",
]
