"""The shift: a whole generator moves towards one prompt, while a frozen twin stays behind as the reference.

Both draw the same latents through the same cameras. A method compares their images, or looks at the moving one alone
(`training/adapt/distillation.py`). Source of the twin: Gal et al. 2022 (StyleGAN-NADA).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.schema import Config
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS, CameraDistribution
from rendering.deferred import composite, rasterize_mesh, visible_points
from sampling.styles import label_tensor
from torch_utils.distributed import Ranks
from torch_utils.seeding import normal
from training.adapt.settings import Part
from training.ema import update_average
from training.optimizer import AdamSettings, GuardedAdam

# Groups of parameters (`Generator.parameter_groups`) that move. The mapping networks keep what a latent means, and the
# trunk of the backbone feeds shape and texture alike.
MOVING: dict[Part, tuple[str, ...]] = {
    "texture": ("backbone.texture", "texture"),
    "geometry": ("backbone.geometry", "sdf", "deformation", "cube_weights"),
    "both": (
        "backbone.trunk", "backbone.texture", "texture", "backbone.geometry", "sdf", "deformation", "cube_weights",
    ),
}  # fmt: skip
BETAS = (0.0, 0.99)
# Steps after which the influence of old weights on the average has halved.
AVERAGE_HALFLIFE = 15.0
# Coverage above which a pixel is the object alone.
SOLID = 0.95


@dataclass
class Shift:
    """An adaptation's networks. generator: learns. twin: never changes. average: of `generator`, what is saved."""

    generator: Generator
    twin: Generator
    average: Generator
    adam: GuardedAdam
    part: Part


def build_shift(twin: Generator, part: Part, rate: float) -> Shift:
    """A shift that starts at `twin`, a network in evaluation mode; `twin` itself becomes the frozen one."""
    twin.requires_grad_(False).eval()
    generator, average = copy.deepcopy(twin), copy.deepcopy(twin)
    moving = moving_parameters(generator, part)
    for parameter in moving.values():
        parameter.requires_grad_(True)
    return Shift(generator, twin, average, GuardedAdam("generator", moving, AdamSettings(rate, *BETAS), Ranks()), part)


def moving_parameters(generator: Generator, part: Part) -> dict[str, nn.Parameter]:
    """The parameters that an adaptation of a part may change, by name."""
    groups = generator.parameter_groups()
    own = {id(parameter) for group in MOVING[part] for parameter in groups.get(group, [])}
    return {name: parameter for name, parameter in generator.named_parameters() if id(parameter) in own}


@dataclass(frozen=True)
class ShiftScene:
    """What both generators draw: styles w_geo, w_tex [B, …, w_dim] of the frozen mapping, a camera for each, and the
    latents [B, z_dim] and labels [B] that the styles are of."""

    w_geo: Tensor
    w_tex: Tensor
    cameras: Cameras
    z_geo: Tensor
    z_tex: Tensor
    labels: Tensor | None


@torch.no_grad()
def draw_scene(
    twin: Generator,
    cameras: CameraDistribution,
    seed: int,
    indices: Sequence[int],
    latents: Sequence[int] | None = None,
) -> ShiftScene:
    """Latents and cameras of the samples `indices`; they depend on (seed, index) alone.

    latents: those of other samples, with these cameras.
    """
    config, device = twin.config, twin.device
    latents = indices if latents is None else latents
    z_geo, z_tex = normal(seed, latents, "adapt latents", 2 * config.mapping.z_dim).to(device).chunk(2, 1)
    labels = label_tensor(config.classes, latents, device)
    w_geo, w_tex = twin.map(z_geo, z_tex, labels=labels)
    return ShiftScene(w_geo, w_tex, cameras.sample(seed, indices).to(device), z_geo, z_tex, labels)


@dataclass(frozen=True)
class Pair:
    """The same scene by both: images, twin_images [B, 3, R, R] in [−1, 1]; mask, twin_mask [B, 1, R, R].

    Gradient reaches `images` and `mask` alone. cameras: of the images, for methods that look at them.
    """

    images: Tensor
    twin_images: Tensor
    mask: Tensor
    twin_mask: Tensor
    cameras: Cameras | None = None


def draw_pair(
    shift: Shift,
    scene: ShiftScene,
    resolution: int,
    supersample: int,
    background: float,
    styles: tuple[Tensor, Tensor] | None = None,
) -> Pair:
    """Render a scene by the moving generator and by its twin, base colors without light, over gray.

    background: sRGB in [0, 1]. styles: those of the moving generator, where they are not the scene's.
    """
    own = styles or (scene.w_geo, scene.w_tex)
    if shift.part == "texture":
        return _draw_textures(shift, scene, resolution, supersample, background, own[1])

    def drawn(generator: Generator, w_geo: Tensor, w_tex: Tensor) -> Rendered:
        return generator.render(w_geo, w_tex, scene.cameras, background, resolution, supersample)

    with torch.no_grad():
        before = drawn(shift.twin, scene.w_geo, scene.w_tex)
    after = drawn(shift.generator, *own)
    return Pair(after.rgb, before.rgb, after.mask, before.mask, scene.cameras)


