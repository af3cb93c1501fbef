"""Photographs of people and animals to visible template keypoints, filtered and written as Parquet shards."""


from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dp3d")
except PackageNotFoundError:
    __version__ = "0+unknown"  # the source beside nothing that is installed

__all__ = ["__version__"]
