"""Coats: colours over the surface from solid noise in the rest template, so that they stay with the body."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry import Template
from dp3d_data.geometry.visibility import vertex_normals
from dp3d_data.synthesis.effects import SolidNoise
from dp3d_data.synthesis.proportions import joint_roles, role_weights

# Base, second and light colour, RGB 0..1 in light of the sun's strength.
PALETTES = {
    "black": ((0.07, 0.065, 0.065), (0.11, 0.10, 0.095), (0.75, 0.73, 0.70)),
    "white": ((0.88, 0.85, 0.80), (0.78, 0.72, 0.63), (0.95, 0.93, 0.90)),
    "chocolate": ((0.24, 0.14, 0.09), (0.32, 0.20, 0.12), (0.60, 0.45, 0.33)),
    "brown": ((0.42, 0.26, 0.15), (0.30, 0.17, 0.10), (0.82, 0.72, 0.60)),
    "red": ((0.52, 0.29, 0.15), (0.40, 0.22, 0.12), (0.88, 0.80, 0.70)),
    "golden": ((0.72, 0.52, 0.31), (0.60, 0.40, 0.22), (0.90, 0.80, 0.64)),
    "cream": ((0.84, 0.74, 0.58), (0.76, 0.62, 0.45), (0.93, 0.88, 0.78)),
    "fawn": ((0.66, 0.50, 0.35), (0.13, 0.11, 0.10), (0.82, 0.72, 0.58)),
    "grey": ((0.40, 0.40, 0.41), (0.28, 0.28, 0.29), (0.80, 0.80, 0.79)),
    "sable": ((0.45, 0.33, 0.22), (0.12, 0.10, 0.09), (0.78, 0.68, 0.55)),
    "black and tan": ((0.08, 0.07, 0.07), (0.10, 0.09, 0.08), (0.55, 0.34, 0.18)),
    "wolf": ((0.45, 0.43, 0.41), (0.20, 0.19, 0.19), (0.88, 0.87, 0.85)),
    "merle": ((0.48, 0.50, 0.54), (0.10, 0.10, 0.11), (0.88, 0.86, 0.83)),
}
PATTERNS = ("plain", "points", "saddle", "patches", "spots", "brindle", "belly", "merle")
CHANCES = np.array([0.27, 0.15, 0.13, 0.16, 0.06, 0.06, 0.14, 0.03])
COMMON = np.array([1, 1.5, 0.7, 1.2, 1, 1.5, 1.3, 1.2, 0.9, 1, 1, 1, 0.6])  # of the palettes, in their order
MARKS = {"socks": 0.22, "chest": 0.22, "blaze": 0.13, "mask": 0.18, "ears": 0.18}  # how many coats have each
DARK = np.array([0.035, 0.03, 0.03])
TONGUE = np.array([0.72, 0.36, 0.38])


# A collar, strap or garment: "neck" or "trunk", the two places along it that it lies between, as `body_map` has them,
# and its colour.
Band = tuple[str, float, float, Float[np.ndarray, "3"]]


@dataclass(frozen=True)
class Coat:
    """One animal's coat: pattern, colours and the noises that place it; the sizes 0..1 of its light and dark marks."""

    pattern: str
    colours: Float[np.ndarray, "3 3"]
    noise: SolidNoise
    scale: float
    level: float
    strands: float
    gloss: float
    marks: dict[str, float] = field(default_factory=dict)
    gear: tuple[Band, ...] = ()


def random_coat(rng: np.random.Generator) -> Coat:
    """A coat of a random palette and pattern."""
    palette = str(rng.choice(list(PALETTES), p=COMMON / COMMON.sum()))
    pattern = "merle" if palette == "merle" else str(rng.choice(PATTERNS, p=CHANCES))
    if palette == "black and tan":
        pattern = "points"
    colours = np.array(PALETTES[palette])
    colours = np.clip(colours * np.exp(rng.normal(0, 0.12, (3, 1))) * (1 + rng.normal(0, 0.03, (1, 3))), 0.015, 0.97)
    return Coat(
        pattern, colours, SolidNoise(rng),
        scale=float(rng.uniform(2.5, 6)),
        level=float(rng.uniform(-0.35, 0.45)),
        strands=float(rng.uniform(0.08, 0.4)),
        gloss=float(rng.uniform(0.0, 0.35)) ** 1.5,
        marks={name: float(rng.uniform(0.2, 1)) for name, share in MARKS.items() if rng.random() < share},
        gear=random_gear(rng),
    )  # fmt: skip


