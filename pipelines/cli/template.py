"""dp3d-data template: list, look at, import, rig and adopt template meshes, find their landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dp3d_data.config import rare, setting
from dp3d_data.errors import NothingToDo, UsageError
from dp3d_data.files import write_picture
from dp3d_data.records import present
from pipelines.cli.commandline import command, config_options, say, say_facts, say_table
from pipelines.settings import AdoptConfig, place_of

if TYPE_CHECKING:
    from dp3d_data.geometry import Template


def surface_options(function: Callable) -> Callable:
    """--picture and --mesh, which `write_surface` writes."""
    text = "Write the surface as .obj, .ply or .glb."
    function = click.option("--mesh", metavar="FILE", help=text)(function)
    text = "Write a picture from six sides."
    return click.option("--picture", metavar="PNG", help=text)(function)


@click.group(context_settings={"max_content_width": 110})
def template() -> None:
    """The meshes whose vertices are the keypoints: one is built in, others are imported into the workspace."""


@command("list", example="dp3d-data template list")
def list_templates() -> None:
    """List the templates that can be named: built in, and imported into the workspace."""
    from dp3d_data.geometry.builtin import LICENCES, builtin_names, imported_folder, imported_names, load_template

    origins = [(name, f"built in, {LICENCES.get(name, '')}") for name in builtin_names()]
    origins += [(name, str(imported_folder())) for name in imported_names() if name not in builtin_names()]
    rows = []
    for name, origin in origins:
        body = load_template(name)
        joints, clips = (body.skeleton.num_joints, len(body.skeleton.clips)) if body.skeleton else ("none", 0)
        rows.append((name, body.num_vertices, len(body.faces), joints, clips, body.content_hash, origin))
    say_table(("name", "vertices", "faces", "skeleton", "clips", "hash", "from"), rows)


@command("show", example="dp3d-data template show dog --picture dog.png")
@click.argument("name", default="dog")
@surface_options
def show(name: str, picture: str | None, mesh: str | None) -> None:
    """Say what is known of a template. NAME is a template's name, or an .npz, .obj, .ply or .glb file."""
    from dp3d_data.geometry.builtin import load_template

    body = load_template(name)
    say_facts(_facts(body))
    write_surface(body, picture, mesh)


@command("import", example="dp3d-data template import spot.obj --name spot --axes=-z-x+y")
@click.argument("mesh", type=click.Path())
@click.option("--name", required=True, help="Name of the template in the workspace.")
@click.option("--unit", type=click.Choice(["m", "unknown"]), default="unknown", help="Unit of the file's coordinates.")
@click.option(
    "--axes", default="", help="The file's axes forward, left, up. Empty: +x+y+z (.glb: +z+x+y), or as the shape tells."
)
@click.option("--weld", is_flag=True, help="Join vertices of equal position (renumbers).")
@click.option("--clean", is_flag=True, help="Keep the largest part only (renumbers).")
@click.option("--flip", is_flag=True, help="Turn every face over.")
@click.option("--overwrite", is_flag=True, help="Replace a template of that name.")
def import_template(mesh: str, name: str, overwrite: bool, **reading) -> None:
    """Check a mesh and keep it as a template. MESH is an .obj, .ply or .glb file; a skinned .glb brings its bones.

    The template frame has x forward (nose), y left, z up; say with --axes how the file lies if that differs.
    """
    from dp3d_data.geometry.builtin import free_path
    from dp3d_data.geometry.mesh_files import import_mesh

    path = free_path(name, overwrite)
    template, warnings = import_mesh(mesh, name, **reading)
    for warning in warnings:
        say(f"warning: {warning}", err=True)
    template.save(path)
    say_facts(_facts(template))
    say(f"  written to {path} · look at it: dp3d-data template show {name} --picture {name}.png")


