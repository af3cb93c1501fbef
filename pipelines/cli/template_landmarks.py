"""dp3d-data template landmarks: where a template's landmarks are in photographs, for template adopt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dp3d_data.config import rare, setting, workspace
from dp3d_data.errors import NothingToDo
from pipelines.cli.commandline import command, config_options, say

EXAMPLE = """
dp3d-data template landmarks husky.glb --images photos/
dp3d-data template landmarks husky.glb --out table.csv
dp3d-data template landmarks husky.glb --from-keypoints StanfordExtra_v12.json --images Images/ --table table.csv
"""


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
    category: str = setting("dog", "Category of the animals.", group="Annotated keypoints")
    category_in_file: str = rare("", "Its name or id in the file, where it differs.", group="Annotated keypoints")
    port: int = rare(0, "Port that the page is served at; 0 for any.", group="Page", minimum=0, maximum=65535)
    browser: bool = rare(True, "Open the page in a browser.", group="Page")


@command("landmarks", writes="file", example=EXAMPLE)
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
    from dp3d_data.geometry import load_template
    from pipelines.landmarks import LandmarkPage, marks_of_keypoints, table_for, write_marks
    from pipelines.local_page import LocalPage

    template = load_template(mesh)
    out = Path(config.out) if config.out else workspace(config.category) / "landmarks" / f"{template.name}.csv"
    if config.from_keypoints:
        table = table_for(config.table, template)
        options = DatasetOptions(
            path=config.from_keypoints,
            images=config.images,
            category=config.category,
            category_in_file=config.category_in_file,
        )
        marks = marks_of_keypoints(config.from_keypoints, table, options, config.photographs, say)
        write_marks(out, marks)
        named, seen = len({mark.name for mark in marks}), len({mark.image for mark in marks})
        say(f"{template.name}: {len(marks)} landmarks, {named} names in {seen} photographs")
        say(f"  written to {out} · next: dp3d-data template adopt {mesh} --landmarks {out}")
        return
    found = [record.path for record in Folder(DatasetOptions(images=config.images)).records()] if config.images else []
    if config.images and not found:
        raise NothingToDo("no photographs", got=", ".join(config.images))
    page = LandmarkPage(mesh, template, found, out)
    server = LocalPage(page.gets, page.posts, config.port)
    say(f"{template.name}: {template.num_vertices} vertices · {len(found)} photographs")
    say(f"  open {server.address}\n  saved to {out} · Ctrl-C ends this")
    server.serve(config.browser)
