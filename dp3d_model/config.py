"""Settings of a training run and their presets, named after the supplement's experiments."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from dp3d_data.config import setting
from dp3d_data.errors import ConfigError

_MODEL, _LOSS, _OPTIMISER, _REFINE, _RUN = "Model", "Losses", "Optimiser", "Refinement", "Run"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that shapes a trained model. The defaults are the preset `quick`."""

    body: str = setting(
        "parts", "What deforms: soft parts, linear (of the basis), basis (C3DPO's), rigid, or the body of another package.",
        group=_MODEL, common=False,
    )  # fmt: skip
    network: bool = setting(True, "Predict with a network; without one only refinement finds the shape.", group=_MODEL, common=False)
    passes: int = setting(
        1, "Times that the network reads what its last answer leaves, and corrects it.", group=_MODEL, minimum=1, common=False
    )
    rotations: str = setting("6d", "Numbers of a rotation: six, or axis times angle.", group=_MODEL, choices=("6d", "log"), common=False)
    basis_shapes: int = setting(10, "Shapes of C3DPO's basis.", group=_MODEL, minimum=1, common=False)
    parts: int = setting(20, "Soft parts of the template.", group=_MODEL, minimum=1)
    blendshapes: int = setting(5, "Blendshapes; 0 for none.", group=_MODEL, minimum=0, common=False)
    basis: int = setting(64, "Laplace-Beltrami functions used.", group=_MODEL, minimum=1, common=False)
    sharpness: float = setting(200.0, "How crisp the parts start.", group=_MODEL, minimum=0, common=False)
    pivot: str = setting(
        "part", "Parts turn about their own centre, about the joint to their parent in a tree of parts, or about the origin.",
        group=_MODEL, choices=("part", "joint", "origin"), common=False,
    )  # fmt: skip
    camera: str = setting(
        "closed-form", "Camera: closed form and a learned residual, or learned.",
        group=_MODEL, choices=("closed-form", "learned"), common=False,
    )
    camera_steps: int = setting(0, "Gauss-Newton steps that fit the camera to each posed body.", group=_MODEL, minimum=0, common=False)
    scale: str = setting(
        "fitted", "Image scale: of the rigid fit, solved for each posed body, or with a learned correction.",
        group=_MODEL, choices=("fitted", "solved", "learned"), common=False,
    )  # fmt: skip
    projection: str = setting(
        "orthographic", "Projection: orthographic, or perspective where the shards know the intrinsics.",
        group=_MODEL, choices=("orthographic", "perspective"), common=False,
    )  # fmt: skip
    network_input: str = setting(
        "residual", "What the network reads: what the rigid fit leaves, or keypoints.",
        group=_MODEL, choices=("residual", "keypoints"), common=False,
    )
    keypoint_weights: bool = setting(False, "Trust each keypoint as far as its forward-backward weight says.", group=_MODEL, common=False)
    encoder: str = setting(
        "cells", "How the input is gathered: means over patches, or attention of latents over the visible surface.",
        group=_MODEL, choices=("cells", "attention"), common=False,
    )  # fmt: skip
    input_cells: int = setting(512, "Patches that the input is averaged over; 0 feeds every vertex.", group=_MODEL, minimum=0, common=False)
    latents: int = setting(32, "Latents of the attention.", group=_MODEL, minimum=1, common=False)
    latent_blocks: int = setting(2, "Blocks of self-attention among them.", group=_MODEL, minimum=0, common=False)
    width: int = setting(1024, "Width of the network.", group=_MODEL, minimum=1, common=False)
    bottleneck: int = setting(256, "Width inside a residual block.", group=_MODEL, minimum=1, common=False)
    norm: str = setting("layer", "Normalisation of its layers.", group=_MODEL, choices=("batch", "layer"), common=False)
    blocks: int = setting(6, "Residual blocks.", group=_MODEL, minimum=0, common=False)

    epsilon: float = setting(0.01, "Pseudo-Huber threshold, template units.", group=_LOSS, minimum=1e-9, common=False)
    canonical_weight: float = setting(0.0, "Weight of the canonicalisation loss.", group=_LOSS, minimum=0, common=False)
    arap_weight: float = setting(1.0, "Weight of the as-rigid-as-possible loss.", group=_LOSS, minimum=0, common=False)
    entropy_weight: float = setting(0.001, "Weight of the parts' entropy.", group=_LOSS, minimum=0, common=False)
    dream_weight: float = setting(
        1.0, "Weight of lifting the model's own shapes, seen as other instances are, back to themselves.",
        group=_LOSS, minimum=0, common=False,
    )
    truth_weight: float = setting(
        0.0, "Weight of the distance to the true vertices, where the shards know them; these instances' keypoints then teach nothing.",
        group=_LOSS, minimum=0, common=False,
    )  # fmt: skip
    shape_weight: float = setting(0.0, "Weight of the squared blendshape coefficients.", group=_LOSS, minimum=0, common=False)
    facing_weight: float = setting(0.0, "Weight of visible surface that faces away from the viewer.", group=_LOSS, minimum=0, common=False)
    outline_weight: float = setting(
        0.0, "Weight of hidden surface that lies outside the visible one.", group=_LOSS, minimum=0, common=False
    )
    noise: str = setting(
        "off", "Predicted noise of each keypoint: off, clipped, or the literal formula.",
        group=_LOSS, choices=("off", "clipped", "literal"), common=False,
    )
    arap_rotations: str = setting(
        "best", "Local rotation: best for each one-ring, or blended from the parts.",
        group=_LOSS, choices=("best", "blended"), common=False,
    )
    arap_rest: str = setting(
        "shaped", "Edges are kept as in the template with blendshapes, or without.",
        group=_LOSS, choices=("shaped", "template"), common=False,
    )
    drawn_rings: int = setting(
        128, "One-rings of the template drawn for each step, on which its losses are taken; 0 takes all.",
        group=_LOSS, minimum=0, common=False,
    )
    canonical_copies: int = setting(1, "Random rotations of each shape for the canonicalisation.", group=_LOSS, minimum=1, common=False)
    canonical_instances: int = setting(
        0, "Instances of a batch, drawn at random, on which the canonicalisation is taken; 0 for all.",
        group=_LOSS, minimum=0, common=False,
    )
    canonical_law: str = setting(
        "uniform-angle", "Law of these rotations (C3DPO: uniform-angle).", group=_LOSS, choices=("uniform-angle", "uniform"), common=False,
    )

    optimiser: str = setting("adamw", "Optimiser.", group=_OPTIMISER, choices=("adamw", "sgd"), common=False)
    learning_rate: float = setting(1e-3, "Learning rate at its highest.", group=_OPTIMISER, minimum=0)
    momentum: float = setting(0.99, "Momentum of sgd.", group=_OPTIMISER, minimum=0, maximum=1, common=False)
    weight_decay: float = setting(0.001, "Weight decay.", group=_OPTIMISER, minimum=0, common=False)
    schedule: str = setting(
        "cosine", "Learning rate: cosine to 0, or a tenth after 80 % of the steps.",
        group=_OPTIMISER, choices=("cosine", "step"), common=False,
    )
    warmup: int = setting(20, "Steps of linear warm-up.", group=_OPTIMISER, minimum=0, common=False)
    clip: float = setting(1.0, "Largest norm of the gradient; 0 for none.", group=_OPTIMISER, minimum=0, common=False)
    batch: int = setting(128, "Instances in a step.", group=_OPTIMISER, minimum=2)
    micro_batch: int = setting(
        0, "Instances handled at a time in a step, to save memory; 0 for all. Batch normalisation sees each part for itself.",
        group=_OPTIMISER, minimum=0, common=False,
    )  # fmt: skip
    precision: str = setting(
        "float32", "Numbers inside the network while it trains.",
        group=_OPTIMISER, choices=("float32", "bfloat16", "float16"), common=False,
    )
    explosion: float = setting(
        100.0, "Stop where the loss is so many times the largest of the first 10 steps; 0 for never.",
        group=_OPTIMISER, minimum=0, common=False,
    )
    steps: int = setting(400, "Steps; 0 counts epochs instead.", group=_OPTIMISER, minimum=0)
    epochs: int = setting(0, "Epochs, where steps is 0.", group=_OPTIMISER, minimum=0, common=False)
    average: float = setting(
        0.99, "Decay of the running average of the weights; 0 for none.", group=_OPTIMISER, minimum=0, maximum=1, common=False
    )
    window: int = setting(
        8192, "Instances shuffled together: more take more memory, 10 bytes a visible vertex; 0 for all.",
        group=_OPTIMISER, minimum=0, common=False,
    )
    hide: float = setting(
        0.5, "Largest share of visible vertices hidden from the network at random.", group=_OPTIMISER, minimum=0, maximum=1, common=False,
    )
    mirror: bool = setting(
        False, "Show half of the instances mirrored, where the template's symmetry is known.", group=_OPTIMISER, common=False
    )
    turn: float = setting(0.0, "Largest turn in the image, degrees.", group=_OPTIMISER, minimum=0, maximum=180, common=False)
    warp: float = setting(
        0.0, "Largest smooth displacement of the keypoints it reads, sides of the box.", group=_OPTIMISER, minimum=0, common=False
    )
    shake: float = setting(0.01, "Largest noise of the keypoints it reads, sides of the box.", group=_OPTIMISER, minimum=0, common=False)

    prior_directions: int = setting(
        0, "Directions of the body's numbers that are kept as a prior of poses and shapes; 0 for none.",
        group=_MODEL, minimum=0, common=False,
    )
    refine_steps: int = setting(
        0, "Steps that fit each instance's own keypoints after the network.", group=_REFINE, minimum=0, common=False
    )
    refine_rate: float = setting(0.003, "Learning rate of these steps.", group=_REFINE, minimum=0, common=False)
    refine_arap: float = setting(3.0, "Weight of the as-rigid-as-possible loss in them.", group=_REFINE, minimum=0, common=False)
    refine_tie: float = setting(
        0.0, "Weight of the squared distance to the network's answer in them.", group=_REFINE, minimum=0, common=False
    )
    refine_silhouette: float = setting(
        0.0, "Weight of the distance to the mask, both ways, where there is one.", group=_REFINE, minimum=0, common=False
    )
    refine_prior: float = setting(0.0, "Weight of the squared distance to the middle of the prior.", group=_REFINE, minimum=0, common=False)
    refine_stay: float = setting(
        0.0, "Weight of the squared distance to the network's answer along the prior, in standard deviations.",
        group=_REFINE, minimum=0, common=False,
    )
    refine_stride: float = setting(
        10.0, "Learning rate along the prior's directions, in standard deviations, over that of all else.",
        group=_REFINE, minimum=0, common=False,
    )

    seed: int = setting(0, "Seed of every random number.", group=_RUN, minimum=0)
    save_every: int = setting(100, "Steps between saved states.", group=_RUN, minimum=1, common=False)
    log_every: int = setting(10, "Steps between lines of metrics.jsonl.", group=_RUN, minimum=1, common=False)


