"""Shards as batches for torch: the loader, datasets for torch's own DataLoader, and the batch that they give."""

from dp3d_data.loader.batch import Batch, collate
from dp3d_data.loader.block import FIELDS, block_of_arrays
from dp3d_data.loader.datasets import InstanceStream, InstanceTable
from dp3d_data.loader.loader import Loader
from dp3d_data.loader.remote import ShardFolder
from dp3d_data.loader.source import BlockSource, Held, Joined, ShardSource, Source

__all__ = [
    "FIELDS",
    "Batch",
    "BlockSource",
    "Held",
    "Joined",
    "InstanceStream",
    "InstanceTable",
    "Loader",
    "ShardFolder",
    "ShardSource",
    "Source",
    "block_of_arrays",
    "collate",
]
