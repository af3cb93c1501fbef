"""A file of weights, read, recognised and loaded: what `dp3d-data zoo check` tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_data.detection.checkpoint import read_checkpoint
from dp3d_data.detection.identify import as_trained, guess_spec, matching_specs, nearest_spec
from dp3d_data.detection.network import build_network
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.detection.weights import fill, mismatch
from dp3d_data.detection.zoo import find_spec


@dataclass(frozen=True)
class Checked:
    """A file that was read, loaded into its network and found good.

    Attributes:
        spec: the network it was loaded into.
        others: names of other networks of the same shape.
        arrays, parameters: how many it holds.
        notes: what this project wrote beside the weights.
    """

    spec: ModelSpec
    others: list[str]
    arrays: int
    parameters: int
    notes: dict


def check_file(path: str | Path, model: str | None = None) -> Checked:
    """Read a file of weights, load it strictly and look at its embeddings.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: it cannot be read.
        WeightsMismatch: it does not belong to `model`, or to any network of the table.
    """
    checkpoint = read_checkpoint(path)
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    spec = as_trained(find_spec(model), checkpoint.notes) if model else guess_spec(shapes, checkpoint.notes)
    if spec is None:
        raise mismatch(shapes, nearest_spec(shapes)[0], path)
    fill(build_network(spec, "meta"), spec, checkpoint, path)
    others = [one.name for one in matching_specs(shapes) if one.name != spec.name]
    return Checked(
        spec, others, len(shapes), sum(value.numel() for value in checkpoint.state.values()), checkpoint.notes
    )
