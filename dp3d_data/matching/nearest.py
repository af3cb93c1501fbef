"""Exact nearest template vertex in embedding space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import NotFinite, ShapeError

_CHUNK_ELEMENTS = 1 << 26
_FAR = np.float32(1e6)


class VertexIndex:
    """The embeddings of a template's vertices, ready to be searched.

    The search is exact: the vertex of the smallest squared Euclidean distance in float32. Vertices with the very same
    embedding count as one, and the smallest id answers for all of them. On the CPU the search is faiss's flat index; on
    any other device it is a chunked matrix product in torch, whose answers differ at most where two vertices are
    equally near to within float32 rounding.

    Args:
        vertices: [K, D] vertex embeddings.
        device: "cpu", or a torch device such as "cuda:0".

    Raises:
        ShapeError: not a matrix, or no vertex.
        NotFinite: an embedding holds NaN or infinity.
    """

    def __init__(self, vertices: Float[np.ndarray, "vertices dim"], device: str = "cpu") -> None:
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        if vertices.ndim != 2 or len(vertices) == 0:
            what = "vertex embeddings must be a matrix with a row per vertex"
            raise ShapeError(what, got=vertices.shape, expected="[K, D]")
        _require_finite(vertices, "vertex embeddings")
        self.vertices, self.device = vertices, device
        self.num_vertices, self.dim = vertices.shape
        # The smallest id whose row equals the row of each id.
        _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
        self._first_equal = first[inverse.reshape(-1)].astype(np.int32)
        self._search = _faiss_search(vertices) if device == "cpu" else _torch_search(vertices, device)

    def search(self, pixels: Float[np.ndarray, "pixels dim"]) -> Int[np.ndarray, "pixels"]:
        """The nearest vertex of each pixel embedding.

        Args:
            pixels: [N, D] pixel embeddings; N may be 0.

        Returns:
            [N] int32 vertex ids in 0..K-1.

        Raises:
            ShapeError: the dimension differs from the vertices'.
            NotFinite: an embedding holds NaN or infinity.
        """
        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        if pixels.ndim != 2 or pixels.shape[1] != self.dim:
            what = "pixel and vertex embeddings differ in dimension"
            raise ShapeError(what, got=pixels.shape, expected=f"[N, {self.dim}]")
        if len(pixels) == 0:
            return np.zeros(0, dtype=np.int32)
        _require_finite(pixels, "pixel embeddings")
        return self._first_equal[self._search(pixels)]


def nearest_vertices(
    pixels: Float[np.ndarray, "pixels dim"], vertices: Float[np.ndarray, "vertices dim"], device: str = "cpu"
) -> Int[np.ndarray, "pixels"]:
    """The nearest vertex of each pixel, for one search only; see `VertexIndex`, which is built once for many.

    Raises:
        ShapeError: shapes that do not belong together.
        NotFinite: an embedding holds NaN or infinity.
    """
    return VertexIndex(vertices, device).search(pixels)


def best_pixels(
    pixels: Float[np.ndarray, "pixels dim"], vertices: Float[np.ndarray, "vertices dim"], device: str = "cpu"
) -> Int[np.ndarray, "vertices"]:
    """The pixel whose embedding has the direction nearest to each vertex's; exact, ties within float32 rounding aside.

    Args:
        pixels: [N, D], at least one; an embedding of length 0 is nearest to none.
        vertices: [V, D], of any length.
    """
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", pixels, pixels))
    directions = pixels / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    directions[lengths == 0] = _FAR  # no direction: further from any vertex than all others
    vertices = np.ascontiguousarray(vertices, dtype=np.float32)
    if device == "cpu":
        # Among vectors of unit length the largest cosine is the smallest distance, which is faiss's faster kernel.
        units = vertices / np.maximum(np.linalg.norm(vertices, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return _faiss().knn(units, directions, 1)[1][:, 0]
    directions[lengths == 0] = 0
    return _largest_products(vertices, directions, device)


def _largest_products(rows: np.ndarray, others: np.ndarray, device: str) -> np.ndarray:
    """The index of the other row with the largest product, for each row."""
    import torch

    transposed = torch.from_numpy(others).to(device).T.contiguous()
    chunk = max(1, _CHUNK_ELEMENTS // len(others))
    return torch.cat(
        [(part.to(device) @ transposed).argmax(dim=1).cpu() for part in torch.from_numpy(rows).split(chunk)]
    ).numpy()


def _require_finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise NotFinite(f"{name} hold NaN or infinity", got=f"{np.count_nonzero(~np.isfinite(values))} such numbers")


def _faiss():
    """faiss with its fused kernel, which by default serves large searches alone, at a sixteenth of the time a pair."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 20
    return faiss


def _faiss_search(vertices: np.ndarray):
    index = _faiss().IndexFlatL2(vertices.shape[1])
    index.add(vertices)
    return lambda pixels: index.search(pixels, 1)[1][:, 0]


def _torch_search(vertices: np.ndarray, device: str):
    """|p - v|^2 is smallest where p.v - |v|^2 / 2 is largest; the pixel's own norm plays no part."""
    import torch

    transposed = torch.from_numpy(vertices).to(device).T.contiguous()
    half_norms = transposed.double().square().sum(dim=0).div(2).float()
    chunk = max(1, _CHUNK_ELEMENTS // vertices.shape[0])

    def search(pixels: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(pixels).split(chunk)
        found = [(part.to(device) @ transposed).sub_(half_norms).argmax(dim=1).cpu() for part in parts]
        return torch.cat(found).numpy()

    return search