_SUPPLEMENT: dict[str, Any] = {
    "parts": 10,
    "sharpness": 32.0,
    "canonical_weight": 0.1,
    "arap_weight": 0.3,
    "dream_weight": 0.0,
    "truth_weight": 0.0,
    "hide": 0.0,
    "shake": 0.0,
    "norm": "batch",
    "camera": "learned",
    "network_input": "keypoints",
    "input_cells": 0,
    "pivot": "origin",
    "arap_rest": "template",
    "drawn_rings": 0,
    "canonical_copies": 4,
    "optimiser": "sgd",
    "learning_rate": 0.003,
    "schedule": "step",
    "warmup": 0,
    "clip": 0.0,
    "batch": 512,
    "steps": 0,
    "average": 0.0,
}

# Everything that C3DPO does not have is switched off, whatever the defaults are; see BasisBody for what is the paper's and what is ours.
_C3DPO: dict[str, Any] = {
    "body": "basis",
    "basis_shapes": 10,
    "rotations": "log",
    "camera": "learned",
    "camera_steps": 0,
    "passes": 1,
    "scale": "fitted",
    "network_input": "keypoints",
    "input_cells": 0,
    "encoder": "cells",
    "projection": "orthographic",
    "norm": "batch",
    "noise": "off",
    "canonical_weight": 1.0,
    "canonical_copies": 4,
    "canonical_law": "uniform-angle",
    "arap_weight": 0.0,
    "entropy_weight": 0.0,
    "shape_weight": 0.0,
    "dream_weight": 0.0,
    "truth_weight": 0.0,
    "facing_weight": 0.0,
    "outline_weight": 0.0,
    "drawn_rings": 0,
    "hide": 0.0,
    "mirror": False,
    "turn": 0.0,
    "shake": 0.0,
    "refine_steps": 0,
    "batch": 256,
    "epochs": 0,
    "steps": 2000,
}
_C3DPO_RECIPE: dict[str, Any] = {
    "optimiser": "sgd",
    "learning_rate": 0.001,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "step",
    "warmup": 0,
    "clip": 0.0,
    "average": 0.0,
}
_WITHOUT_LEARNING: dict[str, Any] = {"network": False, "passes": 1, "steps": 0, "epochs": 0, "noise": "off"}
_FIT: dict[str, Any] = {"body": "parts", "parts": 30, "blendshapes": 0, "refine_steps": 200, "refine_rate": 0.02, "refine_arap": 0.1}

