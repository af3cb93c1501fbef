"""Which part of the body a joint belongs to, read from its name."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry import Skeleton

# The first pattern that is found in the lower-case name decides.
PATTERNS = (
    ("ear", r"\bear|ear\d|_ear|^ear"),
    ("tail", r"tail|^ca_\d"),
    ("jaw", r"jaw|mandible"),
    ("head", r"head|skull"),
    ("neck", r"neck|^c_\d"),
    ("leg", r"leg|arm|hand|foot|paw|upper_|lower_|^ff|shin|thigh|calf"),
    ("toe", r"toe|finger"),
    ("shoulder", r"shoulder|scapula|clavicle"),
    ("trunk", r"torso|spine|pelvis|hip|body|back|chest|^l_\d|root"),
)


@lru_cache(maxsize=4096)
def joint_role(name: str) -> str:
    """ear, tail, jaw, head, neck, leg, toe, shoulder, trunk, or "other"."""
    text = name.lower()
    return next((role for role, pattern in PATTERNS if re.search(pattern, text)), "other")


def joint_roles(skeleton: Skeleton) -> tuple[str, ...]:
    """The role of every joint; names that say nothing inherit their parent's."""
    roles: list[str] = []
    for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
        role = joint_role(name)
        roles.append(roles[parent] if role == "other" and parent >= 0 else role)
    return tuple(roles)


def role_weights(skeleton: Skeleton) -> dict[str, Float[np.ndarray, "K"]]:
    """How far each vertex belongs to each role, 0..1; zero for roles that the skeleton has not."""
    weights, roles = np.asarray(skeleton.weights, dtype=np.float64), np.array(joint_roles(skeleton))
    return defaultdict(lambda: np.zeros(len(weights)), {role: weights[:, roles == role].sum(axis=1) for role in set(roles.tolist())})
