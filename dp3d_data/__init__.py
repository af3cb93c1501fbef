"""Photographs of people and animals to visible template keypoints, filtered and written as Parquet shards."""

__version__ = "0.2.0"
__all__ = ["__version__"]
