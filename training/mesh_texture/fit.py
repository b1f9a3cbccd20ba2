"""Textures fitted to posed images by gradient descent through the renderer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dataset_tool.posed_images import PosedImages
from rendering.color import psnr_db
from rendering.environment_light import EnvironmentLight
from sampling.texture_baking import fill_outside
from training.mesh_texture.parameterizations import START, DeepImagePrior, PlainMaps, TriPlaneField
from training.mesh_texture.projection import project_images
from training.mesh_texture.target import TextureTarget
from training.mesh_texture.views import View, drawn_image, look_up, prepare_view
from training.step_time import step_seconds

Parameterization = Literal["maps", "field", "deep-image-prior"]
Model = PlainMaps | TriPlaneField | DeepImagePrior


@dataclass(frozen=True)
class FitSettings:
    """How textures are fitted. size_px: side of a texture. steps: of the optimizer, one image each. width: of the deep
    image prior. project: start plain maps from the projected images; it has no meaning for the others.
    """

    parameterization: Parameterization = "maps"
    size_px: int = 1024
    steps: int = 300
    seed: int = 0
    width: int = 128
    project: bool = True


@dataclass(frozen=True, eq=False)
class FittedTextures:
    """Textures [S, S, C] in [0, 1]: sRGB base color, and metallic and roughness if a light was given.

    psnr: dB, of the images drawn with them against the given ones, in pixels that the object covers. seen: share of
    the used texels that a view sees.
    """

    textures: list[Tensor]
    psnr: float
    seen: float


def fit_textures(
    target: TextureTarget,
    images: PosedImages,
    settings: FitSettings,
    lights: list[EnvironmentLight] | None = None,
    progress: Callable[[], None] = lambda: None,
    *,
    estimated: Callable[[float], None] | None = None,
) -> FittedTextures:
    """Textures whose renders are close to the images.

    lights: of the images, one for each or one for all; the base color, metallic and roughness are then fitted. Without
    lights the images are taken to show base colors. With 0 steps, the projected images are the result.
    estimated: called with the seconds that all will take, after two steps that change nothing.
    """
    if estimated is not None:
        estimated(_fit_seconds(target, images, settings, lights))
    torch.manual_seed(settings.seed)
    projected, seen = project_images(target, images, settings.size_px)
    used = [target.texels(number, settings.size_px).covered for number in range(len(projected))]
    channels = 3 if lights is None else 5
    start = [_with_surface(image, channels) for image in projected]
    views = [
        prepare_view(target, images.cameras[view : view + 1], images.rgb.shape[-1]) for view in range(len(images.rgb))
    ]
    model = _model(target, settings, start, channels)
    optimizer = torch.optim.Adam(model.parameters(), model.learning_rate, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.steps), model.learning_rate / 20)
    order = torch.Generator().manual_seed(settings.seed)
    queue: list[int] = []
    for _ in range(settings.steps):
        queue = queue or torch.randperm(len(views), generator=order).tolist()
        view = queue.pop()
        optimizer.zero_grad()
        _loss(model, views[view], images, view, lights).backward()
        optimizer.step()
        schedule.step()
        progress()
    with torch.no_grad():
        maps = [
            fill_outside(image, inside)
            for image, inside in zip(textures_of(model, target, settings.size_px), used, strict=True)
        ]
        psnr = images_psnr(maps, views, images, lights)
    share = sum(int(s.sum()) for s in seen) / max(1, sum(int(u.sum()) for u in used))
    return FittedTextures(maps, psnr, share)


def _loss(model: Model, view: View, images: PosedImages, number: int, lights: list[EnvironmentLight] | None) -> Tensor:
    rgb, _ = drawn_image(values_at(model, view), view, _light(lights, number))
    return (rgb - images.rgb[number]).square().sum() / images.mask[number].sum().clamp(min=1)


def _fit_seconds(
    target: TextureTarget, images: PosedImages, settings: FitSettings, lights: list[EnvironmentLight] | None
) -> float:
    """Seconds of a fit: each view is drawn twice, for its projection and for the fit, and each step shows one."""
    channels = 3 if lights is None else 5
    flat = torch.tensor(START[:channels]).expand(settings.size_px, settings.size_px, channels)
    start = time.perf_counter()
    view = prepare_view(target, images.cameras[:1], images.rgb.shape[-1])
    drawing = 2 * len(images.rgb) * (time.perf_counter() - start)
    if not settings.steps:
        return drawing
    with torch.random.fork_rng(devices=[]):
        model = _model(target, settings, [flat] * len(target.materials), channels)
    return drawing + settings.steps * step_seconds(lambda: _loss(model, view, images, 0, lights).backward())


def images_psnr(
    maps: list[Tensor], views: list[View], images: PosedImages, lights: list[EnvironmentLight] | None = None
) -> float:
    """dB, of renders with maps against images over black, in the pixels that the images' masks cover."""
    squares = torch.zeros(2, dtype=torch.float64)
    for number, view in enumerate(views):
        rgb, _ = drawn_image(look_up(maps, view), view, _light(lights, number))
        covered = images.mask[number] > 0
        squares += torch.stack([((rgb[0] - images.rgb[number]).square() * covered).sum() / 3, covered.sum()]).double()
    return psnr_db(squares[0] / squares[1])


def _light(lights: list[EnvironmentLight] | None, view: int) -> EnvironmentLight | None:
    return None if lights is None else lights[view % len(lights)]


def _with_surface(image: Tensor, channels: int) -> Tensor:
    rest = image.new_tensor(START[3:channels]).expand(*image.shape[:2], channels - 3)
    return torch.cat([image, rest], 2)


def _model(target: TextureTarget, settings: FitSettings, start: list[Tensor], channels: int) -> Model:
    if settings.parameterization == "field":
        return TriPlaneField(channels, target.mesh.vertices.amin(0), target.mesh.vertices.amax(0))
    if settings.parameterization == "deep-image-prior":
        return DeepImagePrior(channels, len(start), settings.size_px, width=settings.width)
    if not settings.project:
        start = [torch.tensor(START[:channels]).expand_as(image) for image in start]
    return PlainMaps(start)


def values_at(model: Model, view: View) -> Tensor:
    """Values [P, C] in [0, 1] at the samples of a view."""
    return model(view.position) if isinstance(model, TriPlaneField) else look_up(model(), view)


def textures_of(model: Model, target: TextureTarget, size_px: int) -> list[Tensor]:
    """The textures [S, S, C] in [0, 1], one for each of the target's."""
    if not isinstance(model, TriPlaneField):
        return model()
    found = []
    for number in range(len(target.materials)):
        texels = target.texels(number, size_px)
        found.append(texels.image(torch.cat([model(chunk) for chunk in texels.points.split(1 << 18)])))
    return found
