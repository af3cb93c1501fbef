"""Instances on disk: the schema, run folders, shards with their manifest, and the reader."""

from dp3d_data.shards.instances import ImageInfo, Truth, instance_batch, instance_row
from dp3d_data.shards.integrity import require_files, verify
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.run_writer import RunWriter
from dp3d_data.shards.runs import Run
from dp3d_data.shards.schema import INSTANCE_SCHEMA, REJECT_SCHEMA, SCHEMA_VERSION

__all__ = [
    "INSTANCE_SCHEMA",
    "REJECT_SCHEMA",
    "SCHEMA_VERSION",
    "ImageInfo",
    "Run",
    "RunWriter",
    "ShardReader",
    "Truth",
    "instance_batch",
    "instance_row",
    "require_files",
    "verify",
]
