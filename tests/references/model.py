"""Slow twins of the lifting model: loops that nobody can doubt."""

import numpy as np


def rotation_by_svd(matrix):
    """The rotation nearest to a 3x3 matrix; the smallest singular direction is flipped where needed."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def camera_by_least_squares(template, keypoints, visible):
    """Rotation and scale of one instance: affine least squares, then the SVD's orthonormal rows and mean singular
    value."""
    x = np.asarray(template, dtype=np.float64)[visible]
    y = np.asarray(keypoints, dtype=np.float64)[visible]
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    affine = np.linalg.lstsq(design, y, rcond=None)[0][:3].T
    u, s, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])]), s.mean()


def pose_by_loop(vertices, weights, rotations, translations, centres):
    """One instance: every vertex is the weighted sum of where its parts take it."""
    posed = np.zeros_like(vertices)
    for k, x in enumerate(vertices):
        for m, share in enumerate(weights[k]):
            posed[k] += share * (rotations[m] @ (x - centres[m]) + centres[m] + translations[m])
    return posed


def arap_by_loop(vertices, faces, posed, epsilon, reference):
    """One instance: cotangents from every face, one SVD for each vertex, one term for each directed edge."""
    weights, areas = {}, np.zeros(len(vertices))
    for face in np.asarray(faces):
        corners = vertices[face]
        areas[face] += np.linalg.norm(np.cross(corners[1] - corners[0], corners[2] - corners[0])) / 6
        for i in range(3):
            a, b, c = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            u, v = vertices[a] - vertices[c], vertices[b] - vertices[c]
            cotangent = 0.5 * (u @ v) / np.linalg.norm(np.cross(u, v))
            for edge in ((a, b), (b, a)):
                weights[edge] = weights.get(edge, 0.0) + cotangent
    total = mass = 0.0
    for k in range(len(vertices)):
        ring = [q for (a, q) in weights if a == k]
        still = np.array([vertices[k] - vertices[q] for q in ring])
        moved = np.array([posed[k] - posed[q] for q in ring])
        length = np.linalg.norm(still, axis=1)
        cot = np.maximum([weights[k, q] for q in ring], 0)
        turn = rotation_by_svd(np.einsum("e,ea,eb->ab", cot, moved, still))
        strain = reference * np.linalg.norm(moved - still @ turn.T, axis=1) / length
        share = cot * length**2
        total += areas[k] * (share * epsilon * (np.sqrt(1 + (strain / epsilon) ** 2) - 1)).sum() / share.sum()
        mass += areas[k]
    return total / mass


def similarity_error_by_svd(predicted, true):
    """PA-MPJPE of one instance, by Umeyama's closed form."""
    x, y = predicted - predicted.mean(0), true - true.mean(0)
    turn = rotation_by_svd(y.T @ x)
    scale = np.trace(turn.T @ (y.T @ x)) / (x**2).sum()
    return np.linalg.norm(scale * x @ turn.T - y, axis=1).mean()


def stress_by_loop(predicted, true):
    """The mean over ordered pairs of different vertices of the difference of their distances."""
    k = len(predicted)
    values = [
        abs(np.linalg.norm(predicted[i] - predicted[j]) - np.linalg.norm(true[i] - true[j]))
        for i in range(k)
        for j in range(k)
        if i != j
    ]
    return float(np.mean(values))


def placement_by_least_squares(points, keypoints, visible, inverse_depth, axis):
    """One instance: t and d of X_xy + t = (d + inverse_depth Z) (u - axis), one equation for each visible coordinate,
    solved by LAPACK."""
    depth = points[:, 2] - points[visible, 2].mean()
    rows, right = [], []
    for k in np.nonzero(visible)[0]:
        for c in range(2):
            seen = keypoints[k, c] - axis[c]
            rows.append([1.0 - c, float(c), -seen])
            right.append(inverse_depth * depth[k] * seen - points[k, c])
    x, y, d = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return np.array([x, y]), d


def place_by_loop(points, keypoints, visible, inverse_depth, axis):
    """One instance: the mean shift that brings visible points to their keypoints' rays, then every point through the
    pinhole."""
    seen = np.nonzero(visible)[0]
    factor = 1.0 + inverse_depth * (points[:, 2] - points[seen, 2].mean())
    shift = np.mean([factor[k] * (keypoints[k] - axis) - points[k, :2] for k in seen], axis=0)
    return np.array([(points[k, :2] + shift) / factor[k] + axis for k in range(len(points))])


def pinhole_by_loop(points, focal, centre):
    """Pixels of points of the camera frame, one at a time."""
    return np.array([[focal[0] * x / z + centre[0], focal[1] * y / z + centre[1]] for x, y, z in points])


