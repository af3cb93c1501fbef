"""Bodies: what a template can become. Lifter, trainer, evaluator and exporter know them by one interface alone."""

from __future__ import annotations

from dp3d_data.plugins import load
from dp3d_model.bodies.shape import BasisBody, Body, LinearBody, PartsBody, Shape
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.surface import Surface

__all__ = ["BODIES", "Body", "Shape", "body_class", "make_body"]

BODIES: dict[str, type[Body]] = {"parts": PartsBody, "linear": LinearBody, "basis": BasisBody, "rigid": Body}


def body_class(name: str) -> type[Body]:
    """The body of a name: the project's, or one that another package adds (entry points dp3d.bodies).

    Raises:
        UsageError: no such body.
        DependencyMissing: the package that adds it cannot be imported.
    """
    return load("dp3d.bodies", name, BODIES)


def make_body(surface: Surface, config: TrainConfig) -> Body:
    """The body that the settings name; raises what `body_class` raises."""
    return body_class(config.model.body)(surface, config)
