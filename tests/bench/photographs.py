"""Photographs to measure with: crops of the embedded samples, each its own file."""

from pathlib import Path

import numpy as np
from PIL import Image

from dp3d_data.datasets.folder import Samples


def make_photographs(folder: Path, count: int, width: int, height: int, per_folder: int = 1000) -> Path:
    """`count` JPEG files of one size, each a random crop of a sample: a function of the number alone."""
    samples = [Image.open(record.path).convert("RGB") for record in Samples().records()]
    for number in range(count):
        rng = np.random.default_rng(np.random.SeedSequence([3, number]))
        sample = samples[number % len(samples)]
        share = rng.uniform(0.7, 1.0)
        wide, tall = share * sample.width, share * sample.height
        x, y = rng.uniform(0, sample.width - wide), rng.uniform(0, sample.height - tall)
        path = folder / f"{number // per_folder:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        sample.resize((width, height), Image.Resampling.BILINEAR, (x, y, x + wide, y + tall)).save(path, quality=85)
    return folder
