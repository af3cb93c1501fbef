"""The table of networks, DensePose's and this project's, and which one weights belong to. Light to import."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from dp3d_data.categories import CATEGORIES
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.errors import CheckpointError, InputMissing, UsageError

PUBLISHER = "https://dl.fbaipublicfiles.com/densepose/"
# In the order of their classes.
ANIMALS_4K = tuple(entry.mesh_4k for entry in CATEGORIES.values() if entry.class_id is not None)
ANIMALS_16K = tuple(entry.mesh_16k for entry in CATEGORIES.values() if entry.class_id is not None)
BODY = "smpl_27554"

# name without its prefix -> where its weights lie below cse/ (None: not published); a leading / leaves cse/ out
CSE_PEOPLE = {
    "R_101_FPN_DL_s1x": "/densepose_rcnn_R_101_FPN_DL_s1x/165712116/model_final_844d15",
    "R_101_FPN_DL_soft_s1x": "250713061/model_final_1d3314",
    "R_101_FPN_s1x": "/densepose_rcnn_R_101_FPN_s1x/165712084/model_final_c6ab63",
    "R_101_FPN_soft_s1x": "250712522/model_final_4637da",
    "R_50_FPN_DL_s1x": "/densepose_rcnn_R_50_FPN_DL_s1x/165712097/model_final_0ed407",
    "R_50_FPN_DL_soft_s1x": "250713703/model_final_9199f5",
    "R_50_FPN_s1x": "/densepose_rcnn_R_50_FPN_s1x/165712039/model_final_162be9",
    "R_50_FPN_soft_s1x": "250533982/model_final_2c4512",
}
# name -> (weights, meshes of its classes in order, meshes that the weights hold)
CSE_ANIMALS = {
    "CA_finetune_16k": (None, ("sheep_5004",), ANIMALS_16K),
    "CA_finetune_4k": ("253498611/model_final_6d69b7", ("sheep_5004",), ANIMALS_4K),
    "I0_finetune_16k": ("270727112/model_final_421d28", ANIMALS_16K, ANIMALS_16K),
    "I0_finetune_i2m_16k": ("270727461/model_final_8c9d99", ANIMALS_16K, ANIMALS_16K),
    "I0_finetune_m2m_16k": ("270982215/model_final_6fe5f4", ANIMALS_16K, (*ANIMALS_16K, BODY)),
    "finetune_16k": (None, ANIMALS_16K, ANIMALS_16K),
    "finetune_4k": ("253145793/model_final_8f8ba2", ANIMALS_4K, ANIMALS_4K),
    "finetune_maskonly_24k": (None, ANIMALS_16K, ANIMALS_16K),
}
CHARTS = {
    "R_101_FPN_DL_WC1M_s1x": "216245771/model_final_0ebeb3",
    "R_101_FPN_DL_WC1_s1x": "173858525/model_final_f359f3",
    "R_101_FPN_DL_WC2M_s1x": "216245790/model_final_de6e7a",
    "R_101_FPN_DL_WC2_s1x": "173294801/model_final_6e1ed1",
    "R_101_FPN_DL_s1x": "165712116/model_final_844d15",
    "R_101_FPN_WC1M_s1x": "216453687/model_final_0a7287",
    "R_101_FPN_WC1_s1x": "171402969/model_final_9e47f0",
    "R_101_FPN_WC2M_s1x": "216245682/model_final_e354d9",
    "R_101_FPN_WC2_s1x": "173860702/model_final_5ea023",
    "R_101_FPN_s1x": "165712084/model_final_c6ab63",
    "R_101_FPN_s1x_legacy": "164832182/model_final_10af0e",
    "R_50_FPN_DL_WC1M_s1x": "216245703/model_final_61971e",
    "R_50_FPN_DL_WC1_s1x": "173067973/model_final_b1e525",
    "R_50_FPN_DL_WC2M_s1x": "216245758/model_final_7bfb43",
    "R_50_FPN_DL_WC2_s1x": "173859335/model_final_60fed4",
    "R_50_FPN_DL_s1x": "165712097/model_final_0ed407",
    "R_50_FPN_WC1M_s1x": "217144516/model_final_48a9d9",
    "R_50_FPN_WC1_s1x": "173862049/model_final_289019",
    "R_50_FPN_WC2M_s1x": "216245640/model_final_d79ada",
    "R_50_FPN_WC2_s1x": "173861455/model_final_3abe14",
    "R_50_FPN_s1x": "165712039/model_final_162be9",
    "R_50_FPN_s1x_legacy": "164832157/model_final_d366fa",
}


@cache
def zoo_specs() -> dict[str, ModelSpec]:
    """Every network by name: published ones under their published names, then this project's."""
    cse = [_cse(f"densepose_rcnn_{name}", where, (BODY,), (BODY,), "people") for name, where in CSE_PEOPLE.items()]
    prefix = "densepose_rcnn_R_50_FPN_soft"
    for name, (where, meshes, held) in CSE_ANIMALS.items():
        note = "animals, without their kind" if name.startswith("CA") else "nine kinds of animals"
        cse.append(_cse(f"{prefix}_animals_{name}", where, meshes, held, note))
    chimps = "253146869/model_final_52f649"
    cse.append(_cse(f"{prefix}_chimps_finetune_4k", chimps, ("chimp_5029",), ("chimp_5029",), "chimpanzees"))
    charts = [_chart(f"densepose_rcnn_{name}", where) for name, where in CHARTS.items()]
    return {spec.name: spec for spec in (*cse, *charts, *OWN)}