def attention_by_loop(queries, places, areas, values, visible):
    """One instance: for each region the mean of the values over its visible surface, and the visible share of it."""
    rows = []
    for query in queries.astype(np.float64):
        logits = places.astype(np.float64) @ query
        mass = areas * np.exp(logits - logits.max())
        seen = [k for k in range(len(places)) if visible[k]]
        total = sum(mass[k] for k in seen)
        share = total / mass.sum()
        # Regions of which next to nothing is seen count as unseen.
        mean = sum(mass[k] * values[k] for k in seen) / mass.sum() / max(share, 1e-6)
        rows.append([*mean, share])
    return np.array(rows)


def nearest_point_by_search(surface, point, steps=40):
    """The nearest of many points of every triangle, and the functions there."""
    vertices, functions = surface.vertices.numpy().astype(np.float64), surface.functions.numpy().astype(np.float64)
    grid = [(i / steps, j / steps) for i in range(steps + 1) for j in range(steps + 1 - i)]
    weights = np.array([(1 - u - v, u, v) for u, v in grid])
    best = (np.inf, None, None)
    for face in surface.faces.long().numpy():
        places = weights @ vertices[face]
        distance = np.linalg.norm(places - point, axis=1)
        k = int(distance.argmin())
        if distance[k] < best[0]:
            best = (distance[k], places[k], weights[k] @ functions[face])
    return best[1], best[2]


def pseudo_huber_slow(residual, epsilon):
    """h of one vector."""
    return epsilon * (np.sqrt(1 + float(np.dot(residual, residual)) / epsilon**2) - 1)


def reprojection_by_loop(projected, keypoints, visible, epsilon):
    """L_rep: every visible keypoint of every instance, one after the other."""
    values = [pseudo_huber_slow(projected[i, k] - keypoints[i, k], epsilon) for i, k in np.argwhere(visible)]
    return sum(values) / max(len(values), 1)


def noisy_reprojection_by_loop(projected, keypoints, visible, noise, epsilon, literal):
    """Section C in tenths of the extent, divided by 100; the clip stands in both places unless the formula is taken
    literally."""
    values = []
    for i, k in np.argwhere(visible):
        b = noise[i, k]
        clipped = max(b, 0.1)
        h = 10 * pseudo_huber_slow(projected[i, k] - keypoints[i, k], epsilon)
        values.append(np.log(b if literal else clipped) + h / clipped)
    return sum(values) / max(len(values), 1) / 100


def canonical_by_loop(found, shape, epsilon):
    """L_canon: every vertex of every instance, the answer centred."""
    values = []
    for answer, true in zip(found, shape, strict=True):
        centre = answer.mean(0)
        values += [pseudo_huber_slow(a - centre - t, epsilon) for a, t in zip(answer, true, strict=True)]
    return sum(values) / len(values)


def entropy_by_loop(weights):
    """L_entropy: 0 log 0 is 0."""
    return float(np.mean([-sum(w * np.log(w) for w in row if w > 0) for row in weights]))


def normal_by_loop(points, faces, vertex):
    """The area-weighted mean of the normals of the faces around a vertex, of length 1."""
    total = np.zeros(3)
    for a, b, c in faces:
        if vertex in (a, b, c):
            total += np.cross(points[b] - points[a], points[c] - points[a])
    return total / np.linalg.norm(total)


def back_face_by_loop(depths, visible, epsilon, margin, scale):
    """L_back_face: what each visible vertex's normal turns away from the viewer, beyond the margin."""
    values = [
        pseudo_huber_slow(np.array([scale * max(0.0, depths[i, v] + margin)]), epsilon) for i, v in np.argwhere(visible)
    ]
    return sum(values) / max(len(values), 1)


def silhouette_by_loop(projected, hidden, keypoints, visible, slack, epsilon):
    """L_silhouette: each hidden vertex's distance to the nearest visible keypoint, beyond the slack."""
    values = []
    for i, v in np.argwhere(hidden):
        nearest = min(np.linalg.norm(projected[i, v] - keypoints[i, k]) for k in np.flatnonzero(visible[i]))
        values.append(pseudo_huber_slow(np.array([max(0.0, nearest - slack)]), epsilon))
    return sum(values) / max(len(values), 1)


def chain_by_recursion(rotations, shifts, parents, part):
    """The motion of a part in a tree: its own first, then its parent's."""
    if parents[part] < 0:
        return rotations[part], shifts[part]
    turn, shift = chain_by_recursion(rotations, shifts, parents, parents[part])
    return turn @ rotations[part], turn @ shifts[part] + shift
