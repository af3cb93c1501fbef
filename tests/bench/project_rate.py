"""Model fits projected a second with two processes, start included: python -m tests.bench.project_rate.

A random model of 4,098 vertices stands for SMAL's 3,889; 35 joints, 20 betas, pose blendshapes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.data.project.dogs import dog_fit, settings

COUNT = 2000


def main() -> None:
    """Print instances a second of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), [dog_fit(number) for number in range(COUNT)], divisions=5)
        words = [
            "project",
            "--dataset",
            config.dataset,
            "--path",
            config.path,
            "--body",
            config.body[0],
            "--workers",
            "2",
        ]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pipelines.cli.data", *words, "--out", config.out], check=True)
        print(f"{COUNT / (time.perf_counter() - began):.1f} instances/s, two processes")


if __name__ == "__main__":
    main()