def find_spec(name: str) -> ModelSpec:
    """Look a network up by name.

    Raises:
        UsageError: no such network; names the near matches.
    """
    specs = zoo_specs()
    if name in specs:
        return specs[name]
    near = difflib.get_close_matches(name, specs, n=2, cutoff=0.5)
    raise UsageError(f"unknown model {name!r}", expected=" or ".join(near) or None, hint="dp3d-data zoo list")


def _shape(name: str) -> dict[str, Any]:
    """What a published name says of the network's shape."""
    return {"depth": 101 if "R_101" in name else 50, "head": "deeplab" if "_DL_" in name else "conv"}


def _cse(name: str, where: str | None, meshes: tuple[str, ...], held: tuple[str, ...], note: str) -> ModelSpec:
    url = None
    if where is not None:
        url = PUBLISHER + (where[1:] if where.startswith("/") else f"cse/{name}/{where}") + ".pkl"
    classes, sizes = dict(enumerate(meshes)), {mesh: int(mesh.rpartition("_")[2]) for mesh in held}
    told: dict[str, Any] = {"class_to_mesh": classes, "mesh_sizes": sizes, "checkpoint_url": url, "note": note}
    return ModelSpec(name=f"cse/{name}", **told, **_shape(name))


def _chart(name: str, where: str) -> ModelSpec:
    spec = ModelSpec(
        name=name,
        kind="chart",
        checkpoint_url=f"{PUBLISHER}{name}/{where}.pkl",
        note="people",
        uv_confidence="iid_iso" if "_WC1" in name else "indep_aniso" if "_WC2" in name else None,
        segm_confidence="_WC1M" in name or "_WC2M" in name,
        **_shape(name),
    )
    return replace(spec, coarse_channels=15, decoder=False, pool_size=14) if name.endswith("_legacy") else spec


ANIMALS = ModelSpec(
    name="animals-3",
    class_to_mesh={0: "dog", 1: "cow"},
    class_names={0: "dog", 1: "cow", 2: "other"},
    mesh_sizes={"dog": 3123, "cow": 2930},
    other_classes=1,
    note="dogs and cows, and other four-legged animals as such",
    trunk="lite0",
    crop_side=256,
    depth=0,
    fpn_channels=64,
    box_fc=256,
    proposals=(300, 100),
    training_proposals=(200, 100),
    training_rois=64,
    detections=20,
    pooling="ROIAlignV2",
    decoder=False,
    head="crop",
    head_convs=2,
    head_channels=64,
    embed_features=64,
    min_side=256,
    max_side=448,
    pixel_mean=(127.0, 127.0, 127.0),
    pixel_std=(128.0, 128.0, 128.0),
)

