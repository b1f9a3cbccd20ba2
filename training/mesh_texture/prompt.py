"""Textures for one mesh from words: a diffusion prior looks at renders from random cameras under random lights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.prompts import VIEWS, checked_prompt, mixed_embeddings, view_indices, view_prompts
from guidance.score_distillation import as_loss, sds
from rendering.camera import Cameras
from rendering.procedural_light import RANDOM_LIGHTS, random_environment
from sampling.texture_baking import fill_outside
from training.mesh_texture.fit import Parameterization, textures_of, values_at
from training.mesh_texture.parameterizations import START, DeepImagePrior, PlainMaps, TriPlaneField
from training.mesh_texture.target import TextureTarget
from training.mesh_texture.views import drawn_image, prepare_view

RADIUS, FOV_DEG = 2.2, 26.0
# The longest side of the mesh that the cameras see, world units.
SIDE = 0.7
ELEVATION_DEG = (-15.0, 60.0)
T_MIN, T_MAX, LAST_T_MAX = 0.02, 0.98, 0.5
CLIP = 10.0
# Priors that are smaller have learned no words for views, such as the included ones.
VIEW_WORDS_PX = 256


@dataclass(frozen=True)
class PromptSettings:
    """How words become textures.

    view_words: whether the prompt says from where an image is seen; None = for priors of `VIEW_WORDS_PX` or more.
    scale: of classifier-free guidance. views: images a step. steps: of the optimizer. size_px: side of a texture.
    width: channels of the deep image prior. The largest time falls from 0.98 to 0.5, as in ProlificDreamer (Wang et al.
    2023).
    """

    prompt: str
    negative: str = ""
    view_words: bool | None = None
    parameterization: Parameterization = "field"
    size_px: int = 512
    steps: int = 600
    views: int = 2
    scale: float = 100.0
    width: int = 128
    seed: int = 0


def synthesize_textures(
    target: TextureTarget,
    prior: DiffusionPrior,
    settings: PromptSettings,
    progress: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Base color (sRGB), metallic and roughness [S, S, 5] in [0, 1], one for each texture of the target.

    Score distillation with the predicted image clamped to its range (`guidance/score_distillation.py`). Every image has
    its own camera, light and gray background, so that no light is baked into the base color.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    framed = target.transformed(framing(target))
    model = _model(framed, settings)
    optimizer = torch.optim.Adam(model.parameters(), model.learning_rate, (0.9, 0.99))
    with torch.no_grad():
        prompts, unconditional = prior.embed(_prompts(settings, prior.resolution)), prior.embed([settings.negative])
    for step in range(settings.steps):
        azimuth, elevation = random_directions(settings.views, rng)
        images = torch.cat(
            [_random_image(model, framed, a, e, prior.resolution, rng) for a, e in zip(azimuth, elevation, strict=True)]
        )
        share = step / max(1, settings.steps - 1)
        conditional = embeddings_of_views(prompts, azimuth, elevation)
        loss = distillation_loss(prior, images, conditional, unconditional, settings.scale, share)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress()
    with torch.no_grad():
        maps = textures_of(model, framed, settings.size_px)
        return [
            fill_outside(image, framed.texels(number, settings.size_px).covered) for number, image in enumerate(maps)
        ]


def distillation_loss(
    prior: DiffusionPrior,
    images: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings,
    scale: float,
    share: float,
) -> Tensor:
    """The loss of images [B, 3, H, W], sRGB in [0, 1]. share in [0, 1]: how much of the run is over."""
    x = prior.to_prior(images * 2 - 1)
    largest = T_MAX + (LAST_T_MAX - T_MAX) * share
    t = T_MIN + (largest - T_MIN) * torch.rand(len(x), device=x.device)
    gradient = sds(prior, x, conditional, unconditional, t, torch.randn_like(x), scale=scale)
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


def _prompts(settings: PromptSettings, resolution: int) -> list[str]:
    """The prompt, or one for each of `VIEWS`."""
    words = resolution >= VIEW_WORDS_PX if settings.view_words is None else settings.view_words
    return view_prompts(settings.prompt) if words else [checked_prompt(settings.prompt)]


def embeddings_of_views(prompts: Embeddings, azimuth: Tensor, elevation: Tensor) -> Embeddings:
    """Of one prompt, the same for all cameras; of one for each of `VIEWS`, that of each camera's view [B]."""
    if len(prompts) == 1:
        return prompts
    seen = torch.nn.functional.one_hot(view_indices(azimuth, elevation), len(VIEWS)).float()
    return mixed_embeddings(prompts, seen)


def _random_image(
    model: PlainMaps | TriPlaneField | DeepImagePrior,
    target: TextureTarget,
    azimuth: Tensor,
    elevation: Tensor,
    side: int,
    rng: np.random.Generator,
) -> Tensor:
    """An image [1, 3, R, R], sRGB, seen from a direction under a random light on gray."""
    cameras = Cameras.orbit(azimuth[None], elevation[None], RADIUS, math.radians(FOV_DEG))
    view = prepare_view(target, cameras, side)
    light = random_environment(int(rng.integers(RANDOM_LIGHTS)))
    rgb, mask = drawn_image(values_at(model, view), view, light)
    return rgb + (1 - mask) * float(rng.uniform(0.2, 0.9))


def _model(target: TextureTarget, settings: PromptSettings) -> PlainMaps | TriPlaneField | DeepImagePrior:
    count, size = len(target.materials), settings.size_px
    if settings.parameterization == "field":
        return TriPlaneField(5, target.mesh.vertices.amin(0), target.mesh.vertices.amax(0))
    if settings.parameterization == "deep-image-prior":
        return DeepImagePrior(5, count, size, width=settings.width)
    return PlainMaps([torch.tensor(START).expand(size, size, 5)] * count)
