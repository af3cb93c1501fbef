"""The template as the model sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from dp3d_data.geometry.subdivision import mesh_edges


@dataclass(frozen=True)
class Surface:
    """A template's geometry, template units (largest extent 1, bounding box centred at 0); it stays on the CPU.

    Attributes:
        name, content_hash: which template this is; content_hash guards against shards of another one.
        vertices: [K, 3].
        faces: [F, 3].
        functions: [K, J] mass-normalised Laplace-Beltrami eigenfunctions, the first constant.
        symmetry: [K] the partner of each vertex on the other side of the body; None where unknown.
        unit, factor: one template unit is factor source units; unit is "m" or "unknown".
    """

    name: str
    content_hash: str
    vertices: Float[Tensor, "k 3"]
    faces: Int[Tensor, "f 3"]
    functions: Float[Tensor, "k j"]
    unit: str = "unknown"
    factor: float = 1.0
    symmetry: Int[Tensor, "k"] | None = None

    @property
    def vertex_areas(self) -> Float[Tensor, "k"]:
        """A third of the area of the triangles around each vertex."""
        corners = self.vertices[self.faces.long()]
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        share = normal.norm(dim=1).repeat_interleave(3) / 6.0
        return torch.zeros(len(self.vertices)).index_add_(0, self.faces.long().ravel(), share)

    @property
    def edges(self) -> Int[np.ndarray, "e 2"]:
        """The two vertices of each edge, each edge once, ascending."""
        return mesh_edges(self.faces.numpy())

    @property
    def millimetres(self) -> float | None:
        """Millimetres per template unit, where the source's unit is known."""
        return 1000.0 * self.factor if self.unit == "m" else None


def surface_of(template, functions: Float[np.ndarray, "k j"], count: int) -> Surface:
    """The surface of a dp3d_data.geometry template with the first `count` functions of its basis."""
    return Surface(
        name=str(template.name),
        content_hash=str(template.content_hash),
        vertices=torch.tensor(np.asarray(template.vertices), dtype=torch.float32),
        faces=torch.tensor(np.asarray(template.faces), dtype=torch.int32),
        functions=torch.tensor(np.asarray(functions)[:, :count], dtype=torch.float32),
        unit=str(template.unit),
        factor=float(template.factor),
        symmetry=None if template.symmetry is None else torch.tensor(np.asarray(template.symmetry), dtype=torch.int64),
    )


def spread_seeds(surface: Surface, count: int) -> tuple[Int[Tensor, "m"], Float[Tensor, "k m"]]:
    """Vertices far from each other, and the distance of every vertex to each (ours).

    Distance is the mean of the straight one and of the shortest path along edges: feet side by side are far apart, the
    two flanks of the body are not. Where no path joins two components, the path counts as the straight distance plus 1.
    The first seed is the farthest vertex from the centre.
    """
    points, (tails, heads) = surface.vertices.numpy().astype(np.float64), surface.edges.T
    length = np.linalg.norm(points[tails] - points[heads], axis=1).clip(1e-9)
    graph = csr_matrix((length, (tails, heads)), shape=(len(points), len(points)))
    seeds = [int((surface.vertices - surface.vertices.mean(0)).norm(dim=1).argmax())]
    columns: list[np.ndarray] = []
    for _ in range(min(count, len(points))):
        along = dijkstra(graph, directed=False, indices=seeds[-1])
        straight = (surface.vertices - surface.vertices[seeds[-1]]).norm(dim=1).double().numpy()
        columns.append((np.where(np.isfinite(along), along, 1.0 + straight) + straight) / 2)
        seeds.append(int(np.argmax(np.min(columns, axis=0))))
    return torch.tensor(seeds[:-1]), torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)


def farthest_points(points: Float[Tensor, "k 3"], count: int) -> Int[Tensor, "count"]:
    """Indices of points far from each other: first the farthest from the mean, then each the farthest from those."""
    count = min(count, len(points))
    chosen = [int((points - points.mean(0)).norm(dim=1).argmax())]
    distance = (points - points[chosen[0]]).norm(dim=1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)
