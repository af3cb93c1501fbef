"""Instances on disk: the schema, run folders, shards with their manifest, and the reader."""

from dp3d_data.shards.instances import Correspondence, ImageInfo, Row, Truth, instance_batch, instance_row
from dp3d_data.shards.runs import Run, RunWriter
from dp3d_data.shards.schema import FAILURE_SCHEMA, INSTANCE_SCHEMA, REJECT_SCHEMA, SCHEMA_VERSION

__all__ = [
    "FAILURE_SCHEMA",
    "INSTANCE_SCHEMA",
    "REJECT_SCHEMA",
    "SCHEMA_VERSION",
    "Correspondence",
    "ImageInfo",
    "Row",
    "Run",
    "RunWriter",
    "Truth",
    "instance_batch",
    "instance_row",
]
