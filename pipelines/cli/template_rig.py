"""dp3d-data template rig: a skeleton for a bare mesh."""

from __future__ import annotations

import click

from pipelines.cli.commandline import GroupedOption, command, say
from pipelines.cli.template import write_turntables


@command("rig", example="dp3d-data template rig spot.obj --name spot --picture spot.png")
@click.argument("mesh")
@click.option("--name", required=True, help="Name of the template in the workspace.")
@click.option(
    "--axes", default="", help="The file's axes that point forward, left and up; told from the shape where empty."
)
@click.option(
    "--picture",
    metavar="PNG",
    cls=GroupedOption,
    group="Output",
    help="Write a picture of the parts and of random poses.",
)
@click.option("--overwrite", is_flag=True, help="Replace a template of that name.")
def rig(mesh: str, name: str, axes: str, picture: str | None, overwrite: bool) -> None:
    """Find the limbs of a bare mesh and give it joints, soft skin weights and limits. MESH is a file or a template's
    name.

    Legs, head, tail and ears are told by where they lie, so the mesh should stand upright: look at the picture. The
    vertices stay as they are. dp3d-data synth and train-cse do the same for a bare mesh on their own.
    """
    from dataclasses import replace

    from dp3d_data.geometry import load_template
    from dp3d_data.geometry.builtin import free_path
    from dp3d_data.geometry.mesh_files import SUFFIXES, import_mesh
    from dp3d_data.geometry.rigging import rigged

    path = free_path(name, overwrite)
    if mesh.lower().endswith(SUFFIXES):
        reading = import_mesh(mesh, name, axes=axes)
        body = reading.template
        for warning in reading.warnings:
            say(f"warning: {warning}", err=True)
    else:
        body = load_template(mesh)
    bones = "found" if body.skeleton is None else "the mesh's own"
    body = rigged(replace(body, name=name))
    body.save(path)
    say(f"{name}: {body.num_vertices} vertices · {body.skeleton.num_joints} joints, {bones} · hash {body.content_hash}")
    say(f"  joints {', '.join(body.skeleton.names)}")
    if picture:
        draw_rig(body, picture)
    say(f"  written to {path} · next: dp3d-data synth --template {name}")


def draw_rig(body, path: str) -> None:
    """The rest pose and three random poses, one a row, coloured by the joints that move the skin."""
    import numpy as np

    from dp3d_data.geometry import pose_vertices
    from dp3d_data.geometry.colours import colour_by_part
    from dp3d_data.synthesis.poses import random_pose
    from dp3d_data.synthesis.proportions import random_proportions

    rng, shapes = np.random.default_rng(0), [body.vertices]
    for _ in range(3):
        pose = random_pose(rng, body.skeleton, random_proportions(rng, 0.0))
        shapes.append(pose_vertices(body, pose.local_rotations) @ pose.stance.T)
    write_turntables(path, shapes, body.faces, colour_by_part(np.asarray(body.skeleton.weights)))
