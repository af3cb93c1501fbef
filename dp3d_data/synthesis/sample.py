"""A world: any number of synthetic animals in scenes, each determined by its index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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
from dp3d_data.synthesis.cameras import Camera, placed_camera, random_view
from dp3d_data.synthesis.coats import Coat, body_map, coat_colours, random_coat
from dp3d_data.synthesis.effects import SolidNoise, matted, photographed, pixel_noise
from dp3d_data.synthesis.environments import (
    Light,
    panorama_paths,
    place_light,
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


@dataclass(frozen=True)
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
    image: UInt8[np.ndarray, "H W 3"] | None
    mask: Bool[np.ndarray, "H W"] | None
    vertex_map: Int[np.ndarray, "H W"] | None
    box: Float[np.ndarray, "4"]
    keypoints: Float[np.ndarray, "K 2"]
    visible: Bool[np.ndarray, "K"]
    visible_area: float
    true_vertices: Float[np.ndarray, "K 3"]
    camera_from_template: Float[np.ndarray, "3 3"]
    scale: float
    translation: Float[np.ndarray, "2"]
    strength: float = 0.0


@dataclass(frozen=True)
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
    """An animal before its camera: points are x, y in pixels and a depth; view turns the world (z up) to it."""

    identity: Identity
    camera: Camera
    true_vertices: Float[np.ndarray, "K 3"]
    points: Float[np.ndarray, "K 3"]
    scene: RayScene
    view: Float[np.ndarray, "3 3"]
    pose: str
    visible: Bool[np.ndarray, "K"]


# An animal in the scene: its group, and the pixels that show it where nothing stands before it.
Shown = tuple[str, Staging, Hits]


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
        self.body = body_map(self.template)
        self._latest: tuple[int, Identity] | None = None
        if self.config.backgrounds:
            photo_paths(self.config.backgrounds)
        if self.config.environments:
            panorama_paths(self.config.environments)

    def sample(self, index: int, render_image: bool = True) -> SyntheticInstance:
        """Instance `index`; without the image only geometry, keypoints and visibility, and no occluders."""
        if render_image:
            return self.scene(index)[0]
        staging = self._well_staged(self.identity(index // self.config.identity_images), GEOMETRY, index)
        told = self._told(index, self._group(index), staging, staging.visible)
        return SyntheticInstance(image=None, mask=None, vertex_map=None, **told)

    def scene(self, index: int) -> list[PicturedInstance]:
        """Every animal in the image of instance `index`, that instance first; their masks do not overlap."""
        staging = self._well_staged(self.identity(index // self.config.identity_images), GEOMETRY, index)
        rng = self._rng(SCENE, index)
        first = self._group(index), staging, self._cast(rng, staging)
        return self._pictured(index, rng, first, self._companions(index, first))

    def _companions(self, index: int, first: Shown) -> list[tuple[bool, Shown]]:
        """Other animals, and whether each stands before the first; their own random stream changes nothing else."""
        rng = self._rng(COMPANION, index)
        if rng.random() >= self.config.companions:
            return []
        others: list[tuple[bool, Shown]] = []
        for number in range(1, 2 + int(rng.random() < 0.3)):
            staging = self._well_staged(self._drawn_identity(rng), COMPANION, index, number)
            mask, hits = first[2].mask, self._cast(rng, staging)
            before = bool(rng.random() < 0.5)
            if (hits.mask & mask).sum() <= MOST_HIDDEN * (mask if before else hits.mask).sum():
                others.append((before, (f"{self._group(index)}-{number}", staging, hits)))
        return others

    def _well_staged(self, identity: Identity, *key: int) -> Staging:
        for attempt in range(ATTEMPTS):
            staging = self._stage(self._rng(*key, attempt), identity)
            seen = staging.points[staging.visible, :2]
            enough = len(seen) >= LEAST_SEEN * self.template.num_vertices
            if enough and np.prod(np.ptp(seen, axis=0)) > LEAST_BOX * self.config.size**2:
                break
        return staging

    def _group(self, index: int) -> str:
        return f"animal-{self.config.seed}-{index // self.config.identity_images:06d}"

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

    def _stage(self, rng: np.random.Generator, identity: Identity) -> Staging:
        """Pose the animal, look at it from somewhere."""
        faces, config = self.template.faces, self.config
        view, toward = random_view(rng)
        skeleton, proportions = self.template.require_skeleton(), identity.proportions
        pose = random_pose(rng, skeleton, proportions, self.kinds, config.bending, toward)
        posed = pose_vertices(identity.template, pose.local_rotations, identity.scales)
        posed = fur_offset(self.template, posed, vertex_normals(posed, faces), proportions, identity.lumps)
        rotation = view @ pose.stance
        vertices = posed.astype(np.float64) @ rotation.T
        vertices -= (vertices.min(axis=0) + vertices.max(axis=0)) / 2
        share = {"truncated": config.truncated, "perspective": config.perspective}
        face = self.body.places["face"] > 0.3
        focus = vertices[face].mean(axis=0) if face.any() else np.zeros(3)
        camera = placed_camera(rng, rotation, vertices, focus, config.size, **share)
        points = camera.project(vertices)
        scene = RayScene(points, faces)
        inside = ((points[:, :2] >= 0) & (points[:, :2] < config.size)).all(axis=1)
        visible = visible_vertices(points, faces, scene) & inside
        return Staging(identity, camera, vertices.astype(np.float32), points, scene, view, pose.kind, visible)

    def _cast(self, rng: np.random.Generator, staging: Staging) -> Hits:
        size, fluff = self.config.size, staging.identity.proportions.fluff
        ragged = size / 256 * rng.uniform(0.0, 0.9) + 32 * fluff * rng.uniform(0.5, 1.5) * size / 256
        jitter = np.stack([pixel_noise(rng, size, size, size / 2) for _ in range(2)], axis=2) * ragged
        return cast_pixels(staging.scene, staging.points, (size, size), jitter)

    def _pictured(
        self, index: int, rng: np.random.Generator, first: Shown, others: list[tuple[bool, Shown]]
    ) -> list[PicturedInstance]:
        """The image, painted from the back to the front, and what is left to see of each animal in it."""
        size, faces = self.config.size, self.template.faces
        picture, light = self._surroundings(rng, first[1].view)
        order = [one for before, one in others if not before] + [first] + [one for before, one in others if before]
        darkness, blur = rng.uniform(0.2, 0.7), rng.uniform(0.6, 3)
        for _, staging, _ in order:
            picture = cast_shadow(picture, self._shadow(staging, light), darkness, blur)
        hidden = np.zeros((size, size), dtype=bool)
        for _, staging, hits in order:
            colours = np.zeros((size, size, 3), dtype=np.float32)
            colours[hits.rows, hits.columns] = self._colours(staging, hits, light)
            picture = matted(picture, colours, hits.mask)
        everything = np.any([hits.mask for _, _, hits in order], axis=0)
        if rng.random() < self.config.occluded:
            neck = first[1].points[np.argmin(np.abs(self.body.places["neck"] - 0.5)), :2]
            hidden = occluders(rng, picture, everything, neck)
        image, animals = photographed(rng, picture), {}
        for group, staging, hits in reversed(order):  # from the front to the back, as things are hidden
            mask, vertex_map = hits.mask & ~hidden, np.where(hidden, -1, hits.vertex_map(faces))
            cells = np.clip(np.floor(staging.points[:, :2]).astype(int), 0, size - 1)
            visible = staging.visible & ~hidden[cells[:, 1], cells[:, 0]]
            told = self._told(index, group, staging, visible, mask)
            animals[group] = PicturedInstance(image=image, mask=mask, vertex_map=vertex_map, **told)
            hidden = hidden | hits.mask
        return [animals[group] for group, _, _ in (first, *(one for _, one in others))]

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
        return place_view(rng, place, turned, self.config.size), place_light(place, turned, view)

    def _colours(self, staging: Staging, hits: Hits, light) -> Float[np.ndarray, "N 3"]:
        template, coat = self.template, staging.identity.coat
        shading = vertex_shading(staging.points, template.faces, staging.scene, light)
        values = np.concatenate([template.vertices, self.body.stacked(), shading], axis=1)
        values = hits.interpolate(values, template.faces)
        colours = coat_colours(coat, self.body, values[:, :3], values[:, 3:-5])
        return shaded(colours, values[:, -5:], light, coat.gloss)

    @staticmethod
    def _shadow(staging: Staging, light) -> Float[np.ndarray, "K 2"]:
        """Where the vertices' shadows fall on a ground through the lowest of them, image pixels."""
        height = staging.points @ light.up
        height = height - np.quantile(height, 0.005)
        slope = max(float(light.sun @ light.up), 0.35)
        return (staging.points - (height / slope)[:, None] * light.sun)[:, :2]

    def _told(
        self, index: int, group: str, staging: Staging, visible: np.ndarray, mask: np.ndarray | None = None
    ) -> dict[str, Any]:
        """What is known of an animal beside its pixels, by the names of SyntheticInstance."""
        camera = staging.camera
        return dict(
            index=index,
            group=group,
            pose=staging.pose,
            box=_tight_box(mask, staging.points[visible, :2]),
            keypoints=staging.points[:, :2].astype(np.float32),
            visible=visible,
            visible_area=visible_fraction(visible, self.template.vertex_areas),
            true_vertices=staging.true_vertices,
            camera_from_template=camera.camera_from_template,
            scale=camera.scale,
            translation=camera.translation,
            strength=camera.strength,
        )


def _tight_box(mask: np.ndarray | None, points: np.ndarray) -> Float[np.ndarray, "4"]:
    """Around the mask's pixels, else around the points."""
    if mask is not None and mask.any():
        return np.array(Image.fromarray(mask).getbbox(), dtype=np.float64)
    if not len(points):
        return np.zeros(4)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)
