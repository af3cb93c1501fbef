"""The same instances in the forms of other loaders: written once, opened as each library's documentation says.

Every instance has its number, its visible vertices and their keypoints. Every batch is (keypoints [B, K, 2], visible
[B, K], numbers [B]) as tensors, made of lists by the same scatter for all. Where a library advises how to shuffle, to
batch, to use workers or to take up a training again, that is what is done here.
"""

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401  pyarrow imports it with the first array where it is installed, and imports are not measured
import pyarrow as pa
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from dp3d_data.loader import Loader, ShardReader
from dp3d_data.shards.table import InstanceTable, keypoint_lists
from tests.bench.many_instances import write_run

VERTICES, BATCH, BUFFER = 1000, 256, 4096
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass
class Opened:
    """Batches of the epochs of a library.

    Attributes:
        batches: iterated once an epoch.
        state: what the library keeps of where it stands, after so many batches; None where it keeps nothing.
        load: takes it up again.
    """

    batches: Any
    state: Callable[[], Any] | None = None
    load: Callable[[Any], None] | None = None

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            known = isinstance(batch, tuple | list)  # workers of torch make lists of tuples
            yield tuple(batch) if known else (batch.keypoints, batch.visible, batch.index)


@dataclass(frozen=True)
class Contender:
    """A loader: how to write its files, and how to open them with so many workers.

    Attributes:
        packages: what must be installed, and whose versions are printed.
        module: imported to see whether it is there.
    """

    module: str
    packages: tuple[str, ...]
    write: Callable[[Path, Path], Path]
    open: Callable[[Path, int], Opened]


def dense(ids: Sequence[np.ndarray], points: Sequence[np.ndarray], numbers: Sequence[int]) -> Batch:
    """Lists of every instance as a batch, with one concatenation and one scatter."""
    offsets = np.cumsum([0, *map(len, ids)])
    places = np.array(numbers, dtype=np.int64)
    joined = np.ascontiguousarray(np.concatenate(points), dtype=np.float32)
    keypoints, visible, _ = InstanceTable(VERTICES, offsets, np.concatenate(ids), joined, places).dense()
    return torch.from_numpy(keypoints), torch.from_numpy(visible), torch.from_numpy(places)


def of_rows(rows: Sequence[dict[str, Any]]) -> Batch:
    """Rows with ids [V], xy [V, 2] or [2 V], and their number."""
    points = [np.asarray(row["xy"], dtype=np.float32).reshape(-1, 2) for row in rows]
    return dense([np.asarray(row["ids"]) for row in rows], points, [int(row["number"]) for row in rows])


def of_columns(columns: dict[str, Any]) -> Batch:
    """The columns of some rows."""
    points = [np.asarray(row, dtype=np.float32).reshape(-1, 2) for row in columns["xy"]]
    return dense(list(columns["ids"]), points, columns["number"])


def build_shards(folder: Path, count: int) -> Path:
    """Shards of `count` posed tori, one split."""
    write_run(folder / "run", count)
    words = [
        "build-shards",
        "--input",
        str(folder / "run"),
        "--out",
        str(folder / "shards"),
        "--shard-size",
        "32MB",
        "--split-ratio",
        "1",
    ]
    subprocess.run([sys.executable, "-m", "pipelines.cli.data", *words], check=True, capture_output=True)
    return folder / "shards"


def rows_of(shards: Path) -> Iterator[dict[str, Any]]:
    """Every instance of the split train, in order."""
    number = 0
    for table in ShardReader(shards).tables("train"):
        offsets, ids, x, y = keypoint_lists(table)
        points = np.stack([x, y], axis=1).astype(np.float32)
        for row in range(len(table)):
            part = slice(offsets[row], offsets[row + 1])
            yield {"number": number, "ids": ids[part].astype(np.uint16), "xy": points[part]}
            number += 1


def arrow_of(shards: Path, rows: int = 2048) -> Iterator[pa.Table]:
    """The same as tables of lists."""
    schema = pa.schema([("number", pa.int64()), ("ids", pa.list_(pa.uint16())), ("xy", pa.list_(pa.float32()))])
    held: list[dict[str, Any]] = []
    for row in rows_of(shards):
        held.append(row | {"xy": row["xy"].ravel()})
        if len(held) == rows:
            yield pa.Table.from_pylist(held, schema)
            held = []
    if held:
        yield pa.Table.from_pylist(held, schema)


def workers_of(workers: int) -> dict[str, Any]:
    """What a DataLoader is told of its workers."""
    return {"num_workers": workers} | ({"persistent_workers": True} if workers else {})


def stateful(*args: Any, **settings: Any) -> Any:
    """torchdata's StatefulDataLoader, or torch's own where torchdata is not installed."""
    try:
        from torchdata.stateful_dataloader import StatefulDataLoader
    except ImportError:
        return DataLoader(*args, **settings)
    return StatefulDataLoader(*args, **settings)


def kept(loader: Any, **more: Any) -> Opened:
    """A loader with the state of its own, if it has one."""
    return Opened(loader, getattr(loader, "state_dict", None), getattr(loader, "load_state_dict", None), **more)


def open_ours(folder: Path, workers: int, **settings: Any) -> Opened:
    return kept(Loader(folder, batch_size=BATCH, threads=workers, **settings))


def write_datasets(shards: Path, folder: Path) -> Path:
    """datasets: its own Arrow files on disk (save_to_disk)."""
    import datasets

    tables = pa.concat_tables(arrow_of(shards))
    datasets.Dataset(tables).save_to_disk(str(folder), max_shard_size="32MB")
    return folder


