"""The settings of a model and of its training, and the presets: files of settings in recipes/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from dp3d_data.config import changed, flat, from_mapping, rare, read_toml, setting
from dp3d_data.errors import ConfigError, near_match

RECIPES = Path(__file__).parent / "recipes"
# Data sets that the supplement evaluates on with the model of another preset.
EVALUATION_ONLY = {"3dpw": "human36m"}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What deforms, and the network that tells how: everything that a state or a model file must agree on."""

    body: str = rare(
        "parts",
        "What deforms: soft parts, linear (of the basis), basis (C3DPO's), rigid, or the body of another package.",
    )
    network: bool = rare(True, "Predict with a network; without one only refinement finds the shape.")
    passes: int = rare(1, "Times that the network reads what its last answer leaves, and corrects it.", minimum=1)
    rotations: str = rare("6d", "Numbers of a rotation: six, or axis times angle.", choices=("6d", "log"))
    basis_shapes: int = rare(10, "Shapes of C3DPO's basis.", minimum=1)
    parts: int = rare(20, "Soft parts of the template.", minimum=1)
    blendshapes: int = rare(5, "Blendshapes; 0 for none.", minimum=0)
    basis: int = rare(64, "Laplace-Beltrami functions used.", minimum=1)
    sharpness: float = rare(200.0, "How crisp the parts start.", minimum=0)
    pivot: str = rare(
        "part",
        "Parts turn about their own centre, about the joint to their parent in a tree of parts, or about the origin.",
        choices=("part", "joint", "origin"),
    )
    camera: str = rare(
        "closed-form",
        "Camera: closed form and a learned residual, or learned.",
        choices=("closed-form", "learned"),
    )
    camera_steps: int = rare(0, "Gauss-Newton steps that fit the camera to each posed body.", minimum=0)
    scale: str = rare(
        "fitted",
        "Image scale: of the rigid fit, solved for each posed body, or with a learned correction.",
        choices=("fitted", "solved", "learned"),
    )
    projection: str = rare(
        "orthographic",
        "Projection: orthographic, or perspective where the shards know the intrinsics.",
        choices=("orthographic", "perspective"),
    )
    network_input: str = rare(
        "residual",
        "What the network reads: what the rigid fit leaves, or keypoints.",
        choices=("residual", "keypoints"),
    )
    keypoint_weights: bool = rare(False, "Trust each keypoint as far as its forward-backward weight says.")
    encoder: str = rare(
        "cells",
        "How the input is gathered: means over patches, or attention of latents over the visible surface.",
        choices=("cells", "attention"),
    )
    input_cells: int = rare(512, "Patches that the input is averaged over; 0 feeds every vertex.", minimum=0)
    latents: int = rare(32, "Latents of the attention.", minimum=1)
    latent_blocks: int = rare(2, "Blocks of self-attention among them.", minimum=0)
    width: int = rare(1024, "Width of the network.", minimum=1)
    bottleneck: int = rare(256, "Width inside a residual block.", minimum=1)
    norm: str = rare("layer", "Normalisation of its layers.", choices=("batch", "layer"))
    blocks: int = rare(6, "Residual blocks.", minimum=0)
    noise: str = rare(
        "off",
        "Predicted noise of each keypoint: off, clipped, or the literal formula.",
        choices=("off", "clipped", "literal"),
    )
    prior_directions: int = rare(
        0,
        "Directions of the body's numbers that are kept as a prior of poses and shapes; 0 for none.",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses, and what they are taken on."""

    epsilon: float = rare(0.01, "Pseudo-Huber threshold, template units.", minimum=1e-9)
    canonical: float = rare(0.0, "Weight of the canonicalisation loss.", minimum=0, was="canonical_weight")
    arap: float = rare(1.0, "Weight of the as-rigid-as-possible loss.", minimum=0, was="arap_weight")
    entropy: float = rare(0.001, "Weight of the parts' entropy.", minimum=0, was="entropy_weight")
    cycle: float = rare(
        1.0,
        "Weight of lifting the model's own shapes, seen as other instances are, back to themselves.",
        minimum=0,
        was="dream_weight",
    )
    truth: float = rare(
        0.0,
        "Weight of the distance to the true vertices, where the shards know them; these instances' keypoints then teach"
        " nothing.",
        minimum=0,
        was="truth_weight",
    )
    shape: float = rare(0.0, "Weight of the squared blendshape coefficients.", minimum=0, was="shape_weight")
    back_face: float = rare(
        0.0, "Weight of visible surface that faces away from the viewer.", minimum=0, was="facing_weight"
    )
    silhouette: float = rare(
        0.0,
        "Weight of hidden surface that lies outside the visible one.",
        minimum=0,
        was="outline_weight",
    )
    arap_rotations: str = rare(
        "best",
        "Local rotation: best for each one-ring, or blended from the parts.",
        choices=("best", "blended"),
    )
    arap_rest: str = rare(
        "shaped",
        "Edges are kept as in the template with blendshapes, or without.",
        choices=("shaped", "template"),
    )
    drawn_rings: int = rare(
        128,
        "One-rings of the template drawn for each step, on which its losses are taken; 0 takes all.",
        minimum=0,
    )
    canonical_copies: int = rare(1, "Random rotations of each shape for the canonicalisation.", minimum=1)
    canonical_instances: int = rare(
        0,
        "Instances of a batch, drawn at random, on which the canonicalisation is taken; 0 for all.",
        minimum=0,
    )
    canonical_law: str = rare(
        "uniform-angle",
        "Law of these rotations (C3DPO: uniform-angle).",
        choices=("uniform-angle", "uniform"),
    )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Steps and how they are made."""

    optimiser: str = rare("adamw", "Optimiser.", choices=("adamw", "sgd"))
    learning_rate: float = setting(1e-3, "Learning rate at its highest.", minimum=0)
    momentum: float = rare(0.99, "Momentum of sgd.", minimum=0, maximum=1)
    weight_decay: float = rare(0.001, "Weight decay.", minimum=0)
    schedule: str = rare(
        "cosine",
        "Learning rate: cosine to 0, or a tenth after 80 % of the steps.",
        choices=("cosine", "step"),
    )
    warmup: int = rare(20, "Steps of linear warm-up.", minimum=0)
    grad_clip: float = rare(1.0, "Largest norm of the gradient; 0 for none.", minimum=0, was="clip")
    batch: int = setting(128, "Instances in a step.", minimum=2)
    micro_batch: int = rare(
        0,
        "Instances handled at a time in a step, to save memory; 0 for all. Batch normalisation sees each part for"
        " itself.",
        minimum=0,
    )
    precision: str = rare(
        "float32",
        "Numbers inside the network while it trains.",
        choices=("float32", "bfloat16", "float16"),
    )
    divergence_factor: float = rare(
        100.0,
        "Stop where the loss is so many times the largest of the first 10 steps; 0 for never.",
        minimum=0,
        was="explosion",
    )
    steps: int = setting(400, "Steps; 0 counts epochs instead.", minimum=0)
    epochs: int = rare(0, "Epochs, where steps is 0.", minimum=0)
    ema_decay: float = rare(
        0.99,
        "Decay of the running average of the weights; 0 for none.",
        minimum=0,
        maximum=1,
        was="average",
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the network reads of an instance while it trains."""

    shuffle_buffer: int = rare(
        8192,
        "Instances shuffled together: more take more memory, 10 bytes a visible vertex; 0 for all.",
        minimum=0,
        was="window",
    )
    keypoint_dropout: float = rare(
        0.5,
        "Largest share of visible vertices hidden from the network at random.",
        minimum=0,
        maximum=1,
        was="hide",
    )
    mirror: bool = rare(False, "Show half of the instances mirrored, where the template's symmetry is known.")
    rotation: float = rare(0.0, "Largest turn in the image, degrees.", minimum=0, maximum=180, was="turn")
    warp: float = rare(0.0, "Largest smooth displacement of the keypoints it reads, sides of the box.", minimum=0)
    keypoint_jitter: float = rare(
        0.01, "Largest noise of the keypoints it reads, sides of the box.", minimum=0, was="shake"
    )


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Test-time optimisation: each instance is fitted to its own keypoints after the network."""

    steps: int = rare(
        0,
        "Steps that fit each instance's own keypoints after the network.",
        minimum=0,
        was="refine_steps",
    )
    learning_rate: float = rare(0.003, "Learning rate of these steps.", minimum=0, was="refine_rate")
    arap: float = rare(3.0, "Weight of the as-rigid-as-possible loss in them.", minimum=0, was="refine_arap")
    tie: float = rare(
        0.0,
        "Weight of the squared distance to the network's answer in them.",
        minimum=0,
        was="refine_tie",
    )
    silhouette: float = rare(
        0.0,
        "Weight of the distance to the mask, both ways, where there is one.",
        minimum=0,
        was="refine_silhouette",
    )
    prior: float = rare(
        0.0, "Weight of the squared distance to the middle of the prior.", minimum=0, was="refine_prior"
    )
    stay: float = rare(
        0.0,
        "Weight of the squared distance to the network's answer along the prior, in standard deviations.",
        minimum=0,
        was="refine_stay",
    )
    stride: float = rare(
        10.0,
        "Learning rate along the prior's directions, in standard deviations, over that of all else.",
        minimum=0,
        was="refine_stride",
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Random numbers and records of a run."""

    seed: int = setting(0, "Seed of every random number.", minimum=0)
    save_every: int = rare(100, "Steps between saved states.", minimum=1)
    log_every: int = rare(10, "Steps between lines of metrics.jsonl.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that shapes a trained model. The defaults are the preset `quick`."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    refine: RefineConfig = RefineConfig()
    run: RunConfig = RunConfig()


def preset(name: str, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """The settings of a preset.

    Args:
        changes: by dotted name or in tables, as `dp3d_data.config.changed` takes them.

    Raises:
        ConfigError: no such preset, or a data set that is only evaluated on; a wrong change.
    """
    return changed(from_mapping(TrainConfig, preset_values(name)), changes or {})


def presets() -> dict[str, Callable[[], Mapping[str, Any]]]:
    """What gives the values of each preset, by name: the default first, data sets that are only evaluated on last."""
    others = sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "quick")
    return {name: partial(preset_values, name) for name in ("quick", *others, *EVALUATION_ONLY)}


@cache
def preset_values(name: str) -> dict[str, Any]:
    """The tables of a recipe, over those of the one that it names as its `base`.

    Raises:
        ConfigError: no such preset, or a data set that is only evaluated on.
    """
    if name in EVALUATION_ONLY:
        what, other = f"{name} is a data set to evaluate on, not to train on", EVALUATION_ONLY[name]
        hint = f"dp3d-model train --preset {other}, then dp3d-model evaluate with the shards of {name}"
        raise ConfigError(what, expected=other, hint=hint)
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        known = presets()
        hint, expected = near_match(name, known), "one of " + ", ".join(known)
        raise ConfigError(f"unknown preset {name!r}", expected=expected, hint=hint)
    values = flat(read_toml(path))
    base = values.pop("base", None)
    return (preset_values(base) if base else {}) | values