def _facts(body: Template) -> list[tuple[str, str]]:
    size = " x ".join(f"{extent:.3f}" for extent in body.vertices.max(axis=0) - body.vertices.min(axis=0))
    metres = f", {body.factor:.3f} {'m' if body.unit == 'm' else 'source units'} per template unit"
    rows = [
        ("template", f"{body.name} · hash {body.content_hash}"),
        ("surface", f"{body.num_vertices} vertices, {len(body.faces)} faces, area {body.total_area:.3f}"),
        ("size", f"{size} (x forward, y left, z up){metres}"),
        ("symmetry", "left and right vertices known" if body.symmetry is not None else "unknown"),
    ]
    if body.skeleton is None:
        return [*rows, ("skeleton", "none of its own: dp3d-data template rig finds limbs to pose it by")]
    clips = ", ".join(f"{name} ({len(clip.times)})" for name, clip in body.skeleton.clips.items())
    rows.append(("skeleton", f"{body.skeleton.num_joints} joints, {body.skeleton.num_hinges} limited hinges"))
    return [*rows, ("clips", clips or "none")]


def write_surface(body: Template, picture: str | None, mesh: str | None) -> None:
    """What `surface_options` ask for."""
    from dp3d_data.geometry.mesh_files import write_mesh
    from dp3d_data.geometry.renderer import colour_by_vertex

    if picture:
        write_turntables(picture, [body.vertices], body.faces, colour_by_vertex(body))
    if mesh:
        say(f"  mesh written to {write_mesh(body, mesh)}")


def write_turntables(path: str, shapes: Sequence, faces, colours) -> None:
    """Vertices of one or more shapes, each from six sides, one a row."""
    import numpy as np

    from dp3d_data.geometry.renderer import turntable

    if Path(path).suffix.lower() not in (".png", ".jpg"):
        raise UsageError("a picture is a .png or .jpg file", got=path)
    write_picture(path, np.concatenate([turntable(vertices, faces, colours) for vertices in shapes]))
    say(f"  picture written to {path}")


@command("rig", example="dp3d-data template rig spot.obj --name spot --picture spot.png")
@click.argument("mesh")
@click.option("--name", required=True, help="Name of the template in the workspace.")
@click.option(
    "--axes", default="", help="The file's axes that point forward, left and up; told from the shape where empty."
)
@click.option("--picture", metavar="PNG", help="Write a picture of the parts and of random poses.")
@click.option("--overwrite", is_flag=True, help="Replace a template of that name.")
def rig(mesh: str, name: str, axes: str, picture: str | None, overwrite: bool) -> None:
    """Find the limbs of a bare mesh and give it joints, soft skin weights and limits. MESH is a file or a template's
    name.

    Legs, head, tail and ears are told by where they lie, so the mesh should stand upright: look at the picture. The
    vertices stay as they are. dp3d-data synth and train-cse do the same for a bare mesh on their own.
    """
    from dataclasses import replace

    from dp3d_data.geometry.builtin import free_path, load_template
    from dp3d_data.geometry.mesh_files import SUFFIXES, import_mesh
    from dp3d_data.geometry.rigging import rigged

    path = free_path(name, overwrite)
    if mesh.lower().endswith(SUFFIXES):
        body, warnings = import_mesh(mesh, name, axes=axes)
        for warning in warnings:
            say(f"warning: {warning}", err=True)
    else:
        body = load_template(mesh)
    bones = "found" if body.skeleton is None else "the mesh's own"
    body = rigged(replace(body, name=name))
    body.save(path)
    skeleton = present(body.skeleton)
    say(f"{name}: {body.num_vertices} vertices · {skeleton.num_joints} joints, {bones} · hash {body.content_hash}")
    say(f"  joints {', '.join(skeleton.names)}")
    if picture:
        draw_rig(body, picture)
    say(f"  written to {path} · next: dp3d-data synth --template {name}")


def draw_rig(body: Template, path: str) -> None:
    """The rest pose and three random poses, one a row, coloured by the joints that move the skin."""
    import numpy as np

    from dp3d_data.geometry import pose_vertices
    from dp3d_data.geometry.renderer import colour_by_part
    from dp3d_data.synthesis.poses import random_pose
    from dp3d_data.synthesis.proportions import random_proportions

    rng, shapes, skeleton = np.random.default_rng(0), [body.vertices], present(body.skeleton)
    for _ in range(3):
        rotations, stance, _ = random_pose(rng, skeleton, random_proportions(rng, 0.0))
        shapes.append(pose_vertices(body, rotations) @ stance.T)
    write_turntables(path, shapes, body.faces, colour_by_part(np.asarray(skeleton.weights)))


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
        _, weights, _ = next(iter(adopted.values()))
        say(f"  templates {', '.join(name for name, *_ in adopted.values())} · weights written to {weights}")
        say(f"  next: dp3d-data extract --category {','.join(adopted)} --weights {weights}")
        return
    name, weights, _ = run(mesh, config, say)
    say(f"  template {name} · weights written to {weights}")
    say(f"  next: dp3d-data extract --category {config.category} --template {name} --weights {weights}")


@dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Where landmarks come from and go to."""

    images: tuple[str, ...] = setting((), "Photographs: folder, file or pattern.", group="Input and output")
    out: str | None = setting(
        None, "The csv. Default: <workspace>/<category>/landmarks/NAME.csv.", group="Input and output"
    )
    from_keypoints: str | None = setting(
        None,
        "Instead of clicks: json of StanfordExtra, or COCO's with names of keypoints, such as AP-10K's.",
        group="Annotated keypoints",
    )
    table: str | None = setting(
        None,
        "csv of names and vertices: name,vertex. Default: the built-in dog's, for it.",
        group="Annotated keypoints",
    )
    photographs: int = rare(6, "How many annotated animals are taken.", group="Annotated keypoints", minimum=1)
    category: str = rare("dog", "Category of the animals.", group="Annotated keypoints")
    category_in_file: str = rare("", "Its name or id in the file, where it differs.", group="Annotated keypoints")
    port: int = rare(0, "Port that the page is served at; 0 for any.", group="Page", minimum=0, maximum=65535)
    browser: bool = rare(True, "Open the page in a browser.", group="Page")


LANDMARKS = """
dp3d-data template landmarks husky.glb --images photos/
dp3d-data template landmarks husky.glb --out table.csv
dp3d-data template landmarks husky.glb --from-keypoints StanfordExtra_v12.json --images Images/ --table table.csv
"""


@command("landmarks", writes="file", example=LANDMARKS)
@click.argument("mesh")
@config_options(LandmarkConfig)
def landmarks(config: LandmarkConfig, mesh: str) -> None:
    """Find landmarks of MESH, a file or a template's name, for template adopt.

    A page of this machine shows photographs and the mesh: click the nose in a photograph and on the mesh, then the
    next. Without photographs it names vertices alone. With --from-keypoints there is no page: keypoints that a dataset
    names become landmarks by a table of names and vertices.
    """
    from dp3d_data.datasets import DatasetOptions
    from dp3d_data.datasets.folder import Folder
    from dp3d_data.datasets.locations import is_address
    from dp3d_data.geometry import load_template
    from pipelines.landmarks import LandmarkPage, marks_of_keypoints, table_for, write_marks
    from pipelines.local_page import local_page, serve

    template = load_template(mesh)
    out = place_of(config.out, config.category, f"landmarks/{template.name}.csv")
    if config.from_keypoints:
        table = table_for(config.table, template)
        options = DatasetOptions(
            path=config.from_keypoints,
            images=config.images,
            category=config.category,
            category_in_file=config.category_in_file,
        )
        marks = marks_of_keypoints(config.from_keypoints, table, options, config.photographs, say)
        if config.out is None and out.exists():
            raise UsageError("landmarks of this mesh are there", path=out, hint="name another file: --out FILE")
        write_marks(out, marks)
        named, seen = len({mark.name for mark in marks}), len({mark.image for mark in marks})
        say(f"{template.name}: {len(marks)} landmarks, {named} names in {seen} photographs")
        say(f"  written to {out} · next: dp3d-data template adopt {mesh} --landmarks {out}")
        return
    records = Folder(DatasetOptions(images=config.images)).records() if config.images else []
    found = [record.path for record in records if not is_address(record.path)]
    if config.images and not found:
        raise NothingToDo("no photographs on this machine", got=", ".join(config.images))
    page = LandmarkPage(mesh, template, found, out, table_for(config.table, template) if config.table else None)
    server, address = local_page(page.gets, page.posts, config.port)
    say(f"{template.name}: {template.num_vertices} vertices · {len(found)} photographs")
    say(f"  open {address}\n  saved to {out} · Ctrl-C ends this")
    serve(server, address, config.browser)


for _command in (list_templates, show, import_template, rig, landmarks, adopt):
    template.add_command(_command)
