"""One sample, moved to a prompt, to an image, or to posed views: its styles are optimized, the network stays.

The styles have a slot of their own for each layer (w+), as in Abdal et al. 2019 (Image2StyleGAN). Planes may be added
to those that the styles give: they can express what no style does, and forget what the network knows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from geometry.extraction import ExtractedSurface
from geometry.normals import vertex_normals
from guidance.reference_losses import depth_correlation_loss, masked_color_loss, normal_cosine_loss
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.deferred import composite, rasterize_mesh, visible_attributes, visible_depths
from torch_utils.distributed import Ranks
from training.adapt.shift import Answer, Objective, Pair, StepResult
from training.optimizer import AdamSettings, GuardedAdam

BETAS = (0.9, 0.99)
# Weights beside the colors' loss.
MASK_WEIGHT, NORMAL_WEIGHT, DEPTH_WEIGHT = 1.0, 0.2, 0.2
# Coverage from which a pixel shows nothing of the background, and has a depth.
COVERED = 0.99
# Planes differ less from sample to sample than styles do.
PLANES_RATE = 0.2


class Codes(nn.Module):
    """What is optimized: w_geo [1, num_ws_geo, w_dim], w_tex [1, num_ws_tex, w_dim], and with `planes` what is added to
    the planes [1, 3, R, R, C] each.
    """

    def __init__(self, w_geo: Tensor, w_tex: Tensor, planes: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.w_geo = nn.Parameter(w_geo.detach().clone())
        self.w_tex = nn.Parameter(w_tex.detach().clone())
        self.geometry_planes: nn.Parameter | None = None
        self.texture_planes: nn.Parameter | None = None
        if planes is not None:
            self.geometry_planes, self.texture_planes = (nn.Parameter(torch.zeros_like(each)) for each in planes)

    def planes(self, network: Generator) -> tuple[Tensor, Tensor]:
        """The network's planes of the styles, with what is added to them."""
        geometry, texture = network.planes(self.w_geo, self.w_tex)
        if self.geometry_planes is None or self.texture_planes is None:
            return geometry, texture
        return geometry + PLANES_RATE * self.geometry_planes, texture + PLANES_RATE * self.texture_planes

    def surface(self, network: Generator) -> tuple[ExtractedSurface, Tensor]:
        """The surface, and the texture planes that color it."""
        geometry, texture = self.planes(network)
        return network.surface(geometry, self.w_geo), texture


@dataclass
class Single:
    """An optimization. network: frozen. codes: move. start: where they began, frozen."""

    network: Generator
    codes: Codes
    start: Codes
    adam: GuardedAdam


def build_single(network: Generator, w_geo: Tensor, w_tex: Tensor, rate: float, *, planes: bool = False) -> Single:
    """An optimization from styles [1, …, w_dim]."""
    network.requires_grad_(False).eval()
    with torch.no_grad():
        given = network.planes(w_geo, w_tex) if planes else None
    codes, start = Codes(w_geo, w_tex, given), Codes(w_geo, w_tex, given).requires_grad_(False)
    adam = GuardedAdam("codes", dict(codes.named_parameters()), AdamSettings(rate, *BETAS), Ranks())
    return Single(network, codes, start, adam)


def draw_codes(
    network: Generator, codes: Codes, cameras: Cameras, resolution: int, supersample: int, background: float
) -> Rendered:
    """Images of one sample by N cameras over gray, sRGB in [0, 1]."""
    planes = codes.planes(network)
    return network.render(codes.w_geo, codes.w_tex, cameras, background, resolution, supersample, planes=planes)


def style_distance(codes: Codes, start: Codes) -> Tensor:
    """Mean squared distance of the styles, and of the planes, from where they began: keeps a sample plausible."""
    pairs = zip(codes.parameters(), start.parameters(), strict=True)
    return torch.stack([(own - other).square().mean() for own, other in pairs]).sum()


