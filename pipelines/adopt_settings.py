"""The settings of dp3d-data template adopt."""

from __future__ import annotations

from dataclasses import dataclass

from dp3d_data.config import rare, setting


@dataclass(frozen=True, kw_only=True)
class AdoptConfig:
    """Whose embeddings to carry over, and what tells where they belong."""

    name: str = setting("", "Name of the template in the workspace; the mesh's own where empty.", group="Template")
    category: str = setting("dog", "Category of the network.", group="Network")
    model: str = setting(
        "", "Network: dp3d-data zoo list. None: what the weights fit, or the category's embedded one.", group="Network"
    )
    weights: str = setting("", "Checkpoint, .pth or .pkl. None: the embedded one.", group="Network")
    landmarks: str = setting("", "csv: vertex,cse_vertex or vertex,image,x,y.", group="Evidence")
    images: tuple[str, ...] = setting((), "Photographs without annotation: folder, file or pattern.", group="Evidence")
    renders: int = setting(
        200, "Renders of the template that the network looks at; 0 for none.", group="Evidence", minimum=0
    )
    size: int = rare(
        0, "Side of the renders, pixels. 0: what the network looks at, at most 320.", group="Evidence", minimum=0
    )
    seed: int = rare(0, "Seed of renders and order.", group="Evidence", minimum=0)
    score: float = rare(0.5, "Detections below this score are not looked at.", group="Evidence", minimum=0, maximum=1)
    device: str = rare("cpu", "cpu, cuda or cuda:N.", group="Machine")
    out: str = setting(
        "", "File of the new weights. None: adopt/NAME.pth in the category's part of the workspace.", group="Output"
    )
    overwrite: bool = setting(False, "Replace a template of that name.", group="Output")
