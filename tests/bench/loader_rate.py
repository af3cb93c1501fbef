"""Dense batches of 512 x 1,000 vertices a second, beside datasets and webdataset: python -m tests.bench.loader_rate
[COUNT].

All read the same instances from a warm page cache with two workers, shuffle them, and give keypoints [B, K, 2] and
visible [B, K] as tensors. The peers get what suits them best: datasets its memory-mapped Arrow cache and whole batches
by index, or its stream; webdataset raw arrays instead of .npy files; all the same scatter without a loop over rows.
Peers that are not installed are left out and named.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from dp3d_data.loader import Loader
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.table import KEYPOINT_COLUMNS, InstanceTable, keypoint_lists
from tests.bench.many_instances import write_run

BATCH, WORKERS, ROUNDS, SHARD = 512, 2, 3, "32MB"
Epoch = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]


def dense(
    ids: list[np.ndarray], x: list[np.ndarray], y: list[np.ndarray], vertices: int = 1000
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lists of every instance to a batch, with one concatenation and one scatter."""
    offsets = np.cumsum([0, *map(len, ids)])
    points = np.stack([np.concatenate(x), np.concatenate(y)], axis=1)
    keypoints, visible, _ = InstanceTable(vertices, offsets, np.concatenate(ids), points, np.arange(len(ids))).dense()
    return torch.from_numpy(keypoints), torch.from_numpy(visible)


def of_columns(columns: dict) -> tuple[torch.Tensor, torch.Tensor]:
    return dense(*(list(columns[name]) for name in KEYPOINT_COLUMNS))


def of_rows(rows: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    return dense(*([row[name] for row in rows] for name in KEYPOINT_COLUMNS))


def of_tuples(rows: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [np.frombuffer(a, np.uint16) for a, _ in rows]
    points = [np.frombuffer(b, np.float32) for _, b in rows]
    return dense(ids, [p[0::2] for p in points], [p[1::2] for p in points])


def ours(shards: Path, **settings) -> Epoch:
    loader = Loader(shards, batch_size=BATCH, threads=WORKERS, **settings)
    return lambda: ((batch.keypoints, batch.visible) for batch in loader)


def of_datasets(shards: Path, stream: bool) -> Epoch:
    """datasets: by index in memory-mapped Arrow, or as a stream of the Parquet files."""
    import datasets
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    files = sorted(str(path) for path in shards.glob("train-*.parquet"))
    options = {"data_files": files, "split": "train", "streaming": stream, "cache_dir": str(shards / ".." / "datasets")}
    rows = datasets.load_dataset("parquet", columns=KEYPOINT_COLUMNS, **options).with_format("numpy")
    workers = {"num_workers": WORKERS, "persistent_workers": True}
    if stream:
        loader = DataLoader(rows.shuffle(seed=0, buffer_size=4096), batch_size=BATCH, collate_fn=of_rows, **workers)
    else:
        sampler = BatchSampler(RandomSampler(rows), BATCH, drop_last=False)
        loader = DataLoader(rows, sampler=sampler, batch_size=None, collate_fn=of_columns, **workers)
    return lambda: iter(loader)


def of_webdataset(shards: Path) -> Epoch:
    """webdataset: tar files with the arrays of each instance as they are in memory."""
    import webdataset

    folder = shards / ".." / "tars"
    if not folder.exists():
        write_tars(shards, folder)
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    stream = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0, empty_check=False)
        .shuffle(4096)
        .to_tuple("ids", "xy")
    )
    stream = stream.batched(BATCH, collation_fn=of_tuples)
    loader = webdataset.WebLoader(stream, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    return lambda: iter(loader)


def write_tars(shards: Path, folder: Path) -> None:
    """One tar for each shard."""
    folder.mkdir()
    for number, table in enumerate(ShardReader(shards).tables("train")):
        offsets, ids, x, y = keypoint_lists(table)
        with tarfile.open(folder / f"{number:05d}.tar", "w") as archive:
            for row in range(len(table)):
                part = slice(offsets[row], offsets[row + 1])
                points = np.stack([x[part], y[part]], axis=1)
                for name, data in (("ids", ids[part].astype(np.uint16).tobytes()), ("xy", points.tobytes())):
                    entry = tarfile.TarInfo(f"{number:03d}{row:07d}.{name}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))


def build(folder: Path, count: int) -> Path:
    write_run(folder / "run", count)
    words = [
        "build-shards",
        "--input",
        str(folder / "run"),
        "--out",
        str(folder / "shards"),
        "--shard-size",
        SHARD,
        "--split-ratio",
        "1",
    ]
    subprocess.run([sys.executable, "-m", "pipelines.cli.data", *words], check=True, capture_output=True)
    return folder / "shards"


def epoch_rate(epoch: Epoch) -> tuple[float, tuple[int, int, int]]:
    """Instances a second of one epoch, and what it held: instances, visible vertices, sum of the keypoints."""
    instances, sums = 0, []
    began = time.perf_counter()
    for keypoints, visible in epoch():
        instances += len(visible)
        sums.append((visible[:, ::97].sum(), keypoints[:, ::97].double().sum()))
    seconds = time.perf_counter() - began
    seen, total = sum(int(a) for a, _ in sums), sum(float(b) for _, b in sums)
    return instances / seconds, (instances, seen, round(total))


def contenders(shards: Path) -> dict[str, Epoch]:
    """Every loader that is installed."""
    makers = {
        "dp3d, memory off": lambda: ours(shards, memory=False),
        "dp3d": lambda: ours(shards),
        "datasets, by index": lambda: of_datasets(shards, stream=False),
        "datasets, streaming": lambda: of_datasets(shards, stream=True),
        "webdataset": lambda: of_webdataset(shards),
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return found


def main() -> None:
    """Print the best of some rounds of each, and how many times the peers' rate ours is."""
    count = int(float(sys.argv[1])) if len(sys.argv) > 1 else 40_960
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        epochs = contenders(build(Path(folder), count))
        rates: dict[str, float] = dict.fromkeys(epochs, 0.0)
        held = {name: epoch_rate(epoch)[1] for name, epoch in epochs.items()}
        if len(set(held.values())) != 1:
            raise SystemExit(f"not the same content: {held}")
        for _ in range(ROUNDS):
            for name, epoch in epochs.items():
                rates[name] = max(rates[name], epoch_rate(epoch)[0])
        for name, rate in rates.items():
            times = " and ".join(f"{rates[own] / rate:5.1f} ({own})" for own in ("dp3d", "dp3d, memory off"))
            print(f"{name:20s} {rate:9,.0f} instances/s; times as fast: {times}")


if __name__ == "__main__":
    main()