@dataclass(frozen=True)
class ReferenceViews:
    """Images that a sample shall look like. rgb [N, 3, R, R] sRGB in [0, 1], premultiplied; mask [N, 1, R, R]; cameras.

    normals [N, 3, R, R], world axes, or None. depth [N, 1, R, R], along the viewing axis, of any scale, or None.
    """

    rgb: Tensor
    mask: Tensor
    cameras: Cameras
    normals: Tensor | None = None
    depth: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rgb)

    def to_side(self, side: int, device: torch.device) -> "ReferenceViews":
        """The views at `side` px, on a device; averaged where that is smaller."""

        def resized(images: Tensor) -> Tensor:
            if images.shape[-1] != side:
                images = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
            return images.to(device)

        normals, depth = (None if each is None else resized(each) for each in (self.normals, self.depth))
        return ReferenceViews(resized(self.rgb), resized(self.mask), self.cameras.to(device), normals, depth)

    def rows(self, rows: list[int]) -> "ReferenceViews":
        """Some of the views."""
        normals, depth = (None if each is None else each[rows] for each in (self.normals, self.depth))
        return ReferenceViews(self.rgb[rows], self.mask[rows], self.cameras[torch.tensor(rows)], normals, depth)


def reference_loss(rendered: Rendered, views: ReferenceViews, supersample: int = 1) -> Tensor:
    """How far renders over black are from the views: colors and, where there are any, normals and depth inside the
    mask, and the mask itself; a scalar.
    """
    images = rendered.rgb / 2 + 0.5
    loss = masked_color_loss(images, views.rgb, views.mask)
    loss = loss + MASK_WEIGHT * functional.mse_loss(rendered.mask, views.mask)
    if views.normals is None and views.depth is None:
        return loss
    normals, depth, mask = rendered_geometry(rendered, views.cameras, images.shape[-1], supersample)
    both = views.mask * mask.detach()
    if views.normals is not None:
        loss = loss + NORMAL_WEIGHT * normal_cosine_loss(normals, views.normals, both)
    if views.depth is not None:
        loss = loss + DEPTH_WEIGHT * (1 + depth_correlation_loss(depth, views.depth, (both > COVERED).to(both)))
    return loss


def rendered_geometry(
    rendered: Rendered, cameras: Cameras, resolution: int, supersample: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """World normals [N, 3, R, R] and depth [N, 1, R, R] of one shape by N cameras over zero, and coverage [N, 1, R, R].

    Depth is the distance along the viewing axis, world units.
    """
    mesh = rendered.surface.mesh
    raster = rasterize_mesh(mesh, cameras, resolution, supersample=supersample)
    normals = functional.normalize(visible_attributes(raster, vertex_normals(mesh)), dim=1)
    points = visible_attributes(raster, mesh.vertices)
    depth = visible_depths(raster, cameras, points)
    layers, mask = composite(raster, torch.cat([normals, depth], 1))
    return layers[:, :3], layers[:, 3:], mask


def prompt_answer(
    single: Single,
    cameras: Cameras,
    step: int,
    objective: Objective,
    *,
    resolution: int,
    supersample: int,
    background: float,
) -> tuple[Answer, Tensor]:
    """What the guide says of the sample beside where it began, and how far the images have moved (a scalar)."""
    with torch.no_grad():
        before = draw_codes(single.network, single.start, cameras, resolution, supersample, background)
    after = draw_codes(single.network, single.codes, cameras, resolution, supersample, background)
    change = (after.rgb.detach() - before.rgb).square().mean().sqrt()
    return objective(Pair(after.rgb, before.rgb, after.mask, before.mask, cameras), step), change


def reference_answer(single: Single, views: ReferenceViews, supersample: int) -> tuple[Answer, Tensor]:
    """The loss against the views, and the root mean square error of the images (a scalar)."""
    drawn = draw_codes(single.network, single.codes, views.cameras, views.rgb.shape[-1], supersample, 0.0)
    loss = reference_loss(drawn, views, supersample)
    error = (drawn.rgb.detach() - (2 * views.rgb - 1)).square().mean().sqrt()
    return Answer(loss, torch.isfinite(loss.detach())), error


def single_step(single: Single, answer: Answer, change: Tensor, keep_weight: float) -> StepResult:
    """One step of the codes. keep_weight: of `style_distance`. Nothing moves where the answer or a gradient is not
    finite."""
    answer.backward(keep_weight * style_distance(single.codes, single.start))
    norms = single.adam.step()
    return StepResult(answer.loss.detach(), change, answer.finite & torch.isfinite(norms).all())
