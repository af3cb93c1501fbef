"""The settings of dp3d-data extract."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dp3d_data.categories import SCORE, SEVERAL
from dp3d_data.config import rare, setting


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which photographs, which network, what to keep, and how to run."""

    category: str = setting("dog", f"Kind of animal to look for. {SEVERAL}", group="Input")
    source: str = setting(
        "", "Kind of input; docs/datasets.md lists them. None: folder, or the embedded samples.", group="Input"
    )
    path: str = setting("", "File of annotations or results, or root folder of the dataset.", group="Input")
    images: tuple[str, ...] = setting(
        (), "Folder, file, pattern or address of photographs; may be repeated.", group="Input"
    )
    split: str = setting("", "Only this side of the dataset's own split: train, val or test.", group="Input")
    category_in_file: str = rare("", "Name or id of the category in the annotations, where it differs.", group="Input")
    given_boxes: bool = rare(True, "Take the boxes that the source gives; without, detect.", group="Input")
    masks: bool = setting(False, "Keep only pixels inside the masks that the source gives.", group="Input")
    boxes: str = setting("", "Boxes instead of detections: COCO's json, plain json or csv.", group="Input")
    max_pixels: int = rare(100_000_000, "Images with more pixels fail.", group="Input", minimum=1, maximum=300_000_000)
    model: str = setting("", "Network: dp3d-data zoo list. None: the category's embedded one.", group="Network")
    weights: str = setting("", "Checkpoint, .pth or .pkl. None: the embedded one.", group="Network")
    template: str = setting(
        "", "Template, by name or file, or a folder with a file for each category. None: built-in.", group="Network"
    )
    charts: str = setting(
        "", "Which body vertex lies where on the charts of people: UV_Processed.mat.", group="Network"
    )
    score: float = setting(
        SCORE, "Detections below this score are not looked at.", group="Network", minimum=0, maximum=1
    )
    side: int = rare(
        0,
        "Shortest side that images are scaled to for the network. 0: its own.",
        group="Network",
        minimum=0,
        maximum=4000,
    )
    min_vertices: int = setting(20, "Instances with fewer visible vertices are rejected.", group="Filters", minimum=1)
    cycle: bool = rare(True, "Weigh keypoints forward and backward: pixel, vertex, pixel.", group="Filters")
    out: str = setting(
        "", "Folder of the results. None: extract in the category's part of the workspace.", group="Output"
    )
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    retry_failed: bool = setting(
        False, "Try the failed images of a finished run again, and only these.", group="Output"
    )
    dry_run: bool = setting(False, "Say what would be done and estimate time and space; write nothing.", group="Output")
    overlays: int = rare(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = rare(32, "Images per part; a killed run loses no finished part.", group="Output", minimum=1)
    device: str = setting("cpu", "cpu, cuda (each process its own GPU) or cuda:N.", group="Machine")
    workers: int = setting(
        0, "Processes, each with its own network. 0: by cores, GPUs and work.", group="Machine", minimum=0
    )
    scheduler: str = rare("", "Address of a running Dask scheduler, whose workers do the work.", group="Machine")
    cluster: str = setting(
        "", "Cluster to start: slurm, cuda, or a file as pipelines/recipes/slurm.toml.", group="Machine"
    )
    readers: int = rare(
        0, "Threads of each process that decode ahead. 0: 1 on the CPU, else 4.", group="Machine", minimum=0
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
        names = (
            "category",
            "masks",
            "max_pixels",
            "score",
            "side",
            "min_vertices",
            "overlays",
            "part",
            "precision",
            "cycle",
        )
        return {name: getattr(self, name) for name in names}

    def portable(self) -> ExtractConfig:
        """The settings without those of this machine and this folder, as they are kept beside the results."""
        once = {"out": "", "overwrite": False, "retry_failed": False, "dry_run": False}
        machine = {"workers": 0, "threads": 1, "scheduler": "", "cluster": "", "readers": 0, "batch": 0}
        return replace(self, **once, **machine, channels_last=False, compile=False)

    @property
    def elsewhere(self) -> bool:
        """Whether the workers may be on other machines."""
        return bool(self.scheduler or self.cluster)

    @property
    def images_a_pass(self) -> int:
        """Images that may share a pass through the network."""
        return self.batch or (1 if self.device == "cpu" else 8)

    @property
    def reading_threads(self) -> int:
        """Threads that decode ahead of the network."""
        return self.readers or (1 if self.device == "cpu" else 4)
