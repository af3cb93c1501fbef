"""The settings of the commands. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dp3d_data.categories import SCORE, SEVERAL
from dp3d_data.config import part_of, rare, setting, workspace
from dp3d_data.synthesis import WorldConfig
from dp3d_model.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which photographs, which network, what to keep, and how to run."""

    category: str = setting("dog", f"Kind of animal to look for. {SEVERAL}", group="Input")
    dataset: str = setting(
        "", "Dataset or layout, see docs/datasets.md. None: folder, or the samples.", group="Input", was="source"
    )
    path: str = setting("", "File of annotations or results, or root folder of the dataset.", group="Input")
    images: tuple[str, ...] = setting(
        (), "Folder, file, pattern or address of photographs; again for more.", group="Input"
    )
    split: str = setting("", "Only this of the dataset's own splits: train, val or test.", group="Input")
    category_in_file: str = rare("", "Name or id of the category there, where it differs.", group="Input")
    given_boxes: bool = rare(True, "Take the boxes that the source gives; without, detect.", group="Input")
    masks: bool = setting(False, "Keep only pixels inside the masks that the source gives.", group="Input")
    boxes: str = setting("", "Boxes instead of detections: COCO's json, plain json or csv.", group="Input")
    max_pixels: int = rare(100_000_000, "Images with more pixels fail.", group="Input", minimum=1, maximum=300_000_000)
    model: str = setting("", "Network: dp3d-data zoo list. None: the category's embedded one.", group="Network")
    weights: str = setting("", "Checkpoint, .pth or .pkl. None: the embedded one.", group="Network")
    template: str = setting("", "Name, file, or folder with a file a category. None: built-in.", group="Network")
    charts: str = setting("", "Where the vertices lie on the charts of people: UV_Processed.mat.", group="Network")
    score: float = setting(
        SCORE, "Detections below this score are not looked at.", group="Network", minimum=0, maximum=1
    )
    side: int = rare(
        0, "Shortest side of images for the network. 0: its own.", group="Network", minimum=0, maximum=4000
    )
    recognise: bool = rare(
        True, "Drop what does not look like a dog (embedded network); false for renders.", group="Network"
    )
    mirror: bool = rare(
        False, "Look at the mirror image of each animal too: better, at 1.4 times the cost.", group="Network"
    )
    min_vertices: int = rare(20, "Instances with fewer visible vertices are rejected.", group="Filters", minimum=1)
    cycle: bool = rare(True, "Weigh keypoints forward and backward: pixel, vertex, pixel.", group="Filters")
    out: str = setting("", "Folder of the results. None: extract in the workspace of the category.", group="Output")
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    retry_failed: bool = setting(False, "Try the failed images of a finished run again.", group="Output")
    dry_run: bool = setting(False, "Estimate time and space; write nothing.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(32, "Images per chunk; a killed run loses no finished chunk.", group="Output", minimum=1)
    device: str = setting("cpu", "cpu, cuda (each process its own GPU) or cuda:N.", group="Machine")
    workers: int = setting(0, "Processes, each with a network. 0: by cores, GPUs and work.", group="Machine", minimum=0)
    scheduler: str = rare("", "Address of a running Dask scheduler, whose workers do the work.", group="Machine")
    cluster: str = setting("", "Cluster to start: slurm, cuda, or a file as recipes/slurm.toml.", group="Machine")
    readers: int = rare(
        0, "Threads of a process that decode ahead. 0: 1 on the CPU, else 4.", group="Machine", minimum=0
    )
    batch: int = rare(0, "Images of one shape in a pass. 0: 1 on the CPU, else 8.", group="Machine", minimum=0)
    precision: str = rare(
        "float32",
        "Numbers inside the network; the 16-bit ones are for GPUs.",
        group="Machine",
        choices=("float32", "bfloat16", "float16"),
    )
    channels_last: bool = rare(False, "Memory order that tensor cores like.", group="Machine")
    compile: bool = rare(False, "Compile the backbone: pays in long runs of few image shapes.", group="Machine")
    threads: int = rare(
        1, "Threads of each process; their number may change last bits of the results.", group="Machine", minimum=1
    )

    def result(self) -> dict[str, object]:
        """The settings that shape the results: not where they go, nor how fast they come, nor where the inputs lie."""
        network = "category", "masks", "max_pixels", "score", "side", "recognise", "precision", "cycle"
        names = (*network, "min_vertices", "overlays", "part")
        mirror = {"mirror": True} if self.mirror else {}  # runs without it keep their fingerprint
        return {name: getattr(self, name) for name in names} | mirror

    @property
    def elsewhere(self) -> bool:
        """Whether the workers may be on other machines."""
        return bool(self.scheduler or self.cluster)


@dataclass(frozen=True, kw_only=True)
class LearningConfig(TrainConfig):
    """What is learned from, where results lie, and the recipe of the model."""

    category: str = setting("dog", "Whose part of the workspace to use.", group="Input")
    shards: str = setting("", "Shards to learn from, also at an fsspec address. None: the category's.", group="Input")
    split: str = rare("train", "Split to learn from.", group="Input")
    threads: int = rare(1, "Threads that read ahead.", group="Input", minimum=0)
    out: str = setting("", "Folder of the results. None: in the category's part of the workspace.", group="Output")
    overwrite: bool = setting(False, "Discard what other settings left in that folder.", group="Output")

    def recipe(self) -> TrainConfig:
        """The settings of the model alone."""
        return part_of(self, TrainConfig)

    def source(self) -> str:
        """The shards to learn from."""
        return self.shards or str(workspace(self.category) / "shards")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(LearningConfig):
    """One training."""

    device: str = setting("cpu", "Where to compute: cpu, cuda, cuda:1, ...", group="Input")
    init: str = setting("", "Start from this model's weights and network; embedded: the shipped one.", group="Input")
    mix: str = setting(
        "", "synth: learn from synthetic views with their truth too.", group="Input", choices=("", "synth")
    )
    resume: bool = setting(False, "Go on from the saved state with other settings.", group="Output")
    tensorboard: bool = rare(False, "Write event files for TensorBoard too.", group="Output")


@dataclass(frozen=True, kw_only=True)
class StudyConfig(LearningConfig):
    """Several trainings, measured on the same instances."""

    test_shards: str = rare("", "Shards with truth to measure on. None: those of --shards.", group="Input")
    test_split: str = rare("val", "Split to measure on.", group="Input")
    count: int = rare(0, "First test instances; 0 takes all.", group="Input", minimum=0)

    def test_source(self) -> str:
        """The shards to measure on."""
        return self.test_shards or self.source()


@dataclass(frozen=True, kw_only=True)
class AblationConfig(StudyConfig):
    """The rows of an ablation."""

    row: tuple[str, ...] = setting((), "Row, or supplement, or ours; again for more. None: all.", group="Rows")
    add: tuple[str, ...] = setting((), "Another row: NAME:setting=value,...; again for more.", group="Rows")
    minutes: float = setting(
        0.0, "Training time of the full model, whose steps all take. 0: the recipe's steps.", group="Rows", minimum=0
    )
    examples: int = rare(5, "Instances that are drawn.", group="Rows", minimum=1)


# Settings of this call, its folders and this machine, which do not shape the results.
_CALL = ("out", "overwrite", "retry_failed", "dry_run", "path", "body", "vertex_list")
_MACHINE = ("workers", "threads", "scheduler", "cluster", "readers", "batch", "channels_last", "compile")


def portable(config: Any) -> Any:
    """The settings of a run as they are kept beside its results: those of the call and the machine are the defaults."""
    local = {one.name: one.default for one in fields(config) if one.name in (*_CALL, *_MACHINE)}
    return replace(config, **local)


def place_of(out: str | None, category: str, name: str) -> Path:
    """Where results go: `out`, or NAME in the category's part of the workspace where none is given."""
    return Path(out) if out else workspace(category) / name


FIGURES = ("noise", "training-noise", "lower-half")


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig(StudyConfig):
    """What makes keypoints worse, and how much."""

    figure: tuple[str, ...] = setting(FIGURES[:1], "What to measure; again for more.", group="Figures", choices=FIGURES)
    models: tuple[str, ...] = setting((), "Model, or NAME=PATH; again for more. None: the category's.", group="Input")
    levels: tuple[float, ...] = rare(
        (0.0, 1.0, 2.0, 5.0, 10.0), "Noise, % of the box.", group="Figures", minimum=0, maximum=100
    )
    hidden: tuple[float, ...] = rare(
        (0.0, 50.0, 80.0, 90.0, 95.0), "Hidden keypoints, %.", group="Figures", minimum=0, maximum=100
    )
    rates: tuple[float, ...] = rare(
        (0.0, 25.0, 50.0, 75.0, 100.0), "Lost lower halves, %.", group="Figures", minimum=0, maximum=100
    )
    up: str = rare("z", "Upward axis of the template.", group="Figures", choices=("x", "y", "z"))


FORMATS = ("glb", "obj", "ply", "npz", "turn", "table")


@dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """What is lifted, by which model, and how many instances are shown."""

    shards: str = setting("", "Run folder, or shards. None: the category's shards, else the samples.", group="Input")
    images: tuple[str, ...] = setting((), "Folder, file or pattern of photographs; again for more.", group="Input")
    keypoints: str = setting("", "Keypoints of vertices: .npz, .csv or .parquet (docs/use.md).", group="Input")
    model: str = setting("", "Model file or folder. None: the workspace's or embedded one.", group="Input")
    category: str = setting("dog", "Whose part of the workspace to use.", group="Input")
    device: str = setting("cpu", "Where to compute: cpu, cuda, cuda:1, ...", group="Input")
    split: str = rare("all", 'Split of shards; "all" takes every split.', group="Input")
    optimise: bool | None = setting(
        None, "Fit each to its keypoints and mask. None: photographs, and as the model says.", group="Input"
    )
    remeshed: bool = rare(False, "Accept shards on another meshing of the template.", group="Input")
    score: float = rare(
        ExtractConfig.score, "Least score of detections in photographs.", group="Input", minimum=0, maximum=1
    )
    recognise: bool = rare(
        True, "Drop what does not look like a dog (embedded network); false for renders.", group="Input"
    )
    min_vertices: int = rare(20, "Fewest visible vertices of an instance.", group="Input", minimum=1)
    out: str = setting("", "Folder of the results. None: in the category's part of the workspace.", group="Output")
    count: int = setting(12, "Instances to show; 0 for all.", group="Output", minimum=0)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(LiftConfig):
    """What is written of each instance."""

    format: tuple[str, ...] = setting(
        ("glb", "npz"),
        "Files to write; turn is animated, table one predictions.parquet; again for more.",
        group="Output",
        choices=FORMATS,
    )
    rig: bool = setting(False, "GLB files with a skeleton: a joint for each part.", group="Output")
    count: int = setting(24, "Instances to write; 0 for all.", group="Output", minimum=0)
    pictures: bool = setting(True, "Draw each instance, and a page.", group="Output")
    min_confidence: float = setting(0.1, "Least confidence of an instance.", group="Output", minimum=0, maximum=1)


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """Which fits of which body, the vertices to keep, the noise, and how to run."""

    category: str = setting("dog", "Kind of animal, or person.", group="Input")
    dataset: str = setting("neutral", "Dataset or layout of the fits; docs/fits.md lists them.", group="Input")
    path: str = setting("", "Folder of the dataset.", group="Input", was="root")
    body: tuple[str, ...] = setting(
        (),
        "Body model: an imported name or a file. Again as BODY=NAME for the fits of another body, such as"
        " smpl-male=FILE.",
        group="Input",
    )
    split: str = setting("", "Only fits of this of the dataset's own splits. None: all.", group="Input")
    masks: bool = rare(True, "Hide vertices outside the mask of the instance, if it has one.", group="Vertices")
    vertices: int = setting(0, "Keep so many vertices, spread over the template. 0: all.", group="Vertices", minimum=0)
    vertex_list: str = setting("", "Keep the vertices whose ids this text file lists.", group="Vertices")
    noise: float = setting(
        0.0, "Gaussian noise on keypoints, share of the box's longer side.", group="Noise", minimum=0
    )
    hide: float = rare(0.0, "Share of the visible vertices to hide at random.", group="Noise", minimum=0, maximum=1)
    hide_lower: float = rare(0.0, "Share of instances whose lower half is hidden.", group="Noise", minimum=0, maximum=1)
    up: str = rare(
        "",
        "Axis of the body model that points up. None: y for SMPL, z for SMAL.",
        group="Noise",
        choices=("", "x", "y", "z"),
    )
    seed: int = rare(0, "Seed of the noise.", group="Noise", minimum=0)
    out: str = setting("", "Folder of the results. None: project in the workspace of the category.", group="Output")
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(0, "Fits per chunk. 0: a sixteenth of them, 10 to 250.", group="Output", minimum=0)
    workers: int = setting(0, "Processes. 0: one per core.", group="Machine", minimum=0)


@dataclass(frozen=True, kw_only=True)
class SynthConfig(WorldConfig):
    """Which animal, how many images of it, what to keep, and how to run."""

    category: str = setting("dog", "Kind of animal.", group="Input")
    template: str = setting("", "Rigged template: a built-in name or a file. None: the category's own.", group="Input")
    count: int = setting(200, "Number of instances.", group="Input", minimum=1)
    images: bool = setting(True, "Render images; without, only keypoints and their truth.", group="Output")
    annotate: bool = setting(
        False, "Keep the keypoints that a network finds in the images, not exact ones.", group="Output"
    )
    weights: str = rare("", "Checkpoint of that network. None: the category's embedded one.", group="Input")
    vertex_maps: bool = rare(False, "Keep the template vertex of every pixel, as .npz.", group="Output")
    out: str = setting("", "Folder of the results. None: synth in the workspace of the category.", group="Output")
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(0, "Instances per chunk. 0: a sixteenth of them, 10 to 250.", group="Output", minimum=0)
    workers: int = setting(0, "Processes. 0: one per core.", group="Machine", minimum=0)

    def world(self) -> WorldConfig:
        """The part of the settings that shapes the world."""
        return part_of(self, WorldConfig)


@dataclass(frozen=True, kw_only=True)
class AdoptConfig:
    """Whose embeddings to carry over, and what tells where they belong."""

    name: str = setting("", "Name of the template in the workspace; the mesh's own where empty.", group="Template")
    category: str = setting("dog", "Category of the network.", group="Network")
    model: str = rare("", "Network: dp3d-data zoo list. None: of the weights, or the embedded one.", group="Network")
    weights: str = setting("", "Checkpoint, .pth or .pkl. None: the embedded one.", group="Network")
    landmarks: str = setting("", "csv: vertex,cse_vertex or vertex,image,x,y.", group="Evidence")
    images: tuple[str, ...] = setting((), "Photographs without annotation: folder, file or pattern.", group="Evidence")
    renders: int = setting(200, "Renders of the template for the network; 0 for none.", group="Evidence", minimum=0)
    size: int = rare(0, "Side of the renders, pixels. 0: the network's, at most 320.", group="Evidence", minimum=0)
    seed: int = rare(0, "Seed of renders and order.", group="Evidence", minimum=0)
    score: float = rare(0.5, "Detections below this score are not looked at.", group="Evidence", minimum=0, maximum=1)
    device: str = rare("cpu", "cpu, cuda or cuda:N.", group="Machine")
    out: str = setting("", "File of the new weights. None: adopt/NAME.pth in the workspace.", group="Output")
    overwrite: bool = setting(False, "Replace a template of that name.", group="Output")
