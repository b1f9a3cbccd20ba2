"""What a diffusion prior says about a minibatch of renders, as a loss: one function for all methods."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.flow_distillation import rfds, rfds_reverse
from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.sampler import hifa_loss, hifa_target, ism
from guidance.schedules import FULL_RANGE, draw_times, square_root_time
from guidance.score_distillation import as_loss, asd, csd, dds, nfsd, sds
from torch_utils.errors import UserError
from training.adapt.settings import Method

# A prompt of bad images, for NFSD (Katzir et al. 2024).
BAD_IMAGES = "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, low resolution"


@dataclass(frozen=True)
class Texts:
    """Embeddings of one prompt each: the target, the source, the negative or empty prompt, and one of bad images."""

    target: Embeddings
    source: Embeddings
    empty: Embeddings
    bad: Embeddings


def prompt_texts(prior: DiffusionPrior, prompt: str, source: str, negative: str = "") -> Texts:
    """The embeddings that the methods need."""
    with torch.no_grad():
        return Texts(*(prior.embed([text]) for text in (prompt, source, negative, BAD_IMAGES)))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step for B images: t [B], noise like x, shift [B] in [0, 1)."""

    t: Tensor
    noise: Tensor
    shift: Tensor


def draw_noise(x: Tensor, seed: int, step: int, bounds: tuple[float, float] = FULL_RANGE) -> Draws:
    """Of a step. They depend on the seed and the step alone, so that a resumed run draws the same."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    t = draw_times(len(x), bounds, generator)
    noise = torch.randn(x.shape, generator=generator)
    return Draws(t.to(x.device), noise.to(x), torch.rand(len(x), generator=generator).to(x.device))


def method_gradient(
    method: Method, prior: DiffusionPrior, x: Tensor, x_source: Tensor, texts: Texts, draws: Draws, scale: float
) -> Tensor:
    """The gradient on x [B, C, h, w], the adapted generator's images in the prior's space.

    x_source: the frozen twin's images, likewise; only DDS looks at them. UserError where a method needs a flow prior.
    """
    if method.startswith("rfds") and not prior.levels.is_flow:
        raise UserError(
            f"--method {method}: needs a rectified-flow prior (SD3, FLUX, SANA); use dds or asd with this one"
        )
    empty = None if prior.embedded_guidance else texts.empty
    t, noise = draws.t, draws.noise
    if method == "dds":
        return dds(prior, x, x_source, texts.target, texts.source, empty, t, noise, scale=scale)
    if method == "sds":
        return sds(prior, x, texts.target, empty, t, noise, scale=scale)
    if method == "asd":
        return asd(prior, x, texts.target, empty, t, noise, draws.shift, scale=scale)
    if method == "nfsd":
        return nfsd(prior, x, texts.target, texts.empty, texts.bad, t, noise, scale=scale)
    if method == "csd":
        return csd(prior, x, texts.target, texts.empty, t, noise, scale=scale)
    if method == "ism":
        return ism(prior, x, texts.target, texts.empty, t, scale=scale)
    if method == "rfds":
        return rfds(prior, x, texts.target, empty, t, noise, scale=scale)
    return rfds_reverse(prior, x, texts.target, empty, t, noise, scale=scale)


def hifa_answer(
    prior: DiffusionPrior, images: Tensor, texts: Texts, *, progress: float, seed: int, step: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The loss of HiFA for images [B, 3, R, R] in [−1, 1], and whether the prior's answer was finite.

    Summed over an image's elements, as the losses of the other methods are. progress: of the run, in [0, 1]; t falls
    with it.
    """
    x = prior.to_prior(images, images.shape[-1])
    noise = draw_noise(x, seed, step).noise
    t = torch.full((len(x),), square_root_time(progress), device=x.device)
    empty = None if prior.embedded_guidance else texts.empty
    target = hifa_target(prior, x, texts.target, empty, t, noise, scale=scale)
    finite = torch.isfinite(target).all()
    target = torch.where(target.isfinite(), target, x.detach())
    return hifa_loss(prior, x, images, target) * x[0].numel(), finite


def distillation(
    method: Method,
    prior: DiffusionPrior,
    images: Tensor,
    twin_images: Tensor,
    texts: Texts,
    *,
    seed: int,
    step: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The loss of images [B, 3, R, R] in [−1, 1], with gradient, and whether the prior's answer was finite (a scalar).

    twin_images: the frozen twin's of the same latents and cameras.
    """
    side = images.shape[-1]
    x = prior.to_prior(images, side)
    with torch.no_grad():
        x_source = prior.to_prior(twin_images, side) if method == "dds" else x
    gradient = method_gradient(method, prior, x, x_source, texts, draw_noise(x, seed, step), scale)
    return as_loss(x, gradient), torch.isfinite(gradient).all()