# Test-time optimisation as it is measured to do best on photographs.
TEST_TIME: dict[str, Any] = {
    "refine_steps": 40,
    "refine_rate": 0.01,
    "refine_arap": 6.0,
    "refine_tie": 0.3,
    "refine_stay": 0.03,
    "refine_prior": 0.01,
    "refine_silhouette": 10.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {},
    "best": {
        "steps": 5000,
        "learning_rate": 1.5e-3,
        "warmup": 50,
        "average": 0.998,
        "input_cells": 1024,
        "hide": 0.9,
        "shake": 0.04,
        "save_every": 250,
    },
    # Photographs, from renders as the network sees them: see scripts/lifters.sh.
    "photographs": {
        "steps": 2500,
        "learning_rate": 1.5e-3,
        "warmup": 50,
        "average": 0.998,
        "parts": 24,
        "blendshapes": 16,
        "scale": "learned",
        "keypoint_weights": True,
        "input_cells": 256,
        "width": 640,
        "blocks": 4,
        "prior_directions": 64,
        "truth_weight": 10.0,
        "dream_weight": 0.0,
        "arap_weight": 0.3,
        "mirror": True,
        "hide": 0.9,
        "shake": 0.05,
        "warp": 0.05,
        "save_every": 250,
        **TEST_TIME,
    },
    "human36m": _SUPPLEMENT | {"epochs": 20, "blendshapes": 0},
    "up3d": _SUPPLEMENT | {"epochs": 100, "blendshapes": 0},
    "stanford-dogs": _SUPPLEMENT | {"epochs": 200},
    "lvis": _SUPPLEMENT | {"epochs": 1000, "noise": "clipped"},
    "rigid": _WITHOUT_LEARNING | {"body": "rigid", "refine_steps": 0},
    "fit": _WITHOUT_LEARNING | _FIT,
    "linear": {"body": "linear"},
    "c3dpo": _C3DPO | _C3DPO_RECIPE,
    "c3dpo-adamw": _C3DPO | {"batch": 128, "canonical_copies": 1, "learning_rate": 0.005},
}


