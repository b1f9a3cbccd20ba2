"""Textures for one mesh from words: a diffusion prior looks at renders from random cameras under random lights."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.prompts import VIEWS, checked_prompt, mixed_embeddings, view_indices, view_prompts
from guidance.score_distillation import as_loss, dds, sds
from rendering.camera import Cameras
from rendering.procedural_light import RANDOM_LIGHTS, random_environment
from sampling.texture_baking import fill_outside
from training.mesh_texture.estimate import step_seconds
from training.mesh_texture.fit import Model, Parameterization, textures_of, values_at
from training.mesh_texture.parameterizations import START, DeepImagePrior, PlainMaps, TriPlaneField
from training.mesh_texture.target import TextureTarget
from training.mesh_texture.views import drawn_image, prepare_view

RADIUS, FOV_DEG = 2.2, 26.0
# The longest side of the mesh that the cameras see, world units.
SIDE = 0.7
ELEVATION_DEG = (-15.0, 60.0)
T_MIN, T_MAX, LAST_T_MAX = 0.02, 0.98, 0.5
CLIP = 10.0
# Smaller priors, such as the included ones, have learned images without light and no words for views. Their mode has
# hues of its own: by score distillation "a red chair" becomes pink.
LARGE_PX = 256
SCALES = {"sds": 100.0, "dds": 2.5}


PromptMethod = Literal["sds", "dds"]


@dataclass(frozen=True)
class PromptSettings:
    """How words become textures. What is None follows from the size of the prior (`settings_for`).

    method: sds, or dds from a plain gray mesh, which is `source` in words. view_words: whether the prompt says from
    where an image is seen. lit: whether images are drawn under random lights, which also moves metallic and roughness.
    scale: of classifier-free guidance. views: images a step. steps: of the optimizer. size_px: side of a texture.
    width: channels of the deep image prior. The largest time falls from 0.98 to 0.5, as in ProlificDreamer (Wang et al.
    2023).
    """

    prompt: str
    source: str = "a gray object"
    negative: str = ""
    method: PromptMethod | None = None
    view_words: bool | None = None
    lit: bool | None = None
    scale: float | None = None
    parameterization: Parameterization = "field"
    size_px: int = 512
    steps: int = 300
    views: int = 2
    width: int = 128
    seed: int = 0


def settings_for(prior: DiffusionPrior, settings: PromptSettings) -> PromptSettings:
    """The settings, with what the size of the prior decides."""
    large = prior.resolution >= LARGE_PX
    method = settings.method or ("sds" if large else "dds")
    return replace(
        settings,
        method=method,
        view_words=large if settings.view_words is None else settings.view_words,
        lit=large if settings.lit is None else settings.lit,
        scale=SCALES[method] if settings.scale is None else settings.scale,
    )


@dataclass(frozen=True)
class PromptTexts:
    """Embeddings of the prompt (or of one for each of `VIEWS`), of the source and of the negative prompt."""

    prompts: Embeddings
    source: Embeddings
    negative: Embeddings


def synthesize_textures(
    target: TextureTarget,
    prior: DiffusionPrior,
    settings: PromptSettings,
    progress: Callable[[], None] = lambda: None,
    *,
    estimated: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Base color (sRGB), metallic and roughness [S, S, 5] in [0, 1], one for each texture of the target.

    Every image has its own camera and gray background, and its own light if it has any, so that no light is baked into
    the base color. estimated: called with the seconds that all will take, after two steps that change nothing.
    """
    settings = settings_for(prior, settings)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    framed = target.transformed(framing(target))
    model = _model(framed, settings)
    optimizer = torch.optim.Adam(model.parameters(), model.learning_rate, (0.9, 0.99))
    with torch.no_grad():
        texts = PromptTexts(
            *(prior.embed(words) for words in (_prompts(settings), [settings.source], [settings.negative]))
        )

    def loss_of(share: float, rng: np.random.Generator) -> Tensor:
        azimuth, elevation = random_directions(settings.views, rng)
        pairs = [
            _random_pair(model, framed, a, e, prior.resolution, settings, rng)
            for a, e in zip(azimuth, elevation, strict=True)
        ]
        images, plain = (torch.cat(part) for part in zip(*pairs, strict=True))
        here = replace(texts, prompts=embeddings_of_views(texts.prompts, azimuth, elevation))
        return distillation_loss(prior, images, plain, here, settings, share)

    if estimated is not None:
        elsewhere = np.random.default_rng(settings.seed)
        estimated(settings.steps * step_seconds(lambda: loss_of(0.0, elsewhere).backward()))
    for step in range(settings.steps):
        optimizer.zero_grad()
        loss_of(step / max(1, settings.steps - 1), rng).backward()
        optimizer.step()
        progress()
    with torch.no_grad():
        size = settings.size_px
        maps = [_with_surface(image) for image in textures_of(model, framed, size)]
        return [fill_outside(image, framed.texels(number, size).covered) for number, image in enumerate(maps)]


