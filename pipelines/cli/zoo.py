"""dp3d-data zoo: list the networks, look at one, check a file of weights."""

from __future__ import annotations

import click

from pipelines.cli.commandline import command, say, say_facts, say_table


@click.group(context_settings={"max_content_width": 110})
def zoo() -> None:
    """The networks that can be built: those published for DensePose, and the one that this project ships."""


@command("list", example="dp3d-data zoo list --published")
@click.option("--published", is_flag=True, help="Only networks whose weights can be had: published or shipped.")
def list_networks(published: bool) -> None:
    """List the networks by name, with what they are for and where their weights are."""
    from dp3d_data.detection import zoo_specs

    rows = [(spec.name, spec.kind, spec.note, _weights(spec)) for spec in zoo_specs().values()]
    say_table(
        ("name", "kind", "for", "weights"),
        [row for row in rows if not (published and row[-1] == "not published")],
        width=150,
    )


@command("show", example="dp3d-data zoo show animals-3")
@click.argument("name")
def show(name: str) -> None:
    """Say what shapes a network, which meshes it knows and where its weights are. NAME is one of `zoo list`."""
    from dp3d_data.detection import find_spec

    say_facts(_facts(find_spec(name)))


@command("check", example="dp3d-data zoo check model_final.pkl")
@click.argument("file", type=click.Path())
@click.option(
    "--model", default="", metavar="NAME", help="Network that the weights should belong to; left out, it is guessed."
)
def check(file: str, model: str) -> None:
    """Read a file of weights without running it, load it strictly and look at its embeddings. FILE is a .pkl or .pth.

    Fails where names or shapes are missing or too many, where a weight is not finite, and where vertex embeddings are
    zero or all equal.
    """
    from dp3d_data.detection import check_file

    found = check_file(file, model or None)
    say(f"{file}: weights of {found.spec.name}")
    say(f"  {found.arrays} arrays, {found.parameters:,} numbers, all names and shapes as they should be")
    if found.spec.kind == "cse":
        meshes = ", ".join(sorted(set(found.spec.class_to_mesh.values())))
        say(f"  vertex embeddings of unit norm that differ: {meshes}")
    for name, value in found.notes.items():
        if name not in ("name", "class_to_mesh", "class_names", "mesh_sizes"):
            say(f"  {name.replace('_', ' ')}: {value}")
    if found.others:
        say("  the same shape have: " + ", ".join(found.others))
    category = _category_of(found.spec)
    if category:
        more = (
            " --charts UV_Processed.mat --template person"
            if found.spec.kind == "chart"
            else _template_of(category, found.notes)
        )
        say(f"  next: dp3d-data extract --category {category} --model {found.spec.name} --weights {file}{more}")
    if category and "MESH" in more:
        say(
            "  MESH is the template that they were trained for; for another: dp3d-data template adopt MESH --weights"
            f" {file}"
        )


def _weights(spec) -> str:
    from dp3d_data.detection.zoo import shipped_path

    if shipped_path(spec).is_file():
        return "shipped"
    if spec.checkpoint_url:
        return "published"
    return "not published" if spec.name.startswith("cse/") else "to be trained"


def _category_of(spec) -> str:
    """The first category that the network's meshes stand for; charts are of people."""
    from dp3d_data.categories import CATEGORIES

    if spec.kind == "chart":
        return "person"
    meshes = set(spec.class_to_mesh.values())
    fitting = [entry.name for entry in CATEGORIES.values() if meshes & {entry.template, entry.mesh_4k, entry.mesh_16k}]
    return "dog" if "dog" in fitting else next(iter(fitting), "")


def _template_of(category: str, notes: dict) -> str:
    """The option that names the weights' template; none where it is the category's own."""
    from dp3d_data.categories import CATEGORIES
    from dp3d_data.detection.weights import template_hash
    from dp3d_data.geometry import load_template

    own = CATEGORIES[category].template
    return "" if own and load_template(own).content_hash == template_hash(notes, own) else " --template MESH"


def _facts(spec) -> list[tuple[str, str]]:
    from dp3d_data.detection.zoo import shipped_path

    confidence = [spec.uv_confidence or "", "segmentation" if spec.segm_confidence else ""]
    looks = (
        f"looks again at crops of {spec.crop_side}"
        if spec.crop_side
        else f"pooled {spec.pool_size}, maps {spec.pool_size * 4}"
    )
    trunk = f"ResNet-{spec.depth}" if spec.trunk == "resnet" else f"EfficientNet-{spec.trunk.capitalize()}"
    rows = [
        ("network", f"{spec.name}: {spec.note}"),
        ("kind", "pixel embeddings (CSE)" if spec.kind == "cse" else f"{spec.patches} charts with u and v"),
        ("backbone", f"{trunk} + FPN, {spec.fpn_channels} channels, {spec.norm}"),
        ("dense head", f"{spec.head}, {spec.head_convs} x {spec.head_channels}, {looks}"),
        ("decoder", "p2..p5 merged at stride 4" if spec.decoder else "none"),
        ("confidence", ", ".join(part for part in confidence if part) or "none"),
        ("input", f"BGR, shortest side {spec.min_side}, longest at most {spec.max_side} pixels"),
    ]
    rows += [(f"class {key}", f"{mesh} ({spec.mesh_sizes[mesh]} vertices)") for key, mesh in spec.class_to_mesh.items()]
    others = sorted(set(spec.mesh_sizes) - set(spec.class_to_mesh.values()))
    if others:
        rows.append(("other meshes", ", ".join(others)))
    where = str(shipped_path(spec)) if shipped_path(spec).is_file() else spec.checkpoint_url or _weights(spec)
    return [*rows, ("weights", where)]


for _command in (list_networks, show, check):
    zoo.add_command(_command)