# Data sets that the supplement evaluates on with the model of another preset.
EVALUATION_ONLY = {"3dpw": "human36m"}


def preset_values() -> dict[str, Callable[[], Mapping[str, Any]]]:
    """What gives the values of each preset, by name."""
    return {name: partial(_values, name) for name in [*PRESETS, *EVALUATION_ONLY]}


def preset(name: str, **changes: Any) -> TrainConfig:
    """The settings of a preset, with changes.

    Raises:
        ConfigError: no such preset, or a data set that is only evaluated on.
    """
    return replace(TrainConfig(), **(_values(name) | changes))


def _values(name: str) -> dict[str, Any]:
    if name in EVALUATION_ONLY:
        mend = f"dp3d-model train --preset {EVALUATION_ONLY[name]}, then dp3d-model evaluate with the shards of {name}"
        raise ConfigError(f"{name} is a data set to evaluate on, not to train on", expected=EVALUATION_ONLY[name], hint=mend)
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else None
        raise ConfigError(f"unknown preset {name!r}", expected="one of " + ", ".join(PRESETS), hint=hint)
    return PRESETS[name]


def model_fields() -> tuple[str, ...]:
    """The settings that shape the network, so that a state fits only where they agree."""
    return tuple(field.name for field in fields(TrainConfig) if field.metadata["group"] == _MODEL) + ("noise", "seed")
