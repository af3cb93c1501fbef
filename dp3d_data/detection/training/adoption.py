"""A network's embeddings on a template that it was not trained on: from landmarks, then from what the network sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from dp3d_data.detection.training.losses import soft_embedding_loss, soft_targets
from dp3d_data.geometry import Template
from dp3d_data.matching import integer_box, nearest_vertices, object_mask, resize_to
from dp3d_data.matching.functional_maps import bare_spectrum, correspondence, smooth_field, spectrum_of

PIXELS = 400  # looked at of every animal
PRIOR = 0.3  # weight of the field before photographs, beside their pixels
SOFTNESS = 0.2  # temperature of squared embedding distances between pixels and vertices
CYCLE = 0.1  # of the animal's longer side: how far a pixel may come back from itself
STEPS, RATE, BATCH = 300, 0.01, 2048
TIE = 0.1  # weight of the field before renders, beside their loss
WIDTH = 0.05  # of the geodesic targets, template units, and temperature of squared embedding distances


@dataclass(frozen=True)
class Field:
    """Embeddings over a template: row-normalised functions @ coefficients.

    functions [K, m]: the template's Laplace-Beltrami functions, each of unit mean square over the surface. eigenvalues
    [m], for a surface of area 1. areas [K]: share of the surface. coefficients [m, D].
    """

    functions: Float[np.ndarray, "K m"]
    eigenvalues: Float[np.ndarray, "m"]
    areas: Float[np.ndarray, "K"]
    coefficients: Float[np.ndarray, "m D"]

    @property
    def embeddings(self) -> Float[np.ndarray, "K D"]:
        """Unit rows, float32."""
        return unit(self.functions @ self.coefficients)


@dataclass(frozen=True)
class Sight:
    """Pixels of one animal: the network's embeddings [P, D], places [P, 2] in its longer sides, and true vertices if
    known."""

    embeddings: Float[np.ndarray, "P D"]
    places: Float[np.ndarray, "P 2"]
    vertices: Int[np.ndarray, "P"] | None = None


def unit(rows: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K D"]:
    """Rows of length 1, float32."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def blank_field(template: Template, size: int, dim: int) -> Field:
    """A field of at most `size` functions that is zero everywhere."""
    spectrum, eigenvalues = spectrum_of(template, min(size, template.num_vertices - 1))
    return Field(spectrum.functions, eigenvalues, spectrum.areas, np.zeros((len(eigenvalues), dim)))


def field_from_landmarks(
    blank: Field,
    features: Float[np.ndarray, "N F"],
    embeddings: Float[np.ndarray, "N D"],
    cse_vertices: Int[np.ndarray, "n"],
    vertices: Int[np.ndarray, "n"],
) -> Field:
    """The embeddings that the corresponding vertices have on the checkpoint's mesh, of which only functions are known.

    Args:
        features: spectral functions of the checkpoint's mesh.
        embeddings: of its vertices, unit rows.
        cse_vertices, vertices: landmarks on the checkpoint's mesh and on the template.

    Raises:
        UsageError: too few landmarks.
    """
    target = bare_spectrum(blank.functions)
    target = replace(target, functions=blank.functions, areas=blank.areas)
    ids = correspondence(bare_spectrum(features), target, blank.eigenvalues, cse_vertices, vertices)
    return replace(blank, coefficients=smooth_field(embeddings[ids], blank.areas, blank.functions, blank.eigenvalues))


def sight_of(detection, rng: np.random.Generator, vertex_map: Int[np.ndarray, "H W"] | None = None) -> Sight | None:
    """Some pixels of a detection: of its mask, or with true vertices where `vertex_map` has them; None where there are
    none."""
    x, y, width, height = integer_box(detection.region)
    embedding = resize_to(np.asarray(detection.embedding), width, height)
    if vertex_map is None:
        rows, columns = np.nonzero(object_mask(np.asarray(detection.coarse_segm), width, height))
    else:
        part = vertex_map[y : y + height, x : x + width]
        rows, columns = np.nonzero(part >= 0)
    if not len(rows):
        return None
    chosen = rng.permutation(len(rows))[:PIXELS]
    rows, columns = rows[chosen], columns[chosen]
    places = np.stack([columns, rows], axis=1) / max(width, height)
    return Sight(embedding[rows, columns], places, None if vertex_map is None else part[rows, columns].astype(np.int64))