def random_gear(rng: np.random.Generator) -> tuple[Band, ...]:
    """Nothing, a collar, a harness or a coat of cloth."""
    kind = rng.choice(("none", "collar", "scarf", "harness", "garment"), p=(0.52, 0.3, 0.03, 0.08, 0.07))
    colour = rng.uniform(0.03, 0.9) * np.clip(1 + rng.normal(0, 0.5, 3), 0.05, 2)
    place, width = rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.14)
    collar = ("neck", place - width, place + width, colour)
    chest = rng.uniform(0.55, 0.72)
    return {
        "none": (),
        "collar": (collar,),
        "scarf": (("neck", -0.1, rng.uniform(0.4, 0.7), colour),),
        "harness": (
            ("trunk", chest, chest + rng.uniform(0.03, 0.09), colour),
            ("neck", -0.15, rng.uniform(0, 0.15), colour),
        ),
        "garment": (
            ("trunk", rng.uniform(0.05, 0.5), 1.2, colour),
            ("neck", -0.2, rng.uniform(0, 0.3), colour),
        ),
    }[str(kind)]


def body_map(template: Template) -> tuple[dict[str, Float[np.ndarray, "K"]], Float[np.ndarray, "3 3"]]:
    """Where patterns of coats lie on a template, from its shape and the names of its joints: x forward, z up.

    Returns:
        Eight places by name, each a value 0..1 for every vertex of how far it is low (towards the belly), tips (towards
        the paws), face (muzzle), back (saddle), ears and mouth (its inside); neck and trunk from the chest to the head
        and from the hips to the chest, -9 on other parts. And where the skin is dark: the nose and two eyes.
    """
    points = template.vertices.astype(np.float64)
    share = role_weights(template.require_skeleton())
    head, legs = share["head"] + share["jaw"], share["leg"] + share["toe"]
    trunk = share["trunk"] + share["shoulder"] + share["neck"]
    height = (points[:, 2] - points[:, 2].min()) / np.ptp(points[:, 2])
    body = height[trunk > 0.5] if (trunk > 0.5).any() else height
    low_edge, high_edge = np.quantile(body, [0.02, 0.98])
    rise = np.clip((height - low_edge) / max(high_edge - low_edge, 1e-6), 0, 1)
    muzzle = points[head > 0.5] if (head > 0.5).any() else points[points[:, 0] > np.quantile(points[:, 0], 0.9)]
    front, rear = muzzle[:, 0].max(), muzzle[:, 0].min()
    nose = muzzle[np.argmax(muzzle[:, 0] + 0.3 * muzzle[:, 2])]
    face = np.clip((points[:, 0] - rear) / max(front - rear, 1e-6), 0, 1) * head
    along, inner = np.full(len(points), -9.0), trunk > 0.5
    if inner.any():
        along[inner] = (points[inner, 0] - points[inner, 0].min()) / np.ptp(points[inner, 0])
    places = {
        "low": np.clip(1.25 - 2.2 * rise, 0, 1) * trunk + 0.5 * legs,
        "tips": np.clip(1 - height / 0.3, 0, 1) * legs,
        "face": np.clip(1.9 * face - 0.7, 0, 1),
        "back": np.clip(1.8 * rise - 0.75, 0, 1) * trunk + 0.6 * share["tail"],
        "ears": share["ear"],
        "mouth": share["jaw"] * np.clip(2 * vertex_normals(points, template.faces)[:, 2], 0, 1),
        "neck": np.where(legs + share["ear"] + share["tail"] < 0.5, _along_neck(template), -9),
        "trunk": along,
    }
    return places, np.array([nose, *_eyes(muzzle, nose)])


def _along_neck(template: Template) -> Float[np.ndarray, "K"]:
    """Where each vertex lies along the line of the neck's joints, 0 at the first, 1 at the head; -9 without a neck."""
    skeleton = template.require_skeleton()
    necks = [joint for joint, role in enumerate(joint_roles(skeleton)) if role == "neck"]
    if len(necks) < 2:
        return np.full(template.num_vertices, -9.0)
    heads = np.asarray(skeleton.rest, dtype=np.float64)[:, :3, 3]
    axis = heads[necks[-1]] - heads[necks[0]]
    return (template.vertices - heads[necks[0]]) @ axis / max(float(axis @ axis), 1e-9)


def _eyes(muzzle: np.ndarray, nose: np.ndarray) -> Float[np.ndarray, "2 3"]:
    """Two places on the sides of the forehead: 49 % back from the nose, high, apart (ours)."""
    length = nose[0] - muzzle[:, 0].min()
    across = np.ptp(muzzle[:, 1])
    top = muzzle[:, 2].max()
    wanted = [[nose[0] - 0.49 * length, nose[1] + side * 0.16 * across, top - 0.15 * length] for side in (1, -1)]
    return np.array([muzzle[np.argmin(np.linalg.norm(muzzle - place, axis=1))] for place in np.array(wanted)])


