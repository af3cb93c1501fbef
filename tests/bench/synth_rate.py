"""Synthetic images a second with two processes, and instances without images: python -m tests.bench.synth_rate."""

import subprocess
import sys
import tempfile
import time

COUNT = {"--images": 400, "--no-images": 1000}


def rate(images: str) -> float:
    """Instances a second of the whole command, start included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["synth", "--category", "dog", "--count", str(COUNT[images]), "--size", "256", images, "--workers", "2"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pipelines.cli.data", *words, "--out", folder], check=True, capture_output=True
        )
        return COUNT[images] / (time.perf_counter() - began)


if __name__ == "__main__":
    for kind in COUNT:
        print(f"{kind}: {rate(kind):.1f} instances/s of 256 x 256, two processes")
