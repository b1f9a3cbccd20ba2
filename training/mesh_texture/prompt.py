"""Textures for one mesh from words: a diffusion prior looks at renders from random cameras under random lights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from guidance.composite import normal_control
from guidance.lora import AdaptedPrior, new_lora, takes_camera
from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.prompts import VIEWS, checked_prompt, mixed_embeddings, view_indices, view_prompts
from guidance.score_distillation import as_loss, dds, sds
from guidance.variational import follower_loss
from rendering.camera import Cameras
from rendering.deferred import composite
from rendering.procedural_light import RANDOM_LIGHTS, random_environment
from sampling.texture_baking import fill_outside
from training.mesh_texture.fit import Model, Parameterization, textures_of, values_at
from training.mesh_texture.parameterizations import START, DeepImagePrior, PlainMaps, TriPlaneField
from training.mesh_texture.target import TextureTarget
from training.mesh_texture.views import View, drawn_image, prepare_view
from training.photos.gradient import PHOTO_SCALES, PhotoMethod, photo_gradient, photo_method
from training.photos.learn import LARGE_PX, TunedPrior, tuning_for
from training.step_time import step_seconds

RADIUS, FOV_DEG = 2.2, 26.0
# The longest side of the mesh that the cameras see, world units.
SIDE = 0.7
ELEVATION_DEG = (-15.0, 60.0)
T_MIN, T_MAX, LAST_T_MAX = 0.02, 0.98, 0.5
CLIP = 10.0
FOLLOWER = "follower"
# Priors smaller than `LARGE_PX`, such as the included ones, have learned images without light and no words for views.
# Their mode has hues of its own: by score distillation "a red chair" becomes pink.
SCALES: dict["PromptMethod", float] = {"sds": 100.0, "dds": 2.5}

# pgsd is for photos.
PromptMethod = PhotoMethod


@dataclass(frozen=True)
class PromptSettings:
    """How words become textures. What is None follows from the size of the prior (`settings_for`).

    method: sds; dds from a plain gray mesh, which is `source` in words (with photos, what these add); or pgsd, which is
    for a prior that has learned photos. view_words: whether the prompt says from where an image is seen. controlled:
    whether the prior has a ControlNet, which sees the normals. lit: whether images are drawn under random lights, which
    also moves metallic and roughness. scale: of classifier-free guidance; with photos, from the prior as it was to the
    one that learned them. views: images a step. steps: of the optimizer. size_px: side of a texture. width: channels of
    the deep image prior. The largest time falls from 0.98 to 0.5, as in ProlificDreamer (Wang et al. 2023).
    """

    prompt: str
    source: str = "a gray object"
    negative: str = ""
    method: PromptMethod | None = None
    view_words: bool | None = None
    lit: bool | None = None
    scale: float | None = None
    controlled: bool = False
    parameterization: Parameterization = "field"
    size_px: int = 512
    steps: int = 300
    views: int = 2
    width: int = 128
    seed: int = 0


def settings_for(prior: DiffusionPrior, settings: PromptSettings, *, photos: bool = False) -> PromptSettings:
    """The settings, with what the size of the prior decides, and whether it has learned photos."""
    large = prior.resolution >= LARGE_PX
    method = settings.method or (photo_method(prior.resolution) if photos else "sds" if large else "dds")
    scales = PHOTO_SCALES if photos else SCALES
    if method not in scales:
        raise ValueError(f"settings_for(): expected one of {', '.join(scales)}, got {method}")
    return replace(
        settings,
        method=method,
        view_words=large if settings.view_words is None else settings.view_words,
        lit=large if settings.lit is None else settings.lit,
        scale=scales[method] if settings.scale is None else settings.scale,
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
    tuned: TunedPrior | None = None,
    estimated: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Base color (sRGB), metallic and roughness [S, S, 5] in [0, 1], one for each texture of the target.

    Every image has its own camera and gray background, and its own light if it has any, so that no light is baked into
    the base color. tuned: `prior` after it has learned photos; the prompt is then what it calls their object.
    estimated: called with the seconds that all will take, after two steps that change nothing.
    """
    settings = settings_for(prior, settings, photos=tuned is not None)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    framed = target.transformed(framing(target))
    model = _model(framed, settings)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(model.parameters(), model.learning_rate, (0.9, 0.99))]
    with torch.no_grad():
        texts = PromptTexts(
            *(prior.embed(words) for words in (_prompts(settings), [settings.source], [settings.negative]))
        )
    guides = Guides(prior, tuned)
    if settings.method == "pgsd":
        tuning = tuning_for(prior, settings.seed)
        follower = new_lora(
            prior, FOLLOWER, "--photos", rank=tuning.rank, camera=takes_camera(prior), seed=settings.seed
        )
        guides = replace(guides, follower=follower)
        optimizers.append(follower.optimizer(tuning.rate))

    def loss_of(share: float, rng: np.random.Generator) -> Tensor:
        azimuth, elevation = random_directions(settings.views, rng)
        shots = [
            _random_shot(model, framed, a, e, prior.resolution, settings, rng)
            for a, e in zip(azimuth, elevation, strict=True)
        ]
        here = replace(texts, prompts=embeddings_of_views(texts.prompts, azimuth, elevation))
        return distillation_loss(guides, join_shots(shots), here, settings, share)

    if estimated is not None:
        elsewhere = np.random.default_rng(settings.seed)
        estimated(settings.steps * step_seconds(lambda: loss_of(0.0, elsewhere).backward()))
    for step in range(settings.steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss_of(step / max(1, settings.steps - 1), rng).backward()
        for optimizer in optimizers:
            optimizer.step()
        progress()
    with torch.no_grad():
        size = settings.size_px
        maps = [_with_surface(image) for image in textures_of(model, framed, size)]
        return [fill_outside(image, framed.texels(number, size).covered) for number, image in enumerate(maps)]


@dataclass(frozen=True, eq=False)
class Shots:
    """B random images [B, 3, R, R] of the mesh, sRGB in [0, 1]. plain: the same views of the gray mesh.

    camera [B, 16]: camera to world. control [B, 3, R, R]: the normals as a ControlNet takes them; None without one.
    """

    images: Tensor
    plain: Tensor
    camera: Tensor
    control: Tensor | None


def join_shots(shots: Sequence[Shots]) -> Shots:
    """All of them as one batch."""
    control = (
        None if shots[0].control is None else torch.cat([shot.control for shot in shots if shot.control is not None])
    )
    images, plain, camera = (
        torch.cat([getattr(shot, name) for shot in shots]) for name in ("images", "plain", "camera")
    )
    return Shots(images, plain, camera, control)


@dataclass(frozen=True, eq=False)
class Guides:
    """What looks at the images. base: the prior. photos: the same, before and after it has learned photos.

    follower: φ of pgsd, which learns what the images look like; its camera encoder is told from where.
    """

    base: DiffusionPrior
    photos: TunedPrior | None = None
    follower: AdaptedPrior | None = None


def distillation_loss(
    guides: Guides, shots: Shots, texts: PromptTexts, settings: PromptSettings, share: float
) -> Tensor:
    """The loss of images, by settings of `settings_for`; with pgsd plus that of the follower, on parameters of its own.

    Score distillation with the predicted image clamped to its range, what the prompt asks beyond the source, what the
    photos add to the prior, or what it wants beyond what the images look like (`guidance/score_distillation.py`,
    `guidance/variational.py`). share in [0, 1]: how much of the run is over.
    """
    assert settings.scale is not None and settings.method is not None
    base, follower, scale = guides.base, guides.follower, settings.scale
    conditions: dict[str, Any] = {} if shots.control is None else {"control": shots.control.to(base.device)}
    x = base.to_prior(shots.images * 2 - 1)
    largest = T_MAX + (LAST_T_MAX - T_MAX) * share
    t = T_MIN + (largest - T_MIN) * torch.rand(len(x), device=x.device)
    noise, prompts, empty = torch.randn_like(x), texts.prompts, texts.negative
    x_plain = base.to_prior(shots.plain * 2 - 1) if settings.method == "dds" else x
    if guides.photos is not None:
        camera = shots.camera.to(x) if follower is not None and follower.camera_embedding is not None else None
        gradient = photo_gradient(
            settings.method,
            guides.photos,
            x,
            x_plain,
            prompts,
            empty,
            t,
            noise,
            scale=scale,
            follower=None if follower is None else follower.prior,
            camera=camera,
            **conditions,
        )
        if follower is None:
            return as_loss(x, gradient, CLIP)
        own = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        learning = follower_loss(follower, x.detach(), prompts, own, camera=camera, **conditions)
        return as_loss(x, gradient, CLIP) + learning
    if settings.method == "dds":
        gradient = dds(base, x, x_plain, prompts, texts.source, empty, t, noise, scale=scale, **conditions)
    else:
        gradient = sds(base, x, prompts, empty, t, noise, scale=scale, **conditions)
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
    seen = functional.one_hot(view_indices(azimuth, elevation), len(VIEWS)).float()
    return mixed_embeddings(prompts, seen)


def _random_shot(
    model: Model,
    target: TextureTarget,
    azimuth: Tensor,
    elevation: Tensor,
    side: int,
    settings: PromptSettings,
    rng: np.random.Generator,
) -> Shots:
    """One image on gray, seen from a direction, and the same of the plain mesh it began with."""
    cameras = Cameras.orbit(azimuth[None], elevation[None], RADIUS, math.radians(FOV_DEG))
    view = prepare_view(target, cameras, side)
    light = random_environment(int(rng.integers(RANDOM_LIGHTS))) if settings.lit else None
    ground = float(rng.uniform(0.2, 0.9))

    def drawn(values: Tensor) -> Tensor:
        rgb, mask = drawn_image(values, view, light)
        return rgb + (1 - mask) * ground

    image = drawn(values_at(model, view))
    control = normals_image(view, cameras) if settings.controlled else None
    with torch.no_grad():
        plain = drawn(torch.tensor(START).expand(len(view.position), -1)) if settings.method == "dds" else image
    return Shots(image, plain, cameras.camera_to_world.flatten(1), control)


@torch.no_grad()
def normals_image(view: View, camera: Cameras) -> Tensor:
    """The normals that a camera sees, as a ControlNet takes them: [1, 3, R, R] in [0, 1]."""
    normals, mask = composite(view.raster, view.normal @ camera.camera_to_world[0, :3, :3], neighbors=view.neighbors)
    covered = functional.normalize(normals.permute(0, 2, 3, 1), dim=-1)
    return normal_control(covered, mask.permute(0, 2, 3, 1))


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