def coat_colours(
    coat: Coat, dark: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "N 3"], places: Float[np.ndarray, "N 8"]
) -> Float[np.ndarray, "N 3"]:
    """Colours RGB 0..1 of points of the rest template.

    Args:
        dark: nose and eyes of the template, from `body_map`.
        places: the places of `body_map` at the points, in its order.
    """
    base, second, light = coat.colours
    low, tips, face, back, ears, mouth, neck, trunk = places.T
    blur = coat.noise.octaves(points, coat.scale, 3)
    lightness, darkness = _pattern(coat, points, blur, low, tips, face, back, ears)
    lightness, darkness = _marked(coat, dark, points, places, blur, lightness, darkness)
    colour = base + lightness[:, None] * (light - base)
    colour = colour + darkness[:, None] * (second - colour)
    shade = 1 + 0.12 * coat.noise.octaves(points + 7, 9.0, 2) + coat.strands * _strands(coat, points)
    colour = colour * shade[:, None]
    colour = colour + mouth[:, None] * (TONGUE - colour)
    colour = _skin(colour, dark, points)
    for part, start, end, cloth in coat.gear:
        place = neck if part == "neck" else trunk
        worn = (place > start) & (place < end)
        colour[worn] = cloth * (1 + 0.15 * coat.noise(points[worn], 60.0))[:, None]
    return np.clip(colour, 0.01, 1)


def _marked(coat, dark, points, places, blur, lightness, darkness) -> tuple[np.ndarray, np.ndarray]:
    """Light socks, chests and blazes, dark muzzles and ears, over the pattern."""
    _, tips, face, _, ears, _, neck, trunk = places.T
    (nose, eye, _), ragged, size = dark, 0.15 * blur, coat.marks
    if "socks" in size:
        lightness = np.maximum(lightness, _step(tips - 1 + size["socks"] + ragged, 8.0))
    if "chest" in size:
        low = (np.maximum(trunk, 1.1 * (neck > -0.6)) - 0.75) * (points[:, 2] < nose[2] - 0.1)
        inside = np.abs(points[:, 1]) < 0.06 * size["chest"] + 0.1 * ragged
        lightness = np.maximum(lightness, _step(low * inside, 12.0) * (low > 0))
    if "blaze" in size:
        middle = 0.03 * size["blaze"] - np.abs(points[:, 1]) + 0.05 * ragged
        front = np.clip(4 * (points[:, 0] - eye[0] + 0.05) / 0.1, 0, 1)
        lightness = np.maximum(lightness, _step(middle, 150.0) * front)
    if "mask" in size:
        darkness = np.maximum(darkness, _step(face - 0.9 + 0.7 * size["mask"] + ragged, 6.0))
    if "ears" in size:
        darkness = np.maximum(darkness, _step(ears - 0.4 + ragged, 6.0))
    return lightness, darkness


def _pattern(coat, points, blur, low, tips, face, back, ears) -> tuple[np.ndarray, np.ndarray]:
    """How light and how dark each point is, 0..1."""
    zero = np.zeros(len(points), dtype=np.float32)
    edge = 7.0
    if coat.pattern == "points":
        return _step(np.maximum(np.maximum(tips, face), 0.75 * low) - 0.5 + 0.2 * blur, edge), zero
    if coat.pattern == "saddle":
        return 0.5 * _step(low - 0.5 + 0.2 * blur, 4), _step(np.maximum(back, 0.7 * ears) - 0.35 + 0.25 * blur, edge)
    if coat.pattern == "patches":
        return _step(blur + coat.level - 0.5 * ears, 12.0), zero
    if coat.pattern == "spots":
        return _step(0.35 - coat.noise(points, 22.0), 14.0), zero
    if coat.pattern == "brindle":
        warped = points + 0.05 * blur[:, None]
        return 0.3 * low, _step(coat.noise(warped, np.array([42.0, 6.0, 8.0])) - 0.1, 5.0)
    if coat.pattern == "belly":
        return _step(np.maximum.reduce([low, tips, face]) - 0.45 + 0.15 * blur, 5.0), 0.5 * back
    if coat.pattern == "merle":
        return _step(np.maximum(tips, face) - 0.5, 5.0), _step(coat.noise.octaves(points, 9.0, 3) - 0.35, 9.0)
    return 0.25 * np.clip(low + face, 0, 1), 0.4 * np.clip(ears + back - 0.4, 0, 1)


def _step(value: np.ndarray, sharpness: float) -> np.ndarray:
    """A soft step at 0."""
    return np.clip(0.5 + sharpness * value, 0, 1)


def _strands(coat: Coat, points: np.ndarray) -> np.ndarray:
    """Fine streaks that run backward and down the body."""
    along, across = 0.7 * points[:, 0] + 0.5 * points[:, 2], 0.7 * points[:, 2] - 0.5 * points[:, 0]
    turned = np.stack([along, points[:, 1], across], axis=1)
    coarse, fine = np.array([22.0, 90.0, 90.0]), np.array([45.0, 170.0, 170.0])
    return 0.6 * coat.noise(turned, coarse) + 0.4 * coat.noise(turned + 3, fine)


def _skin(colour: np.ndarray, dark: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The dark nose and eyes."""
    for place, radius in zip(dark, (0.022, 0.0098, 0.0098), strict=True):
        close = np.flatnonzero(np.abs(points - place).max(axis=1) < 1.25 * radius)
        near = np.clip(2.5 - 2 * np.linalg.norm(points[close] - place, axis=1) / radius, 0, 1)[:, None]
        colour[close] += near * (DARK - colour[close])
    return colour
