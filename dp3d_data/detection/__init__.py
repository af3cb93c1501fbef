"""Networks that find animals and give every pixel an embedding: weights, prediction. Light to import."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_WHERE = {
    "ModelSpec": "spec",
    "find_spec": "zoo",
    "zoo_specs": "zoo",
    "build_network": "network",
    "read_checkpoint": "weights",
    "read_features": "weights",
    "read_vertex_embeddings": "weights",
    "save_weights": "weights",
    "save_adopted": "loading",
    "check_file": "loading",
    "DensePredictor": "predictor",
    "RawDetection": "predictor",
    "load_predictor": "loading",
    "trained_for": "loading",
    "shipped_weights": "zoo",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Import a public name where it lives, when it is first used: detectron2 and torch take seconds."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # detectron2 compiles functions with torch.jit as it is imported
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
