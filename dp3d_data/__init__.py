"""Photographs of people and animals to visible template keypoints, filtered and written as Parquet shards."""
