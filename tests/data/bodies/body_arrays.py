"""Body models made of random but valid arrays, and the files in which such models are published."""

import numpy as np

from dp3d_data.bodies.model import BodyModel


def random_model(joints=6, betas=4, kind="smpl", pose_basis=True, seed=0, divisions=2, **fields) -> BodyModel:
    """A closed surface (a bumpy octahedron's subdivision) with a random tree of joints inside it."""
    rng = np.random.default_rng(seed)
    template, faces = sphere(divisions)
    template = template * (0.9, 0.4, 0.6) + rng.normal(0, 0.01, template.shape)
    regressor = np.where(rng.random((joints, len(template))) < 0.3, rng.random((joints, len(template))), 0)
    regressor[:, 0] += 1e-3
    weights = rng.dirichlet(np.full(joints, 0.3), size=len(template)) + 1e-12
    return BodyModel(
        name="random",
        kind=kind,
        template=template,
        faces=faces,
        shape_basis=rng.normal(0, 0.03, (len(template), 3, betas)),
        pose_basis=rng.normal(0, 0.01, (len(template), 3, 9 * (joints - 1))) if pose_basis else None,
        joint_regressor=regressor / regressor.sum(axis=1, keepdims=True),
        parents=np.array([-1] + [int(rng.integers(0, joint)) for joint in range(1, joints)], dtype=np.int32),
        weights=weights / weights.sum(axis=1, keepdims=True),
        **fields,
    )


def sphere(divisions: int) -> tuple[np.ndarray, np.ndarray]:
    """An octahedron whose triangles are cut in four some times over, pushed onto the unit sphere."""
    points = [np.array(p, dtype=float) for p in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(divisions):
        middle: dict[tuple[int, int], int] = {}
        smaller = []
        for a, b, c in faces:
            edges = []
            for one, two in ((a, b), (b, c), (c, a)):
                key = (min(one, two), max(one, two))
                if key not in middle:
                    middle[key] = len(points)
                    points.append((points[one] + points[two]) / np.linalg.norm(points[one] + points[two]))
                edges.append(middle[key])
            ab, bc, ca = edges
            smaller += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = smaller
    return np.array(points), np.array(faces, dtype=np.int32)


def random_poses(model: BodyModel, count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Poses, betas, places and limb scales for pose_body."""
    rng = np.random.default_rng(seed)
    return {
        "pose": rng.normal(0, 0.7, (count, model.num_joints, 3)),
        "betas": rng.normal(0, 1, (count, model.num_betas)),
        "translation": rng.normal(0, 1, (count, 3)),
        "joint_scales": np.exp(rng.normal(0, 0.2, (count, model.num_joints, 3))),
    }
