"""Pictures of noise and json files, as small trees need them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 30)


def photo(path: Path, seed=0, size=SIZE) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
