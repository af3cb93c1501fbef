"""Everything that shapes a network: backbone, box branch, dense head, meshes, input size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dp3d_data.categories import CATEGORIES
from dp3d_data.categories import category as category_named
from dp3d_data.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network. The defaults are those of the published ResNet-50 CSE models.

    Attributes:
        name: as the user types it.
        kind: "cse" (pixel embeddings) or "chart" (body part, u and v).
        class_to_mesh: mesh whose vertices each class is matched to; empty for charts.
        class_names: category of each class, where the meshes do not say it.
        mesh_sizes: number of vertices of every mesh that the weights hold, used by a class or not.
        checkpoint_url: where the weights are published; None where they are not.
        note: one line on what it is for.

        other_classes: classes after those of the meshes that are found and matched to nothing, as other animals.
        trunk: "resnet", or "lite0" / "lite2" (EfficientNet-Lite).
        crop_side: side of the square crop of each box that the trunk looks at again for the dense maps, pixels; 0: the
            dense maps come from the features of the whole image, as published.
        depth: of a ResNet: 18 or 34 (blocks of two convolutions, any width), 50 or 101.
        stem_channels, res2_channels, group_width: widths of the ResNet; res3..res5 double res2's.
        stride_in_1x1: which convolution of a bottleneck strides.
        norm: "FrozenBN" or "BN".
        fpn_channels: channels of p2..p6.
        box_fc: width of the two fully connected layers of the box head.
        proposals: boxes kept before and after suppression at inference.
        training_proposals, training_rois: the same in training, and how many of them an image teaches the box head.
        detections: most boxes an image.
        score_threshold, nms_threshold: of the box branch at inference.
        pooling: "ROIAlign" or "ROIAlignV2"; the second shifts by half a pixel, as image coordinates ask for.

        decoder: merge p2..p5 to stride 4 before pooling.
        decoder_channels, decoder_out: widths inside and at the end of the decoder.
        head: "conv" or "deeplab"; non_local adds an attention block to the second. "crop" goes with crop_side.
        head_convs, head_channels: convolutions of the dense head; token blocks of a "crop" head.
        head_context: whether the cells of a "crop" head see the whole crop.
        head_norm: GroupNorm in a "conv" head; "deeplab" always has it.
        pool_size: side of the pooled map; predictions are four times as wide.
        coarse_channels: of the coarse segmentation, background first.
        embed_size, embed_features: dimensions of an embedding, mesh functions it is made of.
        patches: number of charts.
        uv_confidence: None, "iid_iso" or "indep_aniso".
        segm_confidence: confidence of the segmentations.

        min_side, max_side: shortest side the image is scaled to, and the longest it may get, pixels.
        pixel_mean, pixel_std: BGR, 0..255.
    """

    name: str
    kind: str = "cse"
    class_to_mesh: dict[int, str] = field(default_factory=dict)
    class_names: dict[int, str] = field(default_factory=dict)
    mesh_sizes: dict[str, int] = field(default_factory=dict)
    checkpoint_url: str | None = None
    note: str = ""

    other_classes: int = 0
    trunk: str = "resnet"
    crop_side: int = 0
    depth: int = 50
    stem_channels: int = 64
    res2_channels: int = 256
    group_width: int = 64
    stride_in_1x1: bool = True
    norm: str = "FrozenBN"
    fpn_channels: int = 256
    box_fc: int = 1024
    proposals: tuple[int, int] = (1000, 1000)
    training_proposals: tuple[int, int] = (2000, 1000)
    training_rois: int = 512
    detections: int = 100
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    pooling: str = "ROIAlign"

    decoder: bool = True
    decoder_channels: int = 256
    decoder_out: int = 256
    head: str = "conv"
    non_local: bool = False
    head_convs: int = 8
    head_channels: int = 512
    head_context: bool = True
    head_norm: bool = False
    pool_size: int = 28
    coarse_channels: int = 2
    embed_size: int = 16
    embed_features: int = 256
    patches: int = 24
    uv_confidence: str | None = None
    segm_confidence: bool = False

    min_side: int = 800
    max_side: int = 1333
    pixel_mean: tuple[float, float, float] = (103.53, 116.28, 123.675)
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def looking_at(self, side: int) -> ModelSpec:
        """The same network for images whose shortest side is scaled to so many pixels, and the longest one's limit."""
        return replace(self, min_side=side, max_side=round(self.max_side * side / self.min_side))

    @property
    def num_classes(self) -> int:
        """Classes of the box branch: one per mesh and the others, one where there is no mesh."""
        return max(1, len(self.class_to_mesh) + self.other_classes)

    @property
    def levels(self) -> list[str]:
        """Levels of the FPN that boxes are pooled from; the trunk of a second look needs none of stride 4."""
        return ["p2", "p3", "p4", "p5"] if self.trunk == "resnet" else ["p3", "p4", "p5"]


def class_and_mesh(spec: ModelSpec, category: str) -> tuple[int, str]:
    """Class and mesh that stand for a category; the mesh is empty for charts.

    Raises:
        UsageError: this network does not know it.
    """
    entry = category_named(category)
    if spec.kind == "chart":
        if category == "person":
            return 0, ""
        raise UsageError(f"{spec.name} knows people only", got=category, hint="choose a CSE model: dp3d-data zoo list")
    for number, name in spec.class_names.items():
        if name == category and number in spec.class_to_mesh:
            return number, spec.class_to_mesh[number]
    names = {name for name in (entry.template, entry.mesh_4k, entry.mesh_16k) if name}
    for class_id, mesh in spec.class_to_mesh.items():
        if mesh in names:
            return class_id, mesh
    held = sorted(names & set(spec.mesh_sizes))
    if held and spec.num_classes == 1:
        return 0, held[0]
    ours = {mesh for one in CATEGORIES.values() for mesh in (one.template, one.mesh_4k, one.mesh_16k)}
    mesh = spec.class_to_mesh.get(0, "")
    if spec.num_classes == 1 and mesh not in ours:  # trained by the user, on a template of their own
        return 0, mesh
    if entry.class_id is not None and spec.class_to_mesh.get(entry.class_id) not in {None, *ours}:
        return entry.class_id, spec.class_to_mesh[entry.class_id]  # carried to the user's own: dp3d-data template adopt
    expected = "one of its meshes: " + ", ".join(sorted(spec.class_to_mesh.values()))
    raise UsageError(f"{spec.name} does not know {category!r}", expected=expected, hint="dp3d-data zoo list")