def open_datasets(folder: Path, workers: int) -> Opened:
    """Whole batches by index, as its page on torch advises for speed."""
    import datasets

    rows = datasets.load_from_disk(str(folder)).with_format("numpy")
    sampler = BatchSampler(RandomSampler(rows, generator=torch.Generator().manual_seed(0)), BATCH, drop_last=False)
    return kept(stateful(rows, sampler=sampler, batch_size=None, collate_fn=of_columns, **workers_of(workers)))


def open_datasets_stream(folder: Path, workers: int) -> Opened:
    """As a stream with a shuffle buffer, which keeps a state."""
    import datasets

    rows = datasets.load_from_disk(str(folder)).to_iterable_dataset(num_shards=8)
    rows = rows.shuffle(seed=0, buffer_size=BUFFER).with_format("numpy")
    return kept(stateful(rows, batch_size=BATCH, collate_fn=of_rows, **workers_of(workers)))


def write_webdataset(shards: Path, folder: Path) -> Path:
    """webdataset: tar files with an .npy file for each array of an instance."""
    folder.mkdir()
    archive = None
    for row in rows_of(shards):
        if row["number"] % 2500 == 0:
            archive = tarfile.open(folder / f"{row['number'] // 2500:05d}.tar", "w")
        for name in ("ids", "xy"):
            data = io.BytesIO()
            np.save(data, row[name])
            entry = tarfile.TarInfo(f"{row['number']:010d}.{name}.npy")
            entry.size = data.tell()
            data.seek(0)
            archive.addfile(entry, data)
        if row["number"] % 2500 == 2499:
            archive.close()
    archive.close()
    return folder


def open_webdataset(folder: Path, workers: int) -> Opened:
    import webdataset

    urls = sorted(str(path) for path in folder.glob("*.tar"))
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0, empty_check=False).shuffle(BUFFER).decode()
    stream = stream.to_tuple("__key__", "ids.npy", "xy.npy").batched(BATCH, collation_fn=_of_tuples)
    return Opened(webdataset.WebLoader(stream, batch_size=None, **workers_of(workers)))


def _of_tuples(rows: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Batch:
    return dense([ids for _, ids, _ in rows], [points for *_, points in rows], [int(key) for key, *_ in rows])


def write_litdata(shards: Path, folder: Path) -> Path:
    """litdata: chunks of its optimize(), of arrays."""
    import litdata

    litdata.optimize(_as_is, list(rows_of(shards)), str(folder), chunk_bytes="32MB", num_workers=1, verbose=False)
    return folder


def _as_is(row: dict[str, Any]) -> dict[str, Any]:
    return row


def open_litdata(folder: Path, workers: int) -> Opened:
    import litdata

    rows = litdata.StreamingDataset(str(folder), shuffle=True, seed=0)
    return kept(litdata.StreamingDataLoader(rows, batch_size=BATCH, collate_fn=of_rows, **workers_of(workers)))


def write_mosaic(shards: Path, folder: Path) -> Path:
    """mosaicml-streaming: MDS shards of arrays."""
    import streaming

    columns = {"number": "int", "ids": "ndarray:uint16", "xy": "ndarray:float32"}
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit="32mb") as writer:
        for row in rows_of(shards):
            writer.write(row)
    return folder


def open_mosaic(folder: Path, workers: int) -> Opened:
    import streaming

    streaming.base.util.clean_stale_shared_memory()
    rows = streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH, shuffle_seed=0)
    return kept(streaming.StreamingDataLoader(rows, batch_size=BATCH, collate_fn=of_rows, **workers_of(workers)))


def write_lance(shards: Path, folder: Path) -> Path:
    """Lance: one dataset of lists."""
    import lance

    for table in arrow_of(shards):
        lance.write_dataset(table, str(folder), mode="append" if folder.exists() else "create")
    return folder


class LanceRows(torch.utils.data.Dataset):
    """Rows of a Lance dataset by index, opened in each process, as its SafeLanceDataset is; a batch stays in Arrow."""

    def __init__(self, folder: Path) -> None:
        import lance

        self.folder, self.count, self.rows = str(folder), lance.dataset(str(folder)).count_rows(), None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: list[int]) -> Batch:
        import lance

        if self.rows is None:
            self.rows = lance.dataset(self.folder)
        table = self.rows.take(chosen)
        return of_columns(
            {name: column.to_numpy() for name, column in zip(table.column_names, table.columns, strict=True)}
        )


def open_lance(folder: Path, workers: int) -> Opened:
    rows = LanceRows(folder)
    sampler = BatchSampler(RandomSampler(rows, generator=torch.Generator().manual_seed(0)), BATCH, drop_last=False)
    spawned = {"multiprocessing_context": "spawn"} if workers else {}
    return kept(stateful(rows, sampler=sampler, batch_size=None, **spawned, **workers_of(workers)))


CONTENDERS = {
    "dp3d": Contender("dp3d_data", ("dp3d",), lambda shards, folder: shards, open_ours),
    "dp3d, memory=False": Contender(
        "dp3d_data", ("dp3d",), lambda shards, folder: shards, lambda f, w: open_ours(f, w, memory=False)
    ),
    "datasets, by index": Contender("datasets", ("datasets", "torchdata"), write_datasets, open_datasets),
    "datasets, stream": Contender("datasets", ("datasets", "torchdata"), write_datasets, open_datasets_stream),
    "webdataset": Contender("webdataset", ("webdataset",), write_webdataset, open_webdataset),
    "litdata": Contender("litdata", ("litdata",), write_litdata, open_litdata),
    "mosaicml-streaming": Contender("streaming", ("mosaicml-streaming",), write_mosaic, open_mosaic),
    "lance": Contender("lance", ("pylance", "torchdata"), write_lance, open_lance),
}
