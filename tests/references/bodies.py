"""Obvious twins of the bodies room: loops over vertices, joints and triangles."""

import math

import numpy as np


def vertex_areas_slow(vertices, faces):
    """Each triangle gives a third of its area (Heron's formula) to each corner."""
    areas = [0.0] * len(vertices)
    for a, b, c in faces:
        p, q, r = (math.dist(vertices[i], vertices[j]) for i, j in ((a, b), (b, c), (c, a)))
        s = (p + q + r) / 2
        third = math.sqrt(max(s * (s - p) * (s - q) * (s - r), 0.0)) / 3
        for corner in (a, b, c):
            areas[corner] += third
    return np.array(areas)


def pose_vertices_slow(template, rotations, scales, root_translation):
    """Every vertex goes into each of its joints' rest frames, is stretched, and comes out of the posed frame."""
    skeleton = template.skeleton
    posed = []
    for joint, parent in enumerate(skeleton.parents):
        rest = skeleton.rest[joint].astype(float)
        turn = np.eye(4)
        turn[:3, :3] = rotations[joint]
        if parent < 0:
            frame = rest.copy()
            frame[:3, 3] += root_translation
        else:
            local = np.linalg.inv(skeleton.rest[parent].astype(float)) @ rest
            local[:3, 3] *= scales[parent]
            frame = posed[parent] @ local
        posed.append(frame @ turn)
    moved = np.zeros((template.num_vertices, 3))
    for vertex, place in enumerate(template.vertices):
        for joint in range(skeleton.num_joints):
            inside = np.linalg.inv(skeleton.rest[joint].astype(float)) @ [*place, 1.0]
            inside[:3] *= scales[joint]
            moved[vertex] += skeleton.weights[vertex, joint] * (posed[joint] @ inside)[:3]
    return moved


def mirror_map_slow(vertices):
    """The first vertex nearest to each mirror image."""
    found = []
    for x, y, z in vertices:
        found.append(min(range(len(vertices)), key=lambda k: math.dist(vertices[k], (x, -y, z))))
    return np.array(found)


def shortest_paths_slow(size, lengths):
    """Floyd and Warshall's all pairs of shortest paths over {(a, b): length}."""
    distance = np.full((size, size), np.inf)
    np.fill_diagonal(distance, 0)
    for (a, b), length in lengths.items():
        distance[a, b] = distance[b, a] = min(distance[a, b], length)
    for middle in range(size):
        distance = np.minimum(distance, distance[:, middle : middle + 1] + distance[middle : middle + 1])
    return distance


def view_angles_slow(rotation):
    """Azimuth and elevation in degrees of a viewer who looks along the third row."""
    x, y, z = (-float(value) for value in rotation[2])
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))
