"""dp3d-data zoo, train-cse and evaluate-cse: the networks, those trained on synthetic images, and their scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from dp3d_data.detection.training.recipe import EvaluateCseConfig, TrainCseConfig
from pipelines.cli.commandline import command, config_options, say, say_facts, say_table


@click.group(context_settings={"max_content_width": 110})
def zoo() -> None:
    """The networks that can be built: those published for DensePose, and the one that this project ships."""


@command("list", example="dp3d-data zoo list --published")
@click.option("--published", is_flag=True, help="Only networks whose weights can be had: published or shipped.")
def list_networks(published: bool) -> None:
    """List the networks by name, with what they are for and where their weights are."""
    from dp3d_data.detection import zoo_specs

    rows = [(spec.name, spec.kind, spec.note, _weights(spec)) for spec in zoo_specs().values()]
    rows = [row for row in rows if not (published and row[-1] == "not published")]
    say_table(("name", "kind", "for", "weights"), rows, width=150)


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

    spec, state, notes, others = check_file(file, model)
    numbers = sum(value.numel() for value in state.values())
    say(f"{file}: weights of {spec.name}")
    say(f"  {len(state)} arrays, {numbers:,} numbers, all names and shapes as they should be")
    if spec.kind == "cse":
        meshes = ", ".join(sorted(set(spec.class_to_mesh.values())))
        say(f"  vertex embeddings of unit norm that differ: {meshes}")
    for name, value in notes.items():
        if name not in ("name", "class_to_mesh", "class_names", "mesh_sizes"):
            say(f"  {name.replace('_', ' ')}: {value}")
    if others:
        say("  the same shape have: " + ", ".join(others))
    category = _category_of(spec)
    if not category:
        return
    charts = " --charts UV_Processed.mat --template person"
    more = charts if spec.kind == "chart" else _template_of(category, notes)
    say(f"  next: dp3d-data extract --category {category} --model {spec.name} --weights {file}{more}")
    if "MESH" in more:
        other = f"dp3d-data template adopt MESH --weights {file}"
        say(f"  MESH is the template that they were trained for; for another: {other}")


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
    looks = f"pooled {spec.pool_size}, maps {spec.pool_size * 4}"
    if spec.crop_side:
        looks = f"looks again at crops of {spec.crop_side}"
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


@command("train-cse", example="dp3d-data train-cse --category dog --config pipelines/recipes/animals-3.toml")
@config_options(TrainCseConfig)
def train_cse(config: TrainCseConfig) -> None:
    """Train a CSE network on synthetic images of a template.

    The world renders the template in sampled poses, proportions, coats and scenes; the network learns boxes, masks and
    the embedding of every pixel. A run that was stopped goes on where it stopped when the same command is given again.
    In several processes, each with a batch of its own: torchrun --nproc-per-node 2 -m pipelines.cli.data train-cse.
    """
    from pipelines import cse

    result = cse.train_cse(config, say)
    say(f"  weights written to {result} · next: dp3d-data evaluate-cse --weights {result}")


EXAMPLE = """
dp3d-data evaluate-cse --count 200 --out scores.json --pictures overlays/
dp3d-data evaluate-cse --weights dp3d-out/dog/adopt/husky.pth --template husky --beside direct/weights.pth
dp3d-data evaluate-cse --count 0 --stanford-extra StanfordExtra_v12.json --images Images/ --boxes given
dp3d-data evaluate-cse --count 0 --without horses/ --without sofas/
"""
COLUMNS = {
    "objects": "objects",
    "found": "found",
    "ap50": "AP50",
    "mask_iou": "mask IoU",
    "geodesic_mean": "geodesic error",
    "geodesic_under_5": "under 5 %",
    "geodesic_under_10": "under 10 %",
    "keypoint_error": "keypoint error",
    "annotated_keypoints": "keypoints",
    "pck_10": "PCK 0.10",
    "pck_15": "PCK 0.15",
    "pck_10_found": "0.10 of found",
    "pck_15_found": "0.15 of found",
    "median_error": "median error",
}


@command("evaluate-cse", writes="file", always=False, example=EXAMPLE)
@config_options(EvaluateCseConfig)
def evaluate_cse(config: EvaluateCseConfig) -> None:
    """Score a CSE network where the truth is known, as a whole, by view and by how much of the animal is seen.

    Detection (AP50) and mask IoU; on renders of the network's own template the geodesic error of the matched vertices
    and the error of the pooled keypoints; on StanfordExtra's photographs the share of annotated keypoints placed
    rightly (PCK), each by itself too, keypoints carried from photograph to photograph by their embeddings, and spurious
    detections, which are counted on photographs without the animal too.
    """
    from pipelines import cse

    scores = cse.evaluate_cse(config)
    tables = {title: part for title, part in scores.items() if not title.endswith("without")}
    for pictured in (False, True):
        if some := {title: part for title, part in tables.items() if ("photographs" in title) is pictured}:
            _print(some)
    for title, measures in scores.items():
        for line in _lines(title, measures):
            say(f"  {line}")
    if cse.RATIO in scores.get("synthetic", {}):
        ratio, second = scores["synthetic"][cse.RATIO], f"{config.beside} ({cse.BESIDE.rstrip(', ')})"
        say(f"  geodesic error {ratio:.3f} times that of {second}")
    for folder, what in ((config.pictures, "overlays"), (config.out, "measures")):
        if folder:
            say(f"  {what} written to {folder}")


def _lines(title: str, measures: dict[str, Any]) -> Iterator[str]:
    """What a table does not say of a part: how many photographs, spurious detections, keypoints carried over."""
    if "on_disk" in measures:
        read = measures["on_disk"] - len(measures["left_out"])
        yield f"{title}: {measures['listed']} listed, {measures['on_disk']} on disk, {read} read"
        for name, why in (measures["left_out"] | measures["annotations_left_out"]).items():
            yield f"left out: {name}: {why}"
    if "spurious_on_20" in measures:
        yield f"{title}: {measures['spurious']} spurious detections, {measures['spurious_on_20']:.1f} on 20 photographs"
    elif "spurious" in measures:
        yield f"{title}: {measures['spurious']} spurious detections, on {len(measures['best_scores'])} photographs"
        yield from (f"{name}: score {score:.2f}" for name, score in measures["best_scores"].items())
    if "transfer_pck_10" in measures:
        keypoints, dogs, *pck = (measures[f"transfer_{name}"] for name in ("keypoints", "dogs", "pck_10", "pck_15"))
        figures = f"PCK 0.10 {pck[0]:.3f}, 0.15 {pck[1]:.3f}"
        carried = f"{keypoints:.0f} keypoints between {dogs:.0f} dogs, each to each"
        yield f"{title}: photograph to photograph, true boxes: {figures} ({carried})"


def _print(scores: dict[str, dict[str, Any]]) -> None:
    """One row a part, the columns that any part has."""
    held = [name for name in COLUMNS if any(name in measures for measures in scores.values())]
    forms = {name: ".0f" if name in ("objects", "found", "annotated_keypoints") else ".3f" for name in held}
    rows = []
    for title, measures in scores.items():
        cells = [f"{measures[name]:{form}}" if name in measures else "" for name, form in forms.items()]
        rows.append([re.sub("(synthetic|photographs), ", "  ", title, count=1), *cells])
    say_table(("images", *(COLUMNS[name] for name in held)), rows, width=150)