def distillation_loss(
    prior: DiffusionPrior, images: Tensor, plain: Tensor, texts: PromptTexts, settings: PromptSettings, share: float
) -> Tensor:
    """The loss of images [B, 3, H, W], sRGB in [0, 1], by settings of `settings_for`.

    Score distillation with the predicted image clamped to its range, or what the prompt asks beyond the source
    (`guidance/score_distillation.py`). plain: the same views of the gray mesh. share in [0, 1]: how much of the run is
    over.
    """
    assert settings.scale is not None
    x = prior.to_prior(images * 2 - 1)
    largest = T_MAX + (LAST_T_MAX - T_MAX) * share
    t = T_MIN + (largest - T_MIN) * torch.rand(len(x), device=x.device)
    noise, scale = torch.randn_like(x), settings.scale
    if settings.method == "sds":
        gradient = sds(prior, x, texts.prompts, texts.negative, t, noise, scale=scale)
    else:
        before = prior.to_prior(plain * 2 - 1)
        gradient = dds(prior, x, before, texts.prompts, texts.source, texts.negative, t, noise, scale=scale)
    return as_loss(x, gradient, CLIP)


def framing(target: TextureTarget) -> np.ndarray:
    """The 4×4 that centers the mesh and scales its longest side to what the cameras see."""
    low, high = (corner.double().numpy() for corner in (target.mesh.vertices.amin(0), target.mesh.vertices.amax(0)))
    scale = SIDE / max(float((high - low).max()), 1e-9)
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = -scale * (low + high) / 2
    return matrix


def random_directions(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Azimuths and elevations [B] of random cameras, radians."""
    azimuth = rng.uniform(-math.pi, math.pi, count)
    elevation = np.radians(rng.uniform(*ELEVATION_DEG, count))
    return torch.from_numpy(azimuth).float(), torch.from_numpy(elevation).float()


def _prompts(settings: PromptSettings) -> list[str]:
    """The prompt, or one for each of `VIEWS`."""
    return view_prompts(settings.prompt) if settings.view_words else [checked_prompt(settings.prompt)]


def embeddings_of_views(prompts: Embeddings, azimuth: Tensor, elevation: Tensor) -> Embeddings:
    """Of one prompt, the same for all cameras; of one for each of `VIEWS`, that of each camera's view [B]."""
    if len(prompts) == 1:
        return prompts
    seen = torch.nn.functional.one_hot(view_indices(azimuth, elevation), len(VIEWS)).float()
    return mixed_embeddings(prompts, seen)


def _random_pair(
    model: Model,
    target: TextureTarget,
    azimuth: Tensor,
    elevation: Tensor,
    side: int,
    settings: PromptSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """An image [1, 3, R, R], sRGB, seen from a direction on gray, and the same of the plain mesh it began with."""
    cameras = Cameras.orbit(azimuth[None], elevation[None], RADIUS, math.radians(FOV_DEG))
    view = prepare_view(target, cameras, side)
    light = random_environment(int(rng.integers(RANDOM_LIGHTS))) if settings.lit else None
    ground = float(rng.uniform(0.2, 0.9))

    def drawn(values: Tensor) -> Tensor:
        rgb, mask = drawn_image(values, view, light)
        return rgb + (1 - mask) * ground

    image = drawn(values_at(model, view))
    if settings.method == "sds":
        return image, image
    with torch.no_grad():
        return image, drawn(torch.tensor(START).expand(len(view.position), -1))


def _with_surface(image: Tensor) -> Tensor:
    """A map [S, S, 3 or 5] with metallic and roughness: those of the start where only colors were seen."""
    surface = image.new_tensor(START[image.shape[-1] :])
    return torch.cat([image, surface.expand(*image.shape[:2], -1)], -1)


def _model(target: TextureTarget, settings: PromptSettings) -> Model:
    count, size, channels = len(target.materials), settings.size_px, len(START) if settings.lit else 3
    if settings.parameterization == "field":
        return TriPlaneField(channels, target.mesh.vertices.amin(0), target.mesh.vertices.amax(0))
    if settings.parameterization == "deep-image-prior":
        return DeepImagePrior(channels, count, size, width=settings.width)
    return PlainMaps([torch.tensor(START[:channels]).expand(size, size, channels)] * count)
