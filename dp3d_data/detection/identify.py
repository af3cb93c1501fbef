"""Which network a file of weights belongs to, and what zoo check tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from dp3d_data.detection.spec import ModelSpec
from dp3d_data.detection.zoo import zoo_specs
from dp3d_data.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
DENSE = "roi_heads.densepose_predictor."
EMBEDDER = "roi_heads.embedder.embedder_"
BLOCKS = "backbone.bottom_up._blocks."
TRUNKS = {16: "lite0", 21: "lite2"}  # by number of blocks
# What a training may choose of a network's shape.
SHAPE = {"trunk": ("resnet", "lite0", "lite2"), "head_context": (True, False), "stride_in_1x1": (True, False)}
SMALLEST, LARGEST = 16, 8192  # sides of images, pixels
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Traits:
    """What tells networks apart."""

    kind: str
    trunk: str
    depth: int
    head: str
    non_local: bool
    decoder: bool
    coarse_channels: int
    uv_confidence: str | None
    segm_confidence: bool
    num_classes: int
    head_channels: int
    meshes: frozenset[tuple[str, int]]


def traits_of_spec(spec: ModelSpec) -> Traits:
    """The traits of a network in the table."""
    same = {name: getattr(spec, name) for name in Traits.__dataclass_fields__ if name != "meshes"}
    return Traits(**same, meshes=frozenset(spec.mesh_sizes.items()))


def traits_of_state(shapes: Shapes) -> Traits:
    """The traits that a state dict shows; zero or none where it shows nothing."""
    cse = f"{DENSE}embed_lowres.weight" in shapes
    coarse = shapes.get(f"{DENSE}coarse_segm_lowres.weight" if cse else f"{DENSE}ann_index_lowres.weight", (0, 0))
    uv = "indep_aniso" if f"{DENSE}kappa_u_lowres.weight" in shapes else "iid_iso"
    sized = {
        name.removeprefix(EMBEDDER).removesuffix(".features"): shape[0]
        for name, shape in shapes.items()
        if name.startswith(EMBEDDER) and name.endswith(".features") and shape
    }
    classes = shapes.get("roi_heads.box_predictor.cls_score.weight", (1,))
    return Traits(
        trunk=_trunk(shapes),
        kind="cse" if cse else "chart" if f"{DENSE}u_lowres.weight" in shapes else "",
        depth=_depth(shapes),
        head=_head(shapes),
        non_local="roi_heads.densepose_head.NLBlock.theta.weight" in shapes,
        decoder="roi_heads.decoder.predictor.weight" in shapes,
        coarse_channels=coarse[1],
        uv_confidence=uv if f"{DENSE}sigma_2_lowres.weight" in shapes else None,
        segm_confidence=f"{DENSE}fine_segm_confidence_lowres.weight" in shapes,
        num_classes=classes[0] - 1,
        head_channels=coarse[0],
        meshes=frozenset(sized.items()),
    )


def _head(shapes: Shapes) -> str:
    if "roi_heads.densepose_head.deep.weight" in shapes:
        return "crop"
    return "deeplab" if "roi_heads.densepose_head.ASPP.project.0.weight" in shapes else "conv"


def _trunk(shapes: Shapes) -> str:
    blocks = [name for name in shapes if name.startswith(BLOCKS) and name.endswith("_project_conv.weight")]
    return TRUNKS.get(len(blocks), "resnet")


def _depth(shapes: Shapes) -> int:
    if _trunk(shapes) != "resnet":
        return 0
    if "backbone.bottom_up.res4.22.conv3.weight" in shapes:
        return 101
    if "backbone.bottom_up.res2.0.conv3.weight" in shapes:
        return 50
    return 34 if "backbone.bottom_up.res4.5.conv2.weight" in shapes else 18


def matching_specs(shapes: Shapes) -> list[ModelSpec]:
    """Networks of the table that this state dict can belong to; several share one shape."""
    traits = traits_of_state(shapes)
    return [spec for spec in zoo_specs().values() if traits_of_spec(spec) == traits]


def nearest_spec(shapes: Shapes) -> tuple[ModelSpec, list[str]]:
    """The network that shares most traits, and the traits in which it differs."""
    seen = asdict(traits_of_state(shapes))
    differing = {}
    for name, spec in zoo_specs().items():
        differing[name] = [key for key, value in asdict(traits_of_spec(spec)).items() if seen[key] != value]
    name = min(differing, key=lambda one: len(differing[one]))
    return zoo_specs()[name], differing[name]


def guess_spec(shapes: Shapes, notes: Mapping) -> ModelSpec | None:
    """The network of a file: the one it names, else the first that fits, else None."""
    specs = zoo_specs()
    if notes.get("name") in specs:
        return as_trained(specs[notes["name"]], notes)
    return next(iter(matching_specs(shapes)), None)


def as_trained(spec: ModelSpec, notes: Mapping) -> ModelSpec:
    """The specification with the shape, the meshes and the size of images that a file of this project was trained for.

    Raises:
        CheckpointError: a size, shape or number of classes that no training has.
    """
    if "min_side" in notes:
        low, high = notes["min_side"], notes.get("max_side")
        if not isinstance(low, int) or not isinstance(high, int) or not SMALLEST <= low <= high <= LARGEST:
            raise CheckpointError(
                "these weights name no size of images", got=(low, high), expected=f"{SMALLEST} to {LARGEST} pixels"
            )
        spec = replace(spec, min_side=low, max_side=high)
    if "shape" in notes:
        spec = _of_shape(spec, notes["shape"])
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


def _of_shape(spec: ModelSpec, shape: object) -> ModelSpec:
    if isinstance(shape, Mapping) and all(value in SHAPE.get(name, ()) for name, value in shape.items()):
        if (shape.get("trunk", spec.trunk) == "resnet") == (spec.trunk == "resnet"):
            return replace(spec, **shape)
    expected = f"one that {spec.name} can have"
    raise CheckpointError("these weights name no shape of a network", got=shape, expected=expected)
