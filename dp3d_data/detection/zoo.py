"""The table of networks: those published for DensePose, and those of this project. Light to import."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from dp3d_data.detection.spec import ModelSpec
from dp3d_data.errors import InputMissing, UsageError

PUBLISHER = "https://dl.fbaipublicfiles.com/densepose/"
ANIMALS_4K = (
    "bear_4936",
    "cow_5002",
    "cat_5001",
    "dog_5002",
    "elephant_5002",
    "giraffe_5002",
    "horse_5004",
    "sheep_5004",
    "zebra_5002",
)
ANIMALS_16K = tuple(name.replace("cat_5001", "cat_7466").replace("dog_5002", "dog_7466") for name in ANIMALS_4K)
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
    return ModelSpec(
        name=f"cse/{name}",
        class_to_mesh=dict(enumerate(meshes)),
        mesh_sizes={mesh: int(mesh.rpartition("_")[2]) for mesh in held},
        checkpoint_url=url,
        note=note,
        **_shape(name),
    )


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


def _small(name: str, mesh: str, vertices: int, note: str, **shape: Any) -> ModelSpec:
    """The networks that this project trains: a narrow ResNet-18 with FPN, decoder and a dense head of four
    convolutions, or as told."""
    narrow = ModelSpec(
        name=name,
        class_to_mesh={0: mesh},
        mesh_sizes={mesh: vertices},
        note=note,
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
    return replace(narrow, **shape)


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

OWN = (
    ANIMALS,
    _small("narrow-18", "dog", 3123, "one kind, to train from nothing; small"),
    _small("narrow-18-dl", "dog", 3123, "one kind, to train from nothing; atrous head", head="deeplab"),
    _small(
        "narrow-34-dl", "dog", 3123, "one kind, to train from nothing; larger", depth=34, head="deeplab", non_local=True
    ),
)


FOLDER = Path(__file__).parent / "data"


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
