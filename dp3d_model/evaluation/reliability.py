"""Whether a model knows where it is wrong: predicted noise against errors, by ranks, by bins, and by dropping what is
least sure."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

BINS = 10


def rank_correlation(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing their mean rank; 0 where either is constant."""
    one, two = ranks(a), ranks(b)
    one, two = one - one.mean(), two - two.mean()
    size = float(one.norm() * two.norm())
    return float(one @ two) / size if size > 0 else 0.0


def ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The place of each value in ascending order, from 0; equal values share their mean place."""
    _, inverse, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count.double() + 1.0) / 2.0)[inverse]


def calibration(noise: Float[Tensor, "n"], errors: Float[Tensor, "n"]) -> list[dict[str, float]]:
    """Mean predicted noise and mean error of ten equally large bins, by rising noise."""
    order = noise.argsort(stable=True)
    return [
        {
            "predicted": round(float(noise[part].double().mean()), 6),
            "error": round(float(errors[part].double().mean()), 6),
        }
        for part in order.tensor_split(BINS)
        if len(part)
    ]


def sparsification(noise: Float[Tensor, "n"], errors: Float[Tensor, "n"]) -> list[float]:
    """The mean error of what stays when 0, 10, .. 90 % of the values, those of the largest noise, are dropped."""
    kept = errors[noise.argsort(stable=True)].double()
    return [round(float(kept[: max(1, len(kept) * (BINS - i) // BINS)].mean()), 6) for i in range(BINS)]


def reliability(
    noise: Float[Tensor, "n s"], vertex_errors: Float[Tensor, "n s"], errors: Float[Tensor, "n"]
) -> dict[str, Any]:
    """All of it as plain numbers.

    Args:
        noise: predicted noise b of vertices, in tenths of the extent, as the loss has it.
        vertex_errors: their distance to the truth, template units.
        errors: of whole instances, for which the mean noise of their vertices speaks.
    """
    predicted, found, whole = noise.ravel() / 10.0, vertex_errors.ravel(), noise.mean(1)
    dropped = {"by_noise": sparsification(whole, errors), "oracle": sparsification(errors, errors)}
    gap = sum(a - b for a, b in zip(dropped["by_noise"], dropped["oracle"], strict=True)) / BINS
    return {
        "rank_correlation_of_vertices": round(rank_correlation(predicted, found), 4),
        "rank_correlation_of_instances": round(rank_correlation(whole, errors), 4),
        "calibration": calibration(predicted, found),
        "sparsification": dropped | {"gap": round(gap, 6)},
    }
