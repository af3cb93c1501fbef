"""A small lopsided body and a world of it, made in milliseconds."""

from dataclasses import replace
from functools import reduce
from operator import or_

import numpy as np
import scipy.linalg
import torch
import trimesh

from dp3d_data.loader import InstanceTable, KeypointBatch, table_source
from dp3d_model.config import preset
from dp3d_model.geometry.camera import random_rotations
from dp3d_model.geometry.surface import Surface

TINY = {
    "model.width": 32,
    "model.bottleneck": 16,
    "model.blocks": 2,
    "model.basis": 12,
    "model.parts": 4,
    "model.blendshapes": 2,
    "model.input_cells": 24,
    "loss.drawn_rings": 12,
    "loss.canonical": 0.1,
}


def tiny(*changes):
    """Settings of a network that trains in a second, with changes by dotted name, the later over the earlier."""
    steps = {"optim.batch": 16, "optim.steps": 6, "optim.warmup": 1, "run.save_every": 3, "run.log_every": 1}
    return preset("quick", reduce(or_, changes, TINY | steps))


def blob(subdivisions=2):
    """Vertices and faces of an ellipsoid with bumps, largest extent 1, centred."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    x = np.array(mesh.vertices)
    x = x * (1.0 + 0.25 * np.sin(3 * x[:, :1] + 1.0) + 0.15 * np.cos(4 * x[:, 1:2] * x[:, 2:])) * [1.0, 0.5, 0.6]
    x = x - (x.max(0) + x.min(0)) / 2
    return (x / np.ptp(x, axis=0).max()).astype(np.float32), np.array(mesh.faces, dtype=np.int32)


def functions_of(vertices, faces, count):
    """Eigenfunctions of the graph Laplacian: smooth, orthogonal, the first constant; good enough for a toy."""
    adjacency = np.zeros((len(vertices), len(vertices)))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        adjacency[faces[:, a], faces[:, b]] = adjacency[faces[:, b], faces[:, a]] = 1.0
    _, vectors = scipy.linalg.eigh(np.diag(adjacency.sum(0)) - adjacency, subset_by_index=[0, count - 1])
    return (vectors * np.sqrt(len(vertices))).astype(np.float32)


def toy_surface(basis=12, subdivisions=2):
    vertices, faces = blob(subdivisions)
    functions = functions_of(vertices, faces, basis)
    return Surface("blob", "b10b" * 4, torch.tensor(vertices), torch.tensor(faces), torch.tensor(functions), "m", 0.5)


def source_of(batch, truth=False):
    """A batch to learn from, with its true shapes where they are asked for."""
    intrinsics = None if batch.intrinsics is None else batch.intrinsics.numpy()
    table = InstanceTable.of_arrays(batch.keypoints.numpy(), batch.visible.numpy(), intrinsics)
    if truth and batch.true_vertices is not None:
        table = replace(table, true_vertices=batch.true_vertices.numpy(), true_scale=batch.true_scale.numpy())
    return table_source(table)


def toy_instances(surface, count=40, seed=0, bend=0.15, name="toy"):
    """Bent bodies under random cameras; half of the vertices visible; truth known."""
    generator = torch.Generator().manual_seed(seed)
    fields = bend * 0.2 * torch.randn(3, 3, generator=torch.Generator().manual_seed(7))
    amounts = torch.randn(count, 3, generator=generator)
    bent = surface.vertices + torch.einsum("nb,bc,kb->nkc", amounts, fields, surface.functions[:, 1:4])
    rotation = random_rotations(count, "uniform", generator)
    shapes = bent @ rotation.transpose(1, 2)
    scale = 80.0 + 100.0 * torch.rand(count, generator=generator)
    shift = 100.0 * torch.rand(count, 1, 2, generator=generator)
    return KeypointBatch(
        ids=tuple(f"{name}-{i}" for i in range(count)),
        keypoints=shapes[..., :2] * scale[:, None, None] + shift,
        visible=shapes[..., 2] < shapes[..., 2].mean(1, keepdim=True),
        true_vertices=shapes,
        true_scale=scale,
        boxes=torch.zeros(count, 4),
        groups=("",) * count,
        image_paths=("",) * count,
    )
