"""dp3d-data explore: look through the instances of shards or of a run, and choose among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dp3d_data.config import setting, workspace
from dp3d_data.errors import InputMissing
from pipelines.cli.commandline import command, config_options, say


@dataclass(frozen=True, kw_only=True)
class ExploreConfig:
    """Where lists go, and how the page is shown."""

    category: str = setting("dog", "Category whose shards are shown where no folder is given.")
    out: str | None = setting(
        None, "Folder of the lists that the page saves. Default: lists in the category's part of the workspace."
    )
    port: int = setting(0, "Port on this machine that the page is served at; 0 for any.", minimum=0, maximum=65535)
    browser: bool = setting(True, "Open the page in a browser.")


@command(
    "explore", example="dp3d-data explore dp3d-out/dog/shards\ndp3d-data explore dp3d-out/dog/extract --no-browser"
)
@click.argument("shards", required=False)
@config_options(ExploreConfig)
def explore(shards: str | None, config: ExploreConfig) -> None:
    """Look through SHARDS, a folder of build-shards, extract, synth or project, on a page of this machine.

    Photographs with their keypoints in a grid: filter and sort by any column, see what is like an instance and what is
    nearly the same, choose, and save the choice as a list for build-shards --split-list. Nothing leaves
    this machine; Ctrl-C ends it.
    """
    from pipelines.catalogue import Catalogue
    from pipelines.explore import Explorer
    from pipelines.local_page import LocalPage

    folder = Path(shards) if shards else workspace(config.category) / "shards"
    if not folder.is_dir():
        raise InputMissing("no such folder", path=folder, hint="build the shards: dp3d-data build-shards")
    catalogue = Catalogue.read(folder)
    say(f"{folder}: {len(catalogue)} instances")
    out = Path(config.out) if config.out else workspace(catalogue.kinds["category"][0].as_py()) / "lists"
    explorer = Explorer(catalogue, out)
    server = LocalPage(explorer.gets, explorer.posts, config.port)
    say(f"  open {server.address}\n  lists go to {out} · Ctrl-C ends this")
    server.serve(config.browser)
