"""Embeddings on a template that a network was not trained on: from landmarks, then from photographs and renders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.losses import SoftTargets, soft_embedding_loss, soft_targets
from dp3d_data.geometry import Template
from dp3d_data.geometry.laplacian import laplace_beltrami
from dp3d_data.matching import integer_box, nearest_vertices, object_mask, resize_to
from dp3d_data.matching.landmarks import bare_spectrum, correspondence, smooth_field, spectrum_of
from dp3d_data.records import DensePrediction

NEAR = 0.02  # of the body's extent


def placed_keypoints(
    dense: DensePrediction, wanted: Int[np.ndarray, "n"], geodesics: Float[np.ndarray, "K K"]
) -> Float[np.ndarray, "n 2"]:
    """Image position of each wanted vertex: the mean of the mask's pixels, weighted by exp(-(d / NEAR)^2) (ours).

    d is the distance on the surface from the vertex to the one that a pixel is matched to. Weights are relative, so
    that a vertex that no pixel is matched to stands where the pixels do whose vertices are nearest to it.

    Args:
        dense: matched pixels, at least one.
        geodesics: surface distances, template units.

    Returns:
        Places in image pixels.
    """
    rows, columns = np.nonzero(dense.mask)
    centres = np.stack([columns, rows], axis=1) + (np.array(dense.origin) + 0.5)
    energies = (geodesics[wanted][:, dense.vertex_ids[rows, columns]] / NEAR) ** 2
    weights = np.exp(energies.min(axis=1, keepdims=True) - energies)
    return (weights / weights.sum(axis=1, keepdims=True)) @ centres


FIT_STEPS = 400
FIT_VERTICES = 512
FIT_RATE = 0.02


def use_spectrum(network: Dp3dDenseRCNN, template: Template, mesh: str) -> None:
    """Give the embedder the template's Laplace-Beltrami functions, each of unit mean square (ours)."""
    features = network.embedder(mesh).features
    _, functions = laplace_beltrami(template, features.shape[1])
    scaled = torch.from_numpy(functions).to(features)
    features.copy_(scaled / scaled.square().mean(dim=0, keepdim=True).sqrt())


def fit_field(network: Dp3dDenseRCNN, mesh: str, targets: SoftTargets, sigma: float, seed: int) -> float:
    """Fit the embedder to the soft targets of its own vertices, before any image is seen (ours); returns the last loss.

    Random embeddings of equal weight in every Laplace-Beltrami function are rough, stay rough, and make neighbouring
    points of the surface as different as far ones; a network then learns noise. The start here falls with the number
    of the function, and a few hundred Adam steps bring near what is near on the surface.

    Args:
        targets: [K, K] of the mesh's vertices.
        sigma: temperature of squared embedding distances.
    """
    embedder = network.embedder(mesh)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        falling = torch.arange(1, len(embedder.embeddings) + 1)[:, None]
        embedder.embeddings.copy_(torch.randn(embedder.embeddings.shape, generator=rng) / falling)
    optimiser = torch.optim.Adam([embedder.embeddings], lr=FIT_RATE)
    for step in range(FIT_STEPS):
        optimiser.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
        chosen = torch.randperm(len(embedder.features), generator=rng)[:FIT_VERTICES].to(embedder.features.device)
        vertices = embedder()
        loss = soft_embedding_loss(vertices[chosen], vertices, chosen, targets, sigma)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def align_field(network: Dp3dDenseRCNN, template: Template, other: Template) -> None:
    """Give a template the embeddings that another one has in the same places, in place (ours).

    Places are shares of the rest pose's box, in which a nose is foremost and feet are lowest in every four-legged
    animal. So both meshes speak of a head alike from the start, and what is learned of one helps the other.
    """
    own = network.embedder(template.name)
    places = [(one.vertices - one.vertices.min(axis=0)) / np.ptp(one.vertices, axis=0) for one in (template, other)]
    nearest = cKDTree(places[1]).query(places[0])[1]
    with torch.no_grad():
        values = network.embedder(other.name)()[torch.from_numpy(nearest)].double().cpu().numpy()
        functions = own.features.double().cpu().numpy()
        eigenvalues, _ = laplace_beltrami(template, functions.shape[1])
        shares = template.vertex_areas / template.vertex_areas.sum()
        own.embeddings.copy_(torch.from_numpy(smooth_field(values, shares, functions, eigenvalues)))


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