def pulled_to_photographs(field: Field, sights: Iterable[Sight]) -> Field:
    """One round of expectation and maximisation towards embeddings that were seen (ours).

    Every pixel is shared among the vertices near it in embedding space, and counts for as much as it comes back to
    itself: from the pixel to its nearest vertex, and from there to the nearest pixel of the same animal. The new field
    is the smooth one nearest to the mean pixel of each vertex and to the field before. More rounds would draw the field
    together, as the mean of what is near lies further inside than what it is the mean of.
    """
    vertices = field.embeddings
    total, count = np.zeros_like(field.functions @ field.coefficients), np.zeros(len(vertices))
    for sight in sights:
        pixels = unit(sight.embeddings)
        likeness = pixels @ vertices.T
        back = nearest_vertices(vertices[likeness.argmax(axis=1)], pixels)
        distance = np.linalg.norm(sight.places - sight.places[back], axis=1)
        share = np.exp(2 * (likeness - likeness.max(axis=1, keepdims=True)) / SOFTNESS)
        share *= (np.exp(-((distance / CYCLE) ** 2)) / share.sum(axis=1))[:, None]
        total += share.T @ pixels
        count += share.sum(axis=0)
    if not count.sum():
        return field
    prior = PRIOR * count.sum() * field.areas
    weights = count + prior
    means = (total + prior[:, None] * vertices) / np.maximum(weights, 1e-12)[:, None]
    return replace(field, coefficients=smooth_field(means, weights / weights.sum(), field.functions, field.eigenvalues))


def mean_field(blank: Field, sights: Iterable[Sight]) -> Field:
    """The smooth field nearest to the mean embedding seen at each true vertex: a start where there are no landmarks."""
    total, count = np.zeros((len(blank.functions), blank.coefficients.shape[1])), np.zeros(len(blank.functions))
    for sight in sights:
        if sight.vertices is not None:
            np.add.at(total, sight.vertices, unit(sight.embeddings))
            np.add.at(count, sight.vertices, 1)
    means, weights = total / np.maximum(count, 1)[:, None], count / max(count.sum(), 1)
    return replace(blank, coefficients=smooth_field(means, weights, blank.functions, blank.eigenvalues, ridge=1e-3))


def fitted_to_renders(field: Field, sights: Iterable[Sight], geodesics: Float[np.ndarray, "K K"], seed: int) -> Field:
    """The field whose soft embedding loss at pixels with true vertices is least, tied to the field before.

    The network stays as it is: its pixels are data. Same inputs and machine, same field.
    """
    found = list(sights)
    pixels = torch.from_numpy(np.concatenate([sight.embeddings for sight in found]))
    truth = torch.from_numpy(np.concatenate([sight.vertices for sight in found]))
    functions = torch.from_numpy(field.functions.astype(np.float32))
    targets = soft_targets(torch.from_numpy(geodesics), WIDTH)
    before = torch.from_numpy(field.embeddings)
    start = field.coefficients * (1 / max(np.linalg.norm(field.functions @ field.coefficients, axis=1).mean(), 1e-9))
    coefficients = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    optimiser, rng = torch.optim.Adam([coefficients], lr=RATE), torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        chosen = torch.randint(len(pixels), (BATCH,), generator=rng)
        vertices = torch.nn.functional.normalize(functions @ coefficients, dim=1)
        loss = soft_embedding_loss(pixels[chosen], vertices, truth[chosen], targets, WIDTH)
        loss = loss + TIE * (vertices - before).square().sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return replace(field, coefficients=coefficients.detach().numpy().astype(np.float64))


def matching_errors(
    field: Field, sights: Iterable[Sight], geodesics: Float[np.ndarray, "K K"]
) -> Float[np.ndarray, "P"]:
    """Distance on the surface from the matched to the true vertex of every pixel, template units."""
    vertices = field.embeddings
    return np.concatenate([geodesics[nearest_vertices(one.embeddings, vertices), one.vertices] for one in sights])
