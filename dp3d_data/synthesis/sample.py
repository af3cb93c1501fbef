"""A world: any number of synthetic animals in scenes, each determined by its index."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from dp3d_data.errors import UsageError
from dp3d_data.geometry import Template, pose_vertices
from dp3d_data.geometry.renderer import Hits, cast_pixels
from dp3d_data.geometry.rigging import rigged
from dp3d_data.geometry.visibility import RayScene, vertex_normals, visible_fraction, visible_vertices
from dp3d_data.synthesis import WorldConfig
from dp3d_data.synthesis.backgrounds import cast_shadow, photo_paths, random_background
from dp3d_data.synthesis.cameras import placed_camera, project, random_view
from dp3d_data.synthesis.coats import Coat, body_map, coat_colours, random_coat
from dp3d_data.synthesis.effects import SolidNoise, matted, photographed, pixel_noise
from dp3d_data.synthesis.environments import (
    Light,
    panorama_paths,
    place_view,
    random_light,
    random_panorama,
    shaded,
    vertex_shading,
)
from dp3d_data.synthesis.poses import pose_kinds, random_pose
from dp3d_data.synthesis.proportions import Proportions, featured, fur_offset, joint_scales, random_proportions
from dp3d_data.synthesis.shapes import occluders

LEAST_SEEN = 0.08  # of the vertices, and
LEAST_BOX = 0.03  # of the image, around them; animals that show less are drawn again
ATTEMPTS = 20
MOST_HIDDEN = 0.6  # of an animal, by one that stands before it
IDENTITY, GEOMETRY, SCENE, COMPANION = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class SyntheticInstance:
    """One animal in one image, with its truth.

    image [H, W, 3] uint8 RGB and vertex_map [H, W] (template vertex, -1 outside), mask [H, W]: None where no image was
    rendered. box [4]: float xyxy, tight around the visible pixels (around the visible vertices without an image).
    keypoints [K, 2]: projections of all vertices, image pixels. visible [K]: faces the viewer, hidden by nothing,
    inside the image. visible_area: share of the rest template's area. true_vertices [K, 3]: camera frame (x right,
    y down, z away), template units, centred as posed; keypoints = scale * xy / (1 + strength * z) + translation of
    true_vertices (x, y, z), exactly; strength is 0 unless the world has perspective. group: the animal's identity.
    """

    index: int
    group: str
    pose: str
    image: UInt8[np.ndarray, "H W 3"] | None = None
    mask: Bool[np.ndarray, "H W"] | None = None
    vertex_map: Int[np.ndarray, "H W"] | None = None
    box: Float[np.ndarray, "4"]
    keypoints: Float[np.ndarray, "K 2"]
    visible: Bool[np.ndarray, "K"]
    visible_area: float
    true_vertices: Float[np.ndarray, "K 3"]
    camera_from_template: Float[np.ndarray, "3 3"]
    scale: float
    translation: Float[np.ndarray, "2"]
    strength: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PicturedInstance(SyntheticInstance):
    """One animal of an image that was rendered."""

    image: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"]
    vertex_map: Int[np.ndarray, "H W"]


@dataclass(frozen=True)
class Identity:
    """One animal: its body (the template with its features) and its coat."""

    proportions: Proportions
    template: Template
    scales: Float[np.ndarray, "J 3"]
    coat: Coat
    lumps: SolidNoise


@dataclass(frozen=True)
class Staging:
    """An animal before its camera: its scene is x, y in pixels and a depth; view turns the world (z up) to it.

    truth: what is known of it where nothing else stands in the image.
    """

    identity: Identity
    truth: SyntheticInstance
    scene: RayScene
    view: Float[np.ndarray, "3 3"]


# An animal in the scene, and the pixels that show it where nothing stands before it.
Shown = tuple[Staging, Hits]


class World:
    """Synthetic images of a rigged template; instance `index` depends on the template, the settings and the index only.

    Raises:
        InputMissing, NothingToDo: the folder of backgrounds or environments is missing or empty.
        UsageError: the template has no such kind of pose.
        DependencyMissing: embreex is not installed, or OpenEXR where the environments are EXR.
    """

    def __init__(self, template: Template, config: WorldConfig | None = None) -> None:
        self.template, self.config = rigged(template), config or WorldConfig()
        self.kinds = tuple(word.strip() for word in self.config.poses.split(",") if word.strip())
        known = pose_kinds(self.template.require_skeleton())
        for kind in self.kinds:
            if kind not in known:
                expected = "some of " + ", ".join(known)
                raise UsageError(f"no such kind of pose of {self.template.name}", got=kind, expected=expected)
        self.places, self.dark = body_map(self.template)
        self._latest: tuple[int, Identity] | None = None
        if self.config.backgrounds:
            photo_paths(self.config.backgrounds)
        if self.config.environments:
            panorama_paths(self.config.environments)

    def sample(self, index: int, render_image: bool = True) -> SyntheticInstance:
        """Instance `index`; without the image only geometry, keypoints and visibility, and no occluders."""
        return self.scene(index)[0] if render_image else self._staged(index).truth

    def scene(self, index: int) -> list[PicturedInstance]:
        """Every animal in the image of instance `index`, that instance first; their masks do not overlap."""
        staging, rng = self._staged(index), self._rng(SCENE, index)
        first = staging, self._cast(rng, staging)
        return self._pictured(rng, first, self._companions(first))

    def _staged(self, index: int) -> Staging:
        """The animal that is in the image of instance `index` whatever else is."""
        number = index // self.config.identity_images
        group = f"animal-{self.config.seed}-{number:06d}"
        return self._well_staged(self.identity(number), index, group, GEOMETRY, index)

    def _companions(self, first: Shown) -> list[tuple[bool, Shown]]:
        """Other animals, and whether each stands before the first; their own random stream changes nothing else."""
        index, group = first[0].truth.index, first[0].truth.group
        rng = self._rng(COMPANION, index)
        if rng.random() >= self.config.companions:
            return []
        others: list[tuple[bool, Shown]] = []
        for number in range(1, 2 + int(rng.random() < 0.3)):
            identity = self._drawn_identity(rng)
            staging = self._well_staged(identity, index, f"{group}-{number}", COMPANION, index, number)
            mask, hits = first[1].mask, self._cast(rng, staging)
            before = bool(rng.random() < 0.5)
            if (hits.mask & mask).sum() <= MOST_HIDDEN * (mask if before else hits.mask).sum():
                others.append((before, (staging, hits)))
        return others

    def _well_staged(self, identity: Identity, index: int, group: str, *key: int) -> Staging:
        for attempt in range(ATTEMPTS):
            staging = self._stage(self._rng(*key, attempt), identity, index, group)
            seen = staging.scene.vertices[staging.truth.visible, :2]
            enough = len(seen) >= LEAST_SEEN * self.template.num_vertices
            if enough and np.prod(np.ptp(seen, axis=0)) > LEAST_BOX * self.config.size**2:
                break
        return staging

    def identity(self, number: int) -> Identity:
        """Animal `number`: the same body and coat in all its images."""
        if self._latest is not None and self._latest[0] == number:
            return self._latest[1]
        self._latest = number, self._drawn_identity(self._rng(IDENTITY, number))
        return self._latest[1]

    def _drawn_identity(self, rng: np.random.Generator) -> Identity:
        proportions = random_proportions(rng, self.config.proportions)
        own = replace(self.template, vertices=featured(self.template, proportions).astype(np.float32))
        coat = random_coat(rng)
        coat = replace(coat, strands=coat.strands + 5 * proportions.fluff)  # long hair shows its strands
        scales = joint_scales(self.template.require_skeleton(), proportions)
        return Identity(proportions, own, scales, coat, SolidNoise(rng))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.config.seed, *key]))

    def _stage(self, rng: np.random.Generator, identity: Identity, index: int, group: str) -> Staging:
        """Pose the animal, look at it from somewhere."""
        faces, config = self.template.faces, self.config
        view, toward = random_view(rng)
        skeleton, proportions = self.template.require_skeleton(), identity.proportions
        turns, stance, kind = random_pose(rng, skeleton, proportions, self.kinds, config.bending, toward)
        posed = pose_vertices(identity.template, turns, identity.scales)
        posed = fur_offset(self.template, posed, vertex_normals(posed, faces), proportions, identity.lumps)
        rotation = view @ stance
        vertices = posed.astype(np.float64) @ rotation.T
        vertices -= (vertices.min(axis=0) + vertices.max(axis=0)) / 2
        face = self.places["face"] > 0.3
        focus = vertices[face].mean(axis=0) if face.any() else np.zeros(3)
        scale, translation, strength = placed_camera(
            rng, vertices, focus, config.size, truncated=config.truncated, perspective=config.perspective
        )
        points = project(vertices, scale, translation, strength)
        scene = RayScene(points, faces)
        inside = ((points[:, :2] >= 0) & (points[:, :2] < config.size)).all(axis=1)
        visible = visible_vertices(points, faces, scene) & inside
        truth = SyntheticInstance(
            index=index,
            group=group,
            pose=kind,
            box=_tight_box(None, points[visible, :2]),
            keypoints=points[:, :2].astype(np.float32),
            visible=visible,
            visible_area=visible_fraction(visible, self.template.vertex_areas),
            true_vertices=vertices.astype(np.float32),
            camera_from_template=rotation,
            scale=scale,
            translation=translation,
            strength=strength,
        )
        return Staging(identity, truth, scene, view)

    def _cast(self, rng: np.random.Generator, staging: Staging) -> Hits:
        size, fluff = self.config.size, staging.identity.proportions.fluff
        ragged = size / 256 * rng.uniform(0.0, 0.9) + 32 * fluff * rng.uniform(0.5, 1.5) * size / 256
        jitter = np.stack([pixel_noise(rng, size, size, size / 2) for _ in range(2)], axis=2) * ragged
        return cast_pixels(staging.scene, (size, size), jitter)

    def _pictured(
        self, rng: np.random.Generator, first: Shown, others: list[tuple[bool, Shown]]
    ) -> list[PicturedInstance]:
        """The image, painted from the back to the front, and what is left to see of each animal in it."""
        size = self.config.size
        picture, light = self._surroundings(rng, first[0].view)
        order = [one for before, one in others if not before] + [first] + [one for before, one in others if before]
        darkness, blur = rng.uniform(0.2, 0.7), rng.uniform(0.6, 3)
        for staging, _ in order:
            picture = cast_shadow(picture, self._shadow(staging, light), darkness, blur)
        hidden = np.zeros((size, size), dtype=bool)
        for staging, hits in order:
            colours = np.zeros((size, size, 3), dtype=np.float32)
            colours[hits.mask] = self._colours(staging, hits, light)
            picture = matted(picture, colours, hits.mask)
        everything = np.any([hits.mask for _, hits in order], axis=0)
        if rng.random() < self.config.occluded:
            neck = first[0].scene.vertices[np.argmin(np.abs(self.places["neck"] - 0.5)), :2]
            hidden = occluders(rng, picture, everything, neck)
        image, animals = photographed(rng, picture), {}
        for staging, hits in reversed(order):  # from the front to the back, as things are hidden
            mask, vertex_map = hits.mask & ~hidden, np.where(hidden, -1, hits.vertex_map())
            points = staging.scene.vertices[:, :2]
            cells = np.clip(np.floor(points).astype(int), 0, size - 1)
            visible = staging.truth.visible & ~hidden[cells[:, 1], cells[:, 0]]
            own = {"image": image, "mask": mask, "vertex_map": vertex_map, "visible": visible}
            own["box"] = _tight_box(mask, points[visible])
            own["visible_area"] = visible_fraction(visible, self.template.vertex_areas)
            animals[staging.truth.group] = PicturedInstance(**vars(staging.truth) | own)
            hidden = hidden | hits.mask
        return [animals[staging.truth.group] for staging, _ in (first, *(one for _, one in others))]

    def _surroundings(
        self, rng: np.random.Generator, view: Float[np.ndarray, "3 3"]
    ) -> tuple[Float[np.ndarray, "S S 3"], Light]:
        """What lies behind the animals, and the light on them: of a place, else each by itself."""
        place = random_panorama(rng, self.config.environments)
        if place is None:
            elevation = -float(np.arcsin(np.clip(view[2, 2], -1, 1)))
            picture = random_background(rng, self.config.size, elevation, self.config.backgrounds)
            return picture.astype(np.float32), random_light(rng, view)
        turn = rng.uniform(0, 2 * np.pi)
        turned = view @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        picture, light = place
        return place_view(rng, picture, turned, self.config.size), light.turned(turned)

    def _colours(self, staging: Staging, hits: Hits, light) -> Float[np.ndarray, "N 3"]:
        coat = staging.identity.coat
        places = np.stack(list(self.places.values()), axis=1).astype(np.float32)
        shading = vertex_shading(staging.scene, light)
        values = hits.interpolate(np.concatenate([self.template.vertices, places, shading], axis=1))
        colours = coat_colours(coat, self.dark, values[:, :3], values[:, 3:-5])
        return shaded(colours, values[:, -5:], light, coat.gloss)

    @staticmethod
    def _shadow(staging: Staging, light) -> Float[np.ndarray, "K 2"]:
        """Where the vertices' shadows fall on a ground through the lowest of them, image pixels."""
        points = staging.scene.vertices
        height = points @ light.up
        height = height - np.quantile(height, 0.005)
        slope = max(float(light.sun @ light.up), 0.35)
        return (points - (height / slope)[:, None] * light.sun)[:, :2]


def _tight_box(mask: np.ndarray | None, points: np.ndarray) -> Float[np.ndarray, "4"]:
    """Around the mask's pixels, else around the points."""
    if mask is not None and mask.any():
        return np.array(Image.fromarray(mask).getbbox(), dtype=np.float64)
    if not len(points):
        return np.zeros(4)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)
