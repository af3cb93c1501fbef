"""The settings of an evaluation of a CSE network. Light to import."""

from __future__ import annotations

from dataclasses import dataclass

from dp3d_data.categories import SCORE
from dp3d_data.config import rare, setting

BOXES = ("given", "detected")


@dataclass(frozen=True, kw_only=True)
class EvaluateCseConfig:
    """What to score, and on what."""

    category: str = setting("dog", "Category of the network.", group="Network")
    model: str = setting(
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
