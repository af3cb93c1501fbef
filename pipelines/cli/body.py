"""dp3d-data body: list, look at and import body models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from dp3d_data.errors import UsageError
from pipelines.cli.commandline import command, say, say_facts, say_table
from pipelines.cli.template import surface_options, write_surface

if TYPE_CHECKING:
    from dp3d_data.bodies.model import BodyModel


@click.group(context_settings={"max_content_width": 110})
def body() -> None:
    """Body models of your own files: SMPL of people, SMAL of animals. None is shipped; see docs/body_models.md."""


@command("list", example="dp3d-data body list")
def list_bodies() -> None:
    """List the body models that were imported into the workspace."""
    from dp3d_data.bodies.files import bodies_folder, imported_bodies, load_body_model, offered

    names = imported_bodies()
    if not names:
        say(f"none is imported into {bodies_folder()}")
        say(f"  {offered('')}")
        return
    rows = []
    for name in names:
        model = load_body_model(name)
        sizes = (model.num_vertices, len(model.faces), model.num_joints, model.num_betas, model.num_scales)
        rows.append((name, model.kind, *sizes, "no" if model.pose_basis is None else "yes"))
    say_table(("name", "kind", "vertices", "faces", "joints", "betas", "limb scales", "pose blendshapes"), rows)


@command("show", example="dp3d-data body show smal-dog --picture dog.png")
@click.argument("name")
@surface_options
def show(name: str, picture: str | None, mesh: str | None) -> None:
    """Say what is known of a body model. NAME is its name in the workspace, or a .pkl or .npz file."""
    from dp3d_data.bodies.files import load_body_model
    from dp3d_data.bodies.model import rest_template

    model = load_body_model(name)
    say_facts(_facts(model))
    write_surface(rest_template(model), picture, mesh)


@command("import", example="dp3d-data body import smal_CVPR2017.pkl --name smal")
@click.argument("file", type=click.Path())
@click.option("--name", required=True, help="Name of the body model in the workspace.")
@click.option(
    "--kind", type=click.Choice(["smpl", "smal"]), help="What it is; by its joints and vertices where not given."
)
@click.option("--betas", type=click.IntRange(min=0), help="Keep this many betas; all where not given.")
@click.option(
    "--family",
    metavar="FILE",
    help="Take the mean figure of one of SMAL's families, which this file holds, as SMALify does.",
)
@click.option(
    "--family-number", type=click.IntRange(min=0), default=1, show_default=True, help="Which family; 1 is the dogs'."
)
@click.option("--symmetric", is_flag=True, help="Make the surface symmetric, as SMALify and WLDO do before they fit.")
@click.option("--overwrite", is_flag=True, help="Replace a body model of that name.")
def import_body(
    file: str,
    name: str,
    kind: str | None,
    betas: int | None,
    family: str | None,
    family_number: int,
    symmetric: bool,
    overwrite: bool,
) -> None:
    """Check a published body model and keep it as plain arrays. FILE is a .pkl or .npz of SMPL's layout.

    Nothing of a pickle is run: chumpy and scipy need not be its authors', and a file that asks for more is refused.
    """
    from dataclasses import replace

    from dp3d_data.bodies.files import bodies_folder, import_body_model, save_body_model
    from dp3d_data.bodies.model import family_model, symmetric_model

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError("this is no name for a body model", got=repr(name), expected="letters, digits, - and _")
    path = bodies_folder() / f"{name}.npz"
    if path.exists() and not overwrite:
        raise UsageError("a body model of that name exists", got=path, hint="choose another --name, or add --overwrite")
    model = import_body_model(file, name, kind, None if family else betas)
    if family:
        model = family_model(model, family, family_number)
        model = replace(model, shape_basis=model.shape_basis[..., :betas])
    model = symmetric_model(model) if symmetric else model
    save_body_model(model, path)
    say_facts(_facts(model))
    say(f"  written to {path} · look at it: dp3d-data body show {name} --picture {name}.png")


TEMPLATES = """
dp3d-data body template smpl --name person
dp3d-data body template smpl --name person-cse --weights model_final.pkl
"""


@command("template", example=TEMPLATES)
@click.argument("body")
@click.option("--name", required=True, help="Name of the template in the workspace.")
@click.option("--weights", help="CSE network for people: split every edge, in the order that its features confirm.")
@click.option("--overwrite", is_flag=True, help="Replace a template of that name.")
def make_template(body: str, name: str, weights: str | None, overwrite: bool) -> None:
    """Keep the rest shape of a body model as a template. BODY is its name in the workspace, or a .pkl or .npz file.

    Chart networks name SMPL's own 6,890 vertices. CSE networks for people name 27,554: SMPL's, and one on each of its
    edges.
    """
    from dataclasses import replace

    from dp3d_data.bodies.files import load_body_model
    from dp3d_data.bodies.model import rest_template
    from dp3d_data.geometry.builtin import free_path
    from dp3d_data.geometry.subdivision import edges_in_order, subdivide

    path = free_path(name, overwrite)
    template = replace(rest_template(load_body_model(body)), name=name)
    if weights:
        from dp3d_data.categories import category
        from dp3d_data.detection import read_features

        features = read_features(weights, category("person").mesh_4k)
        template = subdivide(template, edges_in_order(features, template.faces), name)
    template.save(path)
    size = f"{template.num_vertices} vertices, {len(template.faces)} faces"
    say(f"{template.name}: {size} · hash {template.content_hash}")
    say(f"  written to {path} · next: dp3d-data extract --category person --template {name}")


def _facts(model: BodyModel) -> list[tuple[str, str]]:
    from dp3d_data.bodies.model import rest_template

    size = " x ".join(f"{extent:.3f}" for extent in model.template.max(axis=0) - model.template.min(axis=0))
    template = rest_template(model)
    return [
        ("body", f"{model.name} · {model.kind} · template hash {template.content_hash}"),
        ("surface", f"{model.num_vertices} vertices, {len(model.faces)} faces"),
        ("size", f"{size} m along the model's x, y, z"),
        ("joints", str(model.num_joints)),
        ("betas", str(model.num_betas)),
        ("pose", "with pose blendshapes" if model.pose_basis is not None else "without pose blendshapes"),
        ("limb scales", ", ".join(model.scale_joints) if model.scale_joints else "none"),
    ]


for _command in (list_bodies, show, import_body, make_template):
    body.add_command(_command)
