"""dp3d-data template adopt: a network's embeddings on a template of the user's."""

from __future__ import annotations

import click

from pipelines.adopt_settings import AdoptConfig
from pipelines.cli.commandline import command, config_options, say

EXAMPLE = """
dp3d-data template adopt husky.glb --landmarks husky.csv
dp3d-data template adopt dog.obj --weights model_final_421d28.pkl --landmarks dog.csv --images photos/ --renders 0
dp3d-data template adopt meshes/ --weights model_final_421d28.pkl
"""


@command("adopt", writes="file", example=EXAMPLE)
@click.argument("mesh")
@config_options(AdoptConfig)
def adopt(config: AdoptConfig, mesh: str) -> None:
    """Carry a network's CSE embeddings to a mesh of yours. MESH is a file, a template's name, or a folder of meshes.

    The geometry of the network's own mesh is not needed: its checkpoint holds spectral functions, a dozen landmarks
    tell how they lie on your mesh, and what the network sees in photographs and in renders of your mesh refines it. The
    result is a file of weights that knows your vertices: extract, evaluate-cse and train-cse take it with --weights. Of
    a folder, each mesh that is named after a category (horse.obj, with landmarks in horse.csv) is adopted into the same
    file.
    """
    from dp3d_data.geometry.builtin import is_folder_of_templates
    from pipelines.adopt import run, run_folder

    if is_folder_of_templates(mesh):
        adopted = run_folder(mesh, config, say)
        weights = next(iter(adopted.values())).weights
        say(f"  templates {', '.join(one.template for one in adopted.values())} · weights written to {weights}")
        say(f"  next: dp3d-data extract --category {','.join(adopted)} --weights {weights}")
        return
    result = run(mesh, config, say)
    say(f"  template {result.template} · weights written to {result.weights}")
    say(
        f"  next: dp3d-data extract --category {config.category} --template {result.template} --weights"
        f" {result.weights}"
    )
