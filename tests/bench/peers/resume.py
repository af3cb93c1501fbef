"""What loaders lose or repeat of an epoch when their process is killed: python -m tests.bench.peers.resume [--kills 4].

A process reads an epoch, shuffled, and keeps after each batch the numbers of the instances that it has had and the
state that the library gives (state_dict, or nothing). It is killed by SIGKILL at a random batch, before or after it has
kept them. A second process takes the state up by the library's own means and reads the rest of the epoch. The numbers
of both are compared with what an epoch should hold: lost instances never came, repeated ones came twice. A library
without a state begins the epoch anew.
"""

import argparse
import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.peers import peer, versions
from tests.bench.peers.loading_peers import BATCH, CONTENDERS, build_shards

LEFT_OUT = {"dp3d, memory=False"}


def read(name: str, folder: Path, workers: int, kept: Path, die_at: int, before_keeping: bool) -> None:
    """Read an epoch, or the rest of it, and keep after each batch what was had; die at a batch of this process."""
    opened = CONTENDERS[name].open(folder, workers)
    had: list[int] = []
    if kept.exists():
        before: dict[str, Any] = pickle.loads(kept.read_bytes())
        had = before["had"]
        if opened.load is not None:
            opened.load(before["state"])
    for number, (*_, numbers) in enumerate(opened, 1):
        had = had + numbers.tolist()
        if number == die_at and before_keeping:
            os.kill(os.getpid(), signal.SIGKILL)
        fresh = kept.with_suffix(".new")
        fresh.write_bytes(pickle.dumps({"had": had, "state": opened.state() if opened.state else None}))
        fresh.rename(kept)
        if number == die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def trial(name: str, folder: Path, workers: int, count: int, rng: random.Random) -> tuple[int, int] | str:
    """Instances that one killed and resumed epoch loses and repeats; or what went wrong."""
    with tempfile.TemporaryDirectory() as place:
        kept = Path(place) / "kept"
        deaths = rng.randint(2, count // BATCH - 1), rng.random() < 0.5
        for die_at, before_keeping in (deaths, (0, False)):
            words = [name, folder, workers, kept, die_at, int(before_keeping)]
            command = [sys.executable, "-W", "ignore", "-m", "tests.bench.peers.resume", "--read", *map(str, words)]
            with contextlib.suppress(subprocess.TimeoutExpired):
                done = subprocess.run(command, capture_output=True, text=True, timeout=180)
                if done.returncode not in (0, -signal.SIGKILL):
                    return (done.stderr.strip() or "?").splitlines()[-1][:100]
                continue
            return "hangs"
        had = Counter(pickle.loads(kept.read_bytes())["had"])
    return count - len(had), sum(had.values()) - len(had)


def described(found: list[tuple[int, int] | str], count: int) -> str:
    """Means and worst of some trials, in instances."""
    told = [one for one in found if not isinstance(one, str)]
    wrong = [one for one in found if isinstance(one, str)]
    if not told:
        return f"fails: {wrong[0]}"
    lost, twice = ([one[i] for one in told] for i in (0, 1))
    if not any(lost) and not any(twice):
        return "nothing" + (f"; {len(wrong)} failed: {wrong[0]}" if wrong else "")
    means = f"lost {sum(lost) / len(lost):.0f}, repeated {sum(twice) / len(twice):.0f}"
    return f"{means} (worst {max(lost)}, {max(twice)})" + (f"; {len(wrong)} failed: {wrong[0]}" if wrong else "")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5120)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="all by default")
    parser.add_argument("--read", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        name, folder, workers, kept, die_at, before = options.read
        read(name, Path(folder), int(workers), Path(kept), int(die_at), bool(int(before)))
        return
    names = [name for name in options.contender or CONTENDERS if name not in LEFT_OUT]
    names = [name for name in names if peer(CONTENDERS[name].module, CONTENDERS[name].packages[0]) is not None]
    print(versions("torch", *dict.fromkeys(sum((CONTENDERS[name].packages for name in names), ()))))
    print(f"{options.count} instances an epoch, batches of {BATCH}, {options.kills} kills\n", flush=True)
    print("| | one process | two workers |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        shards = build_shards(Path(place), options.count)
        for name in names:
            contender = CONTENDERS[name]
            folder = Path(place) / contender.module
            folder = folder if folder.exists() else contender.write(shards, folder)
            cells = []
            for workers in (0, 2):
                rng = random.Random(workers)
                found = [trial(name, folder, workers, options.count, rng) for _ in range(options.kills)]
                cells.append(described(found, options.count))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