# Pixels of one animal in a photograph: embeddings, and places in units of its longer side.
Placed = tuple[Float[np.ndarray, "P D"], Float[np.ndarray, "P 2"]]
# Pixels of one animal in a render: embeddings, and true vertices.
Known = tuple[Float[np.ndarray, "P D"], Int[np.ndarray, "P"]]


def unit(rows: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K D"]:
    """Rows of length 1, float32."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def blank_field(template: Template, size: int, dim: int) -> Field:
    """A field of at most `size` functions that is zero everywhere."""
    (functions, areas), eigenvalues = spectrum_of(template, min(size, template.num_vertices - 1))
    return Field(functions, eigenvalues, areas, np.zeros((len(eigenvalues), dim)))


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
    target = blank.functions, blank.areas
    ids = correspondence(bare_spectrum(features), target, blank.eigenvalues, cse_vertices, vertices)
    return replace(blank, coefficients=smooth_field(embeddings[ids], blank.areas, blank.functions, blank.eigenvalues))


def placed_pixels(detection, rng: np.random.Generator) -> Placed | None:
    """Some pixels of the mask of a detection, if it has any."""
    _, _, width, height = integer_box(detection.region)
    inside = object_mask(np.asarray(detection.coarse_segm), width, height)
    rows, columns = _some(inside, rng)
    embedding = resize_to(np.asarray(detection.embedding), width, height)[rows, columns]
    places = np.stack([columns, rows], axis=1) / max(width, height)
    return (embedding, places) if len(rows) else None


def known_pixels(detection, rng: np.random.Generator, vertex_map: Int[np.ndarray, "H W"]) -> Known | None:
    """Some pixels of the box of a detection that have a vertex in the map of the image (-1: none), if there are any."""
    x, y, width, height = integer_box(detection.region)
    part = vertex_map[y : y + height, x : x + width]
    rows, columns = _some(part >= 0, rng)
    embedding = resize_to(np.asarray(detection.embedding), width, height)[rows, columns]
    return (embedding, part[rows, columns].astype(np.int64)) if len(rows) else None


def _some(inside: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of PIXELS of the pixels inside, in any order."""
    rows, columns = np.nonzero(inside)
    chosen = rng.permutation(len(rows))[:PIXELS]
    return rows[chosen], columns[chosen]


def pulled_to_photographs(field: Field, animals: Iterable[Placed]) -> Field:
    """One round of expectation and maximisation towards embeddings that were seen (ours).

    Every pixel is shared among the vertices near it in embedding space, and counts for as much as it comes back to
    itself: from the pixel to its nearest vertex, and from there to the nearest pixel of the same animal. The new field
    is the smooth one nearest to the mean pixel of each vertex and to the field before. More rounds would draw the field
    together, as the mean of what is near lies further inside than what it is the mean of.
    """
    vertices = field.embeddings
    total, count = np.zeros_like(field.functions @ field.coefficients), np.zeros(len(vertices))
    for embeddings, places in animals:
        pixels = unit(embeddings)
        likeness = pixels @ vertices.T
        back = nearest_vertices(vertices[likeness.argmax(axis=1)], pixels)
        distance = np.linalg.norm(places - places[back], axis=1)
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


def mean_field(blank: Field, animals: Iterable[Known]) -> Field:
    """The smooth field nearest to the mean embedding seen at each true vertex: a start where there are no landmarks."""
    total, count = np.zeros((len(blank.functions), blank.coefficients.shape[1])), np.zeros(len(blank.functions))
    for embeddings, vertices in animals:
        np.add.at(total, vertices, unit(embeddings))
        np.add.at(count, vertices, 1)
    means, weights = total / np.maximum(count, 1)[:, None], count / max(count.sum(), 1)
    return replace(blank, coefficients=smooth_field(means, weights, blank.functions, blank.eigenvalues, ridge=1e-3))


def fitted_to_renders(field: Field, animals: Sequence[Known], geodesics: Float[np.ndarray, "K K"], seed: int) -> Field:
    """The field whose soft embedding loss at pixels with true vertices is least, tied to the field before.

    The network stays as it is: its pixels are data. Same inputs and machine, same field.
    """
    pixels = torch.from_numpy(np.concatenate([embeddings for embeddings, _ in animals]))
    truth = torch.from_numpy(np.concatenate([vertices for _, vertices in animals]))
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
    field: Field, animals: Iterable[Known], geodesics: Float[np.ndarray, "K K"]
) -> Float[np.ndarray, "P"]:
    """Distance on the surface from the matched to the true vertex of every pixel, template units."""
    own = field.embeddings
    return np.concatenate([geodesics[nearest_vertices(embeddings, own), true] for embeddings, true in animals])
