"""Small shards of many row groups to load from."""

from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import mkdtemp

from dp3d_data.filters import FilterConfig
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import two_runs


@cache
def small_shards() -> Path:
    """Eighty instances, half of them with truth, in shards of a few row groups; read only."""
    root = Path(mkdtemp(prefix="dp3d-loader-"))
    plan = ShardPlan(filters=FilterConfig(), shard_bytes=40_000, split_ratio=0.8, seed=0)
    build(two_runs(root, 40), root / "shards", "dog", plan, overwrite=True, say=lambda line: None)
    return root / "shards"


def shards_in(root: Path) -> Path:
    """The same, of one's own."""
    return copytree(small_shards(), root / "shards")
