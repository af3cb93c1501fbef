"""Obvious twin of the body models: one pose at a time, loops over joints and vertices, 4 x 4 matrices."""

import numpy as np
from scipy.spatial.transform import Rotation


def pose_body_slow(model, pose, betas, translation, scales):
    """One pose: the surface is shaped, the joints are regressed, the pose bends it, the joints' frames carry it.

    The limb scales as their authors write them: the parent's scale is undone before the joint turns, then the joint's
    own is applied, so that only the offset between the two is stretched by the parent.
    """
    turns = Rotation.from_rotvec(pose).as_matrix()
    shaped = model.template.copy()
    for number, beta in enumerate(betas):
        shaped += beta * model.shape_basis[:, :, number]
    joints = np.array([sum(row[k] * shaped[k] for k in range(len(shaped))) for row in model.joint_regressor])
    bent = shaped.copy()
    if model.pose_basis is not None:
        feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]] or [np.zeros(0)])
        for k in range(len(bent)):
            bent[k] += model.pose_basis[k] @ feature
    frames = []
    for joint, parent in enumerate(model.parents):
        local = np.eye(4)
        if parent < 0:
            local[:3, :3] = turns[joint] @ np.diag(scales[joint])
            local[:3, 3] = joints[joint]
            frames.append(local)
        else:
            local[:3, :3] = np.linalg.inv(np.diag(scales[parent])) @ turns[joint] @ np.diag(scales[joint])
            local[:3, 3] = joints[joint] - joints[parent]
            frames.append(frames[parent] @ local)
    posed = np.zeros_like(bent)
    for k, place in enumerate(bent):
        for joint, frame in enumerate(frames):
            posed[k] += model.weights[k, joint] * (frame @ [*(place - joints[joint]), 1.0])[:3]
    return posed + translation
