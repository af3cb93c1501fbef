"""The settings of dp3d-data extract."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dp3d_data.config import setting


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which photographs, which network, what to keep, and how to run."""

    category: str = setting("dog", "Kind of animal to look for.", group="Input")
    source: str = setting("", "Kind of input; docs/datasets.md lists them. None: folder, or the embedded samples.", group="Input")
    path: str = setting("", "File of annotations or results, or root folder of the dataset.", group="Input")
    images: tuple[str, ...] = setting((), "Folder, file, pattern or address of photographs; may be repeated.", group="Input")
    split: str = setting("", "Only this side of the dataset's own split: train, val or test.", group="Input")
    category_in_file: str = setting("", "Name or id of the category in the annotations, where it differs.", group="Input")
    given_boxes: bool = setting(True, "Take the boxes that the source gives; without, detect.", group="Input")
    masks: bool = setting(False, "Keep only pixels inside the masks that the source gives.", group="Input")
    boxes: str = setting("", "Boxes instead of detections: COCO's json, plain json or csv.", group="Input")
    max_pixels: int = setting(100_000_000, "Images with more pixels fail.", group="Input", minimum=1, maximum=300_000_000)
    model: str = setting("", "Network: dp3d-data zoo list. None: the category's embedded one.", group="Network")
    weights: str = setting("", "Checkpoint, .pth or .pkl. None: the embedded one.", group="Network")
    template: str = setting("", "Template, by name or file. None: the category's built-in one.", group="Network")
    charts: str = setting("", "Which body vertex lies where on the charts of people: UV_Processed.mat.", group="Network")
    score: float = setting(0.5, "Detections below this score are not looked at.", group="Network", minimum=0, maximum=1)
    min_vertices: int = setting(20, "Instances with fewer visible vertices are rejected.", group="Filters", minimum=1)
    out: str = setting("", "Folder of the results. None: extract in the category's part of the workspace.", group="Output")
    overwrite: bool = setting(False, "Discard what another run left in that folder.", group="Output")
    overlays: int = setting(16, "Number of images drawn with their keypoints.", group="Output", minimum=0)
    part: int = setting(32, "Images per part; a killed run loses no finished part.", group="Output", minimum=1)
    device: str = setting("cpu", "cpu, cuda or cuda:N.", group="Machine")
    workers: int = setting(0, "Processes, each with its own network. 0: by cores and work.", group="Machine", minimum=0)
    threads: int = setting(1, "Threads of each process; their number may change last bits of the results.", group="Machine", minimum=1)

    def result(self) -> dict[str, object]:
        """The settings that shape the results: not where they go, nor how fast they come, nor where the inputs lie."""
        names = ("category", "masks", "max_pixels", "score", "min_vertices", "overlays", "part")
        return {name: getattr(self, name) for name in names}

    def portable(self) -> ExtractConfig:
        """The settings without those of this machine and this folder, as they are kept beside the results."""
        return replace(self, out="", overwrite=False, workers=0, threads=1)
