"""Our loader beside datasets, webdataset, litdata, mosaicml-streaming and Lance: python -m tests.bench.peers.loaders
[--count 20000] [--contender NAME ...].

The same instances, 1,000 vertices of which 42 % are visible, shuffled, batches of 256 as dense tensors, from a warm
page cache; see loading_peers.py. Printed for each, in one process and with two workers: instances a second of the best
of three epochs, on the clock and for each second of the processors (which a busy machine changes less), seconds from
opening to the first batch, the most memory of the process and its workers above that of the
imports (pages that several share count once), and bytes on disk. Each figure comes from a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import psutil
import torch

from tests.bench.peers import peer, versions
from tests.bench.peers.loading_peers import CONTENDERS, build_shards

ROUNDS = 3


class Memory:
    """The most memory of this process and its children, bytes: proportional set sizes."""

    def __init__(self) -> None:
        self.most, self.stop = 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.wait(0.2):
            self.most = max(self.most, used())


def used() -> int:
    """Bytes of this process and its children."""
    total, own = 0, psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def processor_seconds() -> float:
    """Of this process and its children, those that have ended included."""
    own = psutil.Process()
    times = [own.cpu_times(), *(child.cpu_times() for child in own.children(recursive=True))]
    return sum(one.user + one.system for one in times) + times[0].children_user + times[0].children_system


def measure(name: str, folder: Path, workers: int) -> dict[str, float]:
    """Rate, first batch and memory of one loader."""
    contender = CONTENDERS[name]
    torch.set_num_threads(1)
    peer(contender.module, contender.packages[0])
    before, memory = used(), Memory()
    began = time.perf_counter()
    opened = contender.open(folder, workers)
    rates, busy, held = [], [], ()
    for number in range(ROUNDS + 1):
        start, worked, count, seen, total = time.perf_counter(), processor_seconds(), 0, 0, 0.0
        places, first = [], None
        for keypoints, visible, numbers in opened:
            first = first or time.perf_counter() - began
            count += len(numbers)
            seen, total = seen + int(visible[:, ::97].sum()), total + float(keypoints[:, ::97].double().sum())
            places.append(numbers)
        rates.append(count / (time.perf_counter() - start))
        busy.append(count / max(processor_seconds() - worked, 1e-3))
        ordered = torch.cat(places).sort().values
        held = (count, seen, round(total), zlib.crc32(ordered.numpy().tobytes()))
        if number == 0:
            found = {"first": first}
    memory.stop.set()
    return found | {"rate": max(rates[1:]), "busy": max(busy[1:]), "memory": max(memory.most - before, 0), "held": held}


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def apart(name: str, folder: Path, workers: int) -> dict[str, float] | None:
    """`measure` in a process of its own."""
    words = ["-m", "tests.bench.peers.loaders", "--measure", name, str(folder), str(workers)]
    try:
        done = subprocess.run([sys.executable, "-W", "ignore", *words], capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        print(f"{name}: took longer than 900 s")
        return None
    if done.returncode:
        print(f"{name}, {workers} workers: {(done.stderr.strip() or '?').splitlines()[-1]}", flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(name: str, shards: Path, place: Path) -> dict[int, dict[str, float] | None]:
    """One line of the table."""
    contender = CONTENDERS[name]
    folder = place / contender.module
    folder = folder if folder.exists() else contender.write(shards, folder)
    found = {workers: apart(name, folder, workers) for workers in (0, 2)}
    cells = [
        f"{one['rate']:,.0f} | {one['busy']:,.0f} | {one['first']:.2f} s | {one['memory'] / 1e6:.0f} MB"
        if one
        else "- | - | - | -"
        for one in found.values()
    ]
    print(f"| {name} | {' | '.join(cells)} | {disk(folder) / 1e6:.0f} MB |", flush=True)
    return found


def main() -> None:
    """Print the table, and refuse contents that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="all by default")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]), int(options.measure[2]))))
        return
    names = [
        name
        for name in options.contender or CONTENDERS
        if peer(CONTENDERS[name].module, CONTENDERS[name].packages[0]) is not None
    ]
    print(versions("torch", "pyarrow", *dict.fromkeys(sum((CONTENDERS[name].packages for name in names), ()))))
    columns = "rate | a processor second | first batch | memory"
    print(f"\n| | one process: {columns} | two workers: {columns} | disk |\n|---|{'---:|' * 9}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        shards = build_shards(Path(place), options.count)
        found = {}
        for name in names:
            found[name] = row(name, shards, Path(place))
    held = {tuple(one["held"]) for both in found.values() for one in both.values() if one}
    print("\nthe same content" if len(held) == 1 else f"\nNOT the same content: {held}")


if __name__ == "__main__":
    main()