def _draw_textures(
    shift: Shift, scene: ShiftScene, resolution: int, supersample: int, background: float, w_tex: Tensor
) -> Pair:
    """`draw_pair` where the shapes are the same: extracted and rasterized once, for both."""
    twin = shift.twin
    with torch.no_grad():
        features = twin.features(scene.w_geo)
        surface = twin.surface(twin.geometry_planes(features, scene.w_geo), scene.w_geo)
        raster = rasterize_mesh(
            surface.mesh,
            scene.cameras,
            resolution,
            supersample=supersample,
            backend=twin.config.rendering.backend,
        )
        points = visible_points(raster, gradient=False)

    def images(generator: Generator, w_tex: Tensor) -> tuple[Tensor, Tensor]:
        planes = generator.texture_planes(features, w_tex)
        colors = generator.texture(planes, w_tex, points, raster.point_offsets)
        return composite(raster, colors, background)

    with torch.no_grad():
        twin_images, mask = images(twin, scene.w_tex)
    return Pair(images(shift.generator, w_tex)[0] * 2 - 1, twin_images * 2 - 1, mask, mask, scene.cameras)


def distance_loss(images: Tensor, twin_images: Tensor, side: int = 16) -> Tensor:
    """How much the distances between samples differ from those between the twin's, a scalar.

    Distances of images averaged down to `side` px, relative to the mean of the twin's. It is 0, with a gradient of 0,
    where the generator is its twin; it grows when samples become alike. Source: Lei et al. 2024 (DiffusionGAN3D), on
    pixels in place of features.
    """
    if len(images) < 2:
        return images.sum() * 0
    wanted = _distances(twin_images, side).detach()
    return ((_distances(images, side) - wanted) / wanted.mean().clamp_min(1e-6)).square().mean()


def downsampled(pair: Pair, factor: int) -> Pair:
    """The pair with `factor`² pixels averaged into one, as supersampling does."""
    if factor == 1:
        return pair
    images, twin_images, mask, twin_mask = (
        nn.functional.avg_pool2d(part, factor) for part in (pair.images, pair.twin_images, pair.mask, pair.twin_mask)
    )
    return Pair(images, twin_images, mask, twin_mask, pair.cameras)


def structure_loss(pair: Pair) -> Tensor:
    """How much of the twin's light and dark detail the images have lost, a scalar from 0 to 2.

    1 − the correlation of the steps in brightness between neighboring pixels that are the object in both, of each
    image, averaged. It is 0 where the generator is its twin, and where all steps are larger or smaller by one factor,
    in whatever hue. It is 1 for an image without detail.
    """
    both = (pair.mask > SOLID) & (pair.twin_mask > SOLID)
    own, twin = _brightness(pair.images), _brightness(pair.twin_images)
    products = squares = twin_squares = torch.zeros(len(own), device=own.device)
    for axis in (2, 3):
        length = own.shape[axis] - 1
        inside = both.narrow(axis, 1, length) & both.narrow(axis, 0, length)
        step, twin_step = own.diff(dim=axis) * inside, twin.diff(dim=axis) * inside
        products = products + (step * twin_step).sum((1, 2, 3))
        squares = squares + step.square().sum((1, 2, 3))
        twin_squares = twin_squares + twin_step.square().sum((1, 2, 3))
    # Images that have hardly any detail left would have a gradient without bounds.
    scale = (squares.clamp_min(1e-4 * twin_squares) * twin_squares).clamp_min(1e-12).sqrt()
    return (1 - products / scale).mean()


def _brightness(images: Tensor) -> Tensor:
    """[B, 1, R, R] of images [B, 3, R, R], Rec. 709."""
    return (images * images.new_tensor((0.2126, 0.7152, 0.0722)).view(3, 1, 1)).sum(1, keepdim=True)


def _distances(images: Tensor, side: int) -> Tensor:
    return nn.functional.pdist(nn.functional.adaptive_avg_pool2d(images, min(side, images.shape[-1])).flatten(1))


@dataclass(frozen=True)
class Answer:
    """What a prior says of a pair: the loss, with gradient, and whether its answer was finite; both scalars."""

    loss: Tensor
    finite: Tensor

    def backward(self, more: Tensor | float = 0.0) -> None:
        """Put the gradients of the loss, with `more` added, at all parameters: NaN where the answer was not finite.

        `GuardedAdam` then changes nothing. Without that, a step would follow what is kept, and Adam's momentum.
        """
        ((self.loss + more) * torch.where(self.finite, 1.0, torch.nan)).backward()


# (pair, step) → what the prior says. The step, counted from 0, names the random numbers.
Objective = Callable[[Pair, int], Answer]


@dataclass(frozen=True)
class StepResult:
    """Scalars of a step: the loss; the root mean square of what differs from the twin's images, whose range is 2; and
    whether the prior's answer and the gradients were finite."""

    loss: Tensor
    change: Tensor
    finite: Tensor


def shift_gradients(pair: Pair, step: int, objective: Objective) -> Answer:
    """Put the gradients of one step at the moving parameters."""
    found = objective(pair, step)
    found.backward()
    return found


def shift_step(shift: Shift, pair: Pair, step: int, objective: Objective) -> StepResult:
    """One step of the moving generator and its running average. The generator stays as it is where the answer or a
    gradient is not finite."""
    found = shift_gradients(pair, step, objective)
    norms = shift.adam.step()
    update_average(shift.average, shift.generator, 0.5 ** (1 / AVERAGE_HALFLIFE))
    change = (pair.images.detach() - pair.twin_images).square().mean().sqrt()
    return StepResult(found.loss.detach(), change, found.finite & torch.isfinite(norms).all())


def cameras_of(config: Config, camera: CameraDistribution | None = None) -> CameraDistribution:
    """The cameras that a network is seen by: given ones, those of its category, or GET3D's (elevation 0 to 30°)."""
    return camera or CAMERA_DISTRIBUTIONS.get(config.category, CAMERA_DISTRIBUTIONS["chair"])
