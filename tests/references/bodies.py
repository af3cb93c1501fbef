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


def remoteness_slow(distances: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """For each vertex the mean distance to all the surface, one pair after the other."""
    means = []
    for one in range(len(distances)):
        total = 0.0
        for other in range(len(distances)):
            total += float(distances[one, other]) * float(areas[other])
        means.append(total / float(areas.sum()))
    return np.array(means)


def limb_count_slow(values: np.ndarray, faces: np.ndarray, shortest: float) -> int:
    """How many parts a falling threshold shows, counting a part only once it has risen by `shortest` where it meets
    another.

    The parts above each threshold are flooded anew. A part that meets higher ones ends; it counts where it had risen
    enough then. The highest of all always counts.
    """
    count, peaks = 1, []
    links: dict[int, set[int]] = {}
    for face in faces.tolist():
        for a in face:
            links.setdefault(a, set()).update(set(face) - {a})
    for vertex in np.argsort(-values, kind="stable").tolist():
        met = set()
        for start in links[vertex]:
            if values[start] > values[vertex]:
                seen, todo = {start}, [start]
                while todo:
                    for other in links[todo.pop()] - seen:
                        if values[other] > values[vertex]:
                            seen.add(other)
                            todo.append(other)
                met.add(max(seen, key=lambda one: values[one]))
        for peak in sorted(met, key=lambda one: -values[one])[1:]:
            peaks.append(peak)
            count += values[peak] - values[vertex] >= shortest
    return count


def landmark_energy_slow(mapping, source, target, eigenvalues, times=8) -> float:
    """What landmark_map makes least: landmarks, heat around them, and functions of unlike frequency mapped to each
    other."""
    count, size = source.shape
    points = 0.0
    for mark in range(count):
        for column in range(size):
            carried = sum(target[mark, row] * mapping[row, column] for row in range(size))
            points += (carried - source[mark, column]) ** 2 / (count * size)
    heat = 0.0
    for time in np.geomspace(0.5 / eigenvalues[-1], 4 / eigenvalues[1], times):
        decay = np.array([math.exp(-time * value) for value in eigenvalues])
        decay = decay / math.sqrt(float((decay**2).sum()))
        for mark in range(count):
            for row in range(size):
                carried = sum(mapping[row, column] * decay[column] * source[mark, column] for column in range(size))
                heat += (carried - decay[row] * target[mark, row]) ** 2 / (count * times)
    gaps = 0.0
    for row in range(size):
        for column in range(size):
            gaps += (mapping[row, column] * (eigenvalues[row] - eigenvalues[column]) / eigenvalues[-1]) ** 2
    return points + heat + gaps
