"""Near-duplicates among many shapes, and the shapes most like one: python -m tests.bench.likeness_rate 1e4 1e5.

Shapes of a posed body: 12 numbers decide on each, and a tenth are copies with noise.
"""

import sys
import time

import numpy as np

from dp3d_data.shards.likeness import PATCHES, distances, near_duplicates

FREEDOMS, THRESHOLDS = 12, (0.05, 0.1, 0.15)


def shapes(count: int) -> np.ndarray:
    """Unit complex rows, complex64; the last tenth repeats the first with a distance of about 0.05."""
    rng = np.random.default_rng(0)
    axes, mean = (rng.normal(size=(n, PATCHES)) + 1j * rng.normal(size=(n, PATCHES)) for n in (FREEDOMS, 1))
    made = mean + 0.25 * rng.normal(size=(count, FREEDOMS)) @ axes
    again = count // 10
    noise = rng.normal(size=(again, PATCHES)) + 1j * rng.normal(size=(again, PATCHES))
    made[-again:] = (
        made[:again] + 0.05 * np.sqrt(2 / PATCHES) * np.linalg.norm(made[:again], axis=1, keepdims=True) / 2 * noise
    )
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.complex64)


def main() -> None:
    for count in map(int, map(float, sys.argv[1:] or ["1e4"])):
        some = shapes(count)
        for threshold in THRESHOLDS:
            start = time.process_time()
            gone = int((near_duplicates(some, threshold)[0] >= 0).sum())
            seconds = time.process_time() - start
            print(f"{count} shapes, {threshold}: {gone} near-duplicates, {seconds:.1f} s of processor time")
        start = time.process_time()
        distances(some[0], some)
        print(f"{count} shapes: those like one in {1e3 * (time.process_time() - start):.1f} ms")


if __name__ == "__main__":
    main()
