"""dp3d-data install-detectron2: the one library that the package registry has not under its own name."""

from __future__ import annotations

from pipelines.cli.commandline import command, say


@command("install-detectron2", example="dp3d-data install-detectron2")
def install_detectron2() -> None:
    """Install detectron2's Python code into the Python that runs this command, without a compiler, pinned by hash.

    One that is there is left alone. Needs pip and the package registry.
    """
    from dp3d_data.detection.install_detectron2 import install

    say(f"detectron2 is {install()}")