# A narrow ResNet-18 with FPN, decoder and a dense head of four convolutions.
NARROW = ModelSpec(
    name="narrow-18",
    class_to_mesh={0: "dog"},
    mesh_sizes={"dog": 3123},
    note="one kind, to train from nothing; small",
    depth=18,
    stem_channels=32,
    res2_channels=32,
    stride_in_1x1=False,
    norm="BN",
    fpn_channels=64,
    box_fc=256,
    proposals=(300, 100),
    training_proposals=(200, 100),
    training_rois=32,
    detections=20,
    pooling="ROIAlignV2",
    decoder_channels=64,
    decoder_out=64,
    head_convs=4,
    head_channels=96,
    head_norm=True,
    embed_features=64,
    min_side=192,
    max_side=336,
    pixel_std=(57.375, 57.12, 58.395),
)
ATROUS = replace(NARROW, name="narrow-18-dl", note="one kind, to train from nothing; atrous head", head="deeplab")
LARGER = replace(ATROUS, name="narrow-34-dl", note="one kind, to train from nothing; larger", depth=34, non_local=True)
OWN = (ANIMALS, NARROW, ATROUS, LARGER)


FOLDER = Path(__file__).parent / "data"
RECOGNITION = FOLDER / "animals-3-recognition.npz"  # of the shipped weights: tells what is no dog


def shipped_path(spec: ModelSpec) -> Path:
    """Where a network's weights lie if they are shipped."""
    return FOLDER / f"{spec.name}.pth"


def shipped_weights(spec: ModelSpec) -> Path:
    """The weights that come with the project.

    Raises:
        InputMissing: this network's do not; says where to get them.
    """
    path = shipped_path(spec)
    if path.is_file():
        return path
    if spec.checkpoint_url:
        hint = f"curl -fLO {spec.checkpoint_url} and give the file: --weights {spec.checkpoint_url.rpartition('/')[2]}"
    elif spec.name.startswith("cse/"):
        hint = "its weights were never published; choose another: dp3d-data zoo list"
    else:
        hint = "train it: dp3d-data train-cse --category dog, and give the file: --weights FILE"
    raise InputMissing(f"the weights of {spec.name} are not here", expected=path, hint=hint)


Shapes = Mapping[str, tuple[int, ...]]
DENSE = "roi_heads.densepose_predictor."
EMBEDDER = "roi_heads.embedder.embedder_"
BLOCKS = "backbone.bottom_up._blocks."
TRUNKS = {16: "lite0", 21: "lite2"}  # by number of blocks
# What a training may choose of a network's shape.
SHAPE = {"trunk": ("resnet", "lite0", "lite2"), "head_context": (True, False), "stride_in_1x1": (True, False)}
SMALLEST, LARGEST = 16, 8192  # sides of images, pixels
MOST_CLASSES = 10_000


def traits_of_state(shapes: Shapes) -> dict[str, Any]:
    """What tells networks apart, by the names of `ModelSpec`, as a state dict shows it; zero where it does not."""
    cse = f"{DENSE}embed_lowres.weight" in shapes
    coarse = shapes.get(f"{DENSE}coarse_segm_lowres.weight" if cse else f"{DENSE}ann_index_lowres.weight", (0, 0))
    uv = "indep_aniso" if f"{DENSE}kappa_u_lowres.weight" in shapes else "iid_iso"
    sized = {
        name.removeprefix(EMBEDDER).removesuffix(".features"): shape[0]
        for name, shape in shapes.items()
        if name.startswith(EMBEDDER) and name.endswith(".features") and shape
    }
    classes = shapes.get("roi_heads.box_predictor.cls_score.weight", (1,))
    trunk, depth = _trunk_and_depth(shapes)
    deeplab = "roi_heads.densepose_head.ASPP.project.0.weight" in shapes
    crop = "roi_heads.densepose_head.deep.weight" in shapes
    return dict(
        trunk=trunk,
        kind="cse" if cse else "chart" if f"{DENSE}u_lowres.weight" in shapes else "",
        depth=depth,
        head="crop" if crop else "deeplab" if deeplab else "conv",
        non_local="roi_heads.densepose_head.NLBlock.theta.weight" in shapes,
        decoder="roi_heads.decoder.predictor.weight" in shapes,
        coarse_channels=coarse[1],
        uv_confidence=uv if f"{DENSE}sigma_2_lowres.weight" in shapes else None,
        segm_confidence=f"{DENSE}fine_segm_confidence_lowres.weight" in shapes,
        num_classes=classes[0] - 1,
        head_channels=coarse[0],
        mesh_sizes=sized,
    )


