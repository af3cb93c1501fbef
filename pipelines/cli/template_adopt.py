"""dp3d-data template adopt: a network's embeddings on a template of the user's."""

from __future__ import annotations

import click

from pipelines.adopt_settings import AdoptConfig
from pipelines.cli.commandline import command, config_options, say

EXAMPLE = """
dp3d-data template adopt husky.glb --landmarks husky.csv
dp3d-data template adopt dog.obj --weights model_final_421d28.pkl --landmarks dog.csv --images photos/ --renders 0
"""


@command("adopt", writes="file", example=EXAMPLE)
@click.argument("mesh")
@config_options(AdoptConfig)
def adopt(config: AdoptConfig, mesh: str) -> None:
    """Carry a network's CSE embeddings to a mesh of yours. MESH is a file or a template's name.

    The geometry of the network's own mesh is not needed: its checkpoint holds spectral functions, a dozen landmarks tell
    how they lie on your mesh, and what the network sees in photographs and in renders of your mesh refines it. The result
    is a file of weights that knows your vertices: extract, evaluate-cse and train-cse take it with --weights.
    """
    from pipelines.adopt import run

    result = run(mesh, config, say)
    say(f"  template {result.template} · weights written to {result.weights}")
    say(f"  next: dp3d-data extract --category {config.category} --template {result.template} --weights {result.weights}")
