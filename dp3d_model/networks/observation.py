"""What is seen of an instance, normalised by the rigid template's camera, and the numbers that the network reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_model.geometry.camera import Camera, fit_camera
from dp3d_model.geometry.perspective import Lens, about_the_axis, fit_perspective, place, through, turned_towards, visible_mean
from dp3d_model.geometry.surface import Surface, farthest_points


@dataclass(frozen=True)
class Observation:
    """Instances in template units.

    Attributes:
        keypoints: [N, K, 2] centred on the visible ones, divided by the camera's scale; 0 where not visible.
        visible: [N, K].
        weights: [N, K] how far each is trusted, 0..1, 0 where not visible; None for all visible ones alike.
        camera: the rigid template's, or with the learned camera its scale and an identity rotation.
        centre: [N, 2] image pixels of the visible keypoints' mean.
        truth: [N, K, 3] true vertices in the camera frame, for losses alone; NaN where unknown, None where all are.
        true_log_scale: [N] the correction of the camera's scale that is right; as truth.
        lens: where any intrinsics are known: keypoints, camera and every answer are those of pinholes turned towards the object.
    """

    keypoints: Float[Tensor, "n k 2"]
    visible: Bool[Tensor, "n k"]
    camera: Camera
    centre: Float[Tensor, "n 2"]
    lens: Lens | None = None
    truth: Float[Tensor, "n k 3"] | None = None
    true_log_scale: Float[Tensor, "n"] | None = None
    weights: Float[Tensor, "n k"] | None = None

    def at(self, chosen: Int[Tensor, "v"] | None) -> Observation:
        """The same, of some template vertices only."""
        if chosen is None:
            return self
        names = ("keypoints", "visible", "truth", "weights")
        return replace(self, **{name: values[:, chosen] for name in names if (values := getattr(self, name)) is not None})

    def with_truth(self, vertices: Float[Tensor, "n k 3"], scale: Float[Tensor, "n"]) -> Observation:
        """The same with true vertices in template units, and their scale in image pixels a unit."""
        factor = scale / self.camera.scale
        return replace(self, truth=factor[:, None, None] * vertices, true_log_scale=factor.log())

    def with_keypoints(
        self, keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], cameras: Float[Tensor, "n 4"] | None = None
    ) -> Observation:
        """Other keypoints (image pixels) of the same instances and cameras, in the units and about the origin of this observation."""
        origin = self.centre[:, None]
        if self.lens is not None and cameras is not None:
            ideal, square = about_the_axis(keypoints, cameras)
            keypoints = through(ideal, square, self.lens.turn)
            pinhole = (self.lens.nearness > 0)[:, None, None]
            origin = torch.where(pinhole, -self.lens.axis[:, None] * self.camera.scale[:, None, None], origin)
        units = (keypoints - origin) / self.camera.scale[:, None, None]
        return replace(self, keypoints=torch.where(visible[..., None], units, torch.zeros_like(units)), visible=visible)


def observe(
    template: Float[Tensor, "k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    camera_mode: str = "closed-form",
    cameras: Float[Tensor, "n 4"] | None = None,
    weights: Float[Tensor, "n k"] | None = None,
) -> Observation:
    """Fit the rigid camera and bring the keypoints (image pixels) into template units.

    Args:
        template: its vertices.
        cameras: fx, fy, cx, cy, image pixels; not finite where unknown, whose projection is taken as orthographic.
        weights: how far each keypoint is trusted; None for all alike.

    Raises:
        ShapeError: see fit_camera.
    """
    shown = visible[..., None].expand_as(keypoints)
    keypoints = torch.where(shown, keypoints, torch.zeros_like(keypoints))
    centre = middle = visible_mean(keypoints, visible)
    lens = None
    if cameras is None or not bool(cameras.isfinite().all(1).any()):
        camera = fit_camera(template, keypoints, visible, weights)
    else:
        keypoints, turn, per_focal = turned_towards(keypoints, visible, cameras)
        camera = fit_perspective(template, keypoints, visible, per_focal)
        middle = visible_mean(keypoints, visible)
        axis = torch.where((per_focal > 0)[:, None], -middle / camera.scale[:, None], torch.zeros_like(middle))
        lens = Lens(per_focal * camera.scale, axis, turn)
    units = (keypoints - middle[:, None]) / camera.scale[:, None, None] * visible[..., None]
    if camera_mode == "learned":
        camera = replace(camera, rotation=torch.eye(3).to(keypoints).expand(len(keypoints), 3, 3))
    return Observation(units, visible, camera, centre, lens, weights=None if weights is None else weights * visible)


def residual(
    seen: Observation, vertices: Float[Tensor, "k 3"], rotation: Float[Tensor, "n 3 3"], placed: Float[Tensor, "n k 2"] | None
) -> Float[Tensor, "n k 2"]:
    """What the rigid template, or an answer that places the vertices, leaves of each keypoint, in tenths of the extent; 0 where hidden."""
    if placed is None:
        placed = place(torch.einsum("nca,ka->nkc", rotation, vertices), seen.keypoints, seen.visible, seen.lens)
    return 10.0 * (seen.keypoints - placed) * seen.visible[..., None]


class Encoder(torch.nn.Module):
    """Turns observations into network inputs.

    "residual" (ours): what the rigid fit leaves of each visible vertex, y - R_0 x in tenths of the extent, lifted by R_0^T
    into the template's frame, with the visibility and the viewing direction; in-plane rotation drops out exactly.
    "keypoints" (supplement): the centred keypoints and the visibility, with R_0 where the camera is in closed form.
    Vertices are averaged over `cells` patches around well-spread seeds (ours), so that the input neither grows with the
    template nor depends on which vertices of a patch are seen; 0 cells feeds every vertex.
    """

    seeds: Tensor
    vertices: Tensor
    owner: Tensor
    share: Tensor

    def __init__(self, surface: Surface, kind: str, cells: int) -> None:
        super().__init__()
        self.kind = kind
        count = min(cells, len(surface.vertices)) or len(surface.vertices)
        every = count == len(surface.vertices)
        seeds = surface.vertices if every else surface.vertices[farthest_points(surface.vertices, count)]
        self.register_buffer("seeds", seeds, persistent=False)
        self.count = count
        self._gather(surface, torch.arange(count) if every else self._nearest(surface))
        self.size = count * (4 if kind == "residual" else 3) + (3 if kind == "residual" else 6)

    def carry(self, surface: Surface) -> None:
        """Read another meshing of the template from now on: the patches keep their seeds, and some may be empty."""
        self._gather(surface, self._nearest(surface))

    def _nearest(self, surface: Surface) -> Int[Tensor, "k"]:
        return torch.cdist(surface.vertices, self.seeds.cpu()).argmin(1)

    def _gather(self, surface: Surface, owner: Int[Tensor, "k"]) -> None:
        areas = surface.vertex_areas.clamp_min(1e-12)
        total = torch.zeros(self.count).index_add_(0, owner, areas)
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("share", (areas / total[owner])[:, None], persistent=False)

    def forward(
        self, seen: Observation, placed: Float[Tensor, "n k 2"] | None = None, rotation: Float[Tensor, "n 3 3"] | None = None
    ) -> Float[Tensor, "n i"]:
        """The numbers that the network reads.

        Args:
            placed: where an earlier answer puts the vertices, in the units of the observation; the rigid template without it.
            rotation: the camera of that answer.
        """
        shown = seen.visible[..., None].to(seen.keypoints.dtype)
        rotation = seen.camera.rotation if rotation is None else rotation
        rows = rotation[:, :2]
        if self.kind == "residual":
            pooled = self._pool(torch.cat([residual(seen, self.vertices, rotation, placed), shown], dim=2), seen.weights)
            lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rows)
            parts = [lifted.flatten(1), pooled[..., 2], rotation[:, 2]]
        else:
            pooled = self._pool(torch.cat([seen.keypoints * shown, shown], dim=2), seen.weights)
            parts = [pooled.flatten(1), rows.flatten(1)]
        return torch.cat(parts, dim=1)

    def _pool(self, values: Float[Tensor, "n k c"], weights: Float[Tensor, "n k"] | None) -> Float[Tensor, "n p c"]:
        """Means over the visible vertices of each patch, as far as each is trusted; the last channel, visibility, becomes that share."""
        n, k, c = values.shape
        values = values if weights is None else values * weights[..., None]
        rows = self.share * values.transpose(0, 1).reshape(k, n * c)
        sums = rows.new_zeros(self.count, n * c).index_add_(0, self.owner, rows).reshape(self.count, n, c).transpose(0, 1)
        share = sums[..., -1:]
        return torch.cat([sums[..., :-1] / share.clamp_min(1e-6), share], dim=2)