def _trunk_and_depth(shapes: Shapes) -> tuple[str, int]:
    blocks = [name for name in shapes if name.startswith(BLOCKS) and name.endswith("_project_conv.weight")]
    if len(blocks) in TRUNKS:
        return TRUNKS[len(blocks)], 0
    last = {101: "res4.22.conv3", 50: "res2.0.conv3", 34: "res4.5.conv2"}
    held = (depth for depth, name in last.items() if f"backbone.bottom_up.{name}.weight" in shapes)
    return "resnet", next(held, 18)


def differing_traits(spec: ModelSpec, shapes: Shapes) -> list[str]:
    """The traits in which a network of the table is not the one of a state dict."""
    return [name for name, value in traits_of_state(shapes).items() if getattr(spec, name) != value]


def matching_specs(shapes: Shapes) -> list[ModelSpec]:
    """Networks of the table that this state dict can belong to; several share one shape."""
    return [spec for spec in zoo_specs().values() if not differing_traits(spec, shapes)]


def nearest_spec(shapes: Shapes) -> ModelSpec:
    """The network that shares most traits with a state dict."""
    return min(zoo_specs().values(), key=lambda spec: len(differing_traits(spec, shapes)))


def guess_spec(shapes: Shapes, notes: Mapping) -> ModelSpec | None:
    """The network of a file: the one it names, else the first that fits, else None."""
    specs = zoo_specs()
    if notes.get("name") in specs:
        return as_trained(specs[notes["name"]], notes)
    return next(iter(matching_specs(shapes)), None)


def as_trained(spec: ModelSpec, notes: Mapping) -> ModelSpec:
    """The specification with the shape, meshes and size of images that a file of this project was trained for.

    Raises:
        CheckpointError: a size, shape or number of classes that no training has.
    """
    if "min_side" in notes:
        low, high = notes["min_side"], notes.get("max_side")
        if not isinstance(low, int) or not isinstance(high, int) or not SMALLEST <= low <= high <= LARGEST:
            expected = f"{SMALLEST} to {LARGEST} pixels"
            raise CheckpointError("these weights name no size of images", got=(low, high), expected=expected)
        spec = replace(spec, min_side=low, max_side=high)
    shape = notes.get("shape", {})
    known = isinstance(shape, Mapping) and all(value in SHAPE.get(name, ()) for name, value in shape.items())
    if not known or (shape.get("trunk", spec.trunk) == "resnet") != (spec.trunk == "resnet"):
        expected = f"one that {spec.name} can have"
        raise CheckpointError("these weights name no shape of a network", got=shape, expected=expected)
    spec = replace(spec, **shape)
    if "class_names" in notes:
        others = notes.get("other_classes", spec.other_classes)
        if not isinstance(others, int) or not 0 <= others <= MOST_CLASSES:
            expected = f"0 to {MOST_CLASSES}"
            raise CheckpointError("these weights name no number of classes", got=others, expected=expected)
        class_names = {int(key): name for key, name in notes["class_names"].items()}
        spec = replace(spec, class_names=class_names, other_classes=others)
    if "mesh_sizes" not in notes:
        return spec
    classes = {int(key): mesh for key, mesh in notes["class_to_mesh"].items()}
    return replace(spec, class_to_mesh=classes, mesh_sizes=dict(notes["mesh_sizes"]))
