"""A prior that has learned an object from photos (DreamBooth), and the follower of PGSD.

Sources: Ruiz et al. 2023 (DreamBooth); Yeh et al. 2024 (TextureDreamer), personalized geometry-aware score
distillation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidance.dreambooth import Subject, class_samples, dreambooth_loss
from guidance.lora import AdaptedPrior, add_lora, answers_with
from guidance.priors.families import build_network
from guidance.priors.prior import DiffusionPrior, Embeddings, add_noise, guided
from guidance.prompts import checked_prompt
from guidance.score_distillation import WEIGHTINGS, clamp_prediction, sds_gradient
from torch_utils.errors import UserError
from training.mesh_texture.estimate import step_seconds
from training.mesh_texture.photos import Photos, framed_photos

# A word that stands for the object and means nothing else, as published.
IDENTIFIER = "sks"
SUBJECT, FOLLOWER = "subject", "follower"
ARTICLES = ("a", "an", "the")
# Priors of this side and more are tuned as published, px.
LARGE_PX = 256


@dataclass(frozen=True)
class TuningSettings:
    """How a prior learns an object. steps: of AdamW at `rate`, each on `batch` images of the object and of its class.

    rank: of the adapter. class_images: that the prior makes of the class before, and must go on making,
    in class_steps with class_scale of guidance. variants: of each photo.
    """

    steps: int = 400
    rate: float = 1e-4
    batch: int = 2
    rank: int = 4
    class_images: int = 8
    class_weight: float = 1.0
    class_scale: float = 7.5
    class_steps: int = 30
    variants: int = 4
    seed: int = 0


# Of the included prior, whose attention is 48 channels wide.
SMALL_TUNING = TuningSettings(
    steps=200, rate=1e-2, batch=4, rank=16, class_images=8, class_scale=2.5, class_steps=20, variants=16
)


@dataclass(frozen=True, eq=False)
class TunedPrior:
    """base: the prior as it was. tuned: the same with the adapter on. words: what it calls the object."""

    base: DiffusionPrior
    tuned: DiffusionPrior
    words: str


def subject_words(prompt: str) -> str:
    """The class's words with the identifier: "a chair" → "a sks chair". UserError where the prompt is empty."""
    words = checked_prompt(prompt).split()
    at = 1 if words[0].lower() in ARTICLES else 0
    return " ".join([*words[:at], IDENTIFIER, *words[at:]])


def tuning_for(prior: DiffusionPrior, seed: int) -> TuningSettings:
    """What suits the size of a prior: the published settings, or those that were tried with the included one."""
    return TuningSettings(seed=seed) if prior.resolution >= LARGE_PX else replace(SMALL_TUNING, seed=seed)


def tune_prior(
    base: DiffusionPrior,
    photos: Photos,
    prompt: str,
    settings: TuningSettings,
    progress: Callable[[], None] = lambda: None,
    *,
    estimated: Callable[[float], None] | None = None,
) -> TunedPrior:
    """The prior with an adapter that has learned the object of the photos; `base` itself answers as before.

    prompt: the class of the object, such as "a chair". A ControlNet of `base` has no part in the tuning, since photos
    have no normals. estimated: called with the seconds that all will take, after steps that change nothing. UserError
    without peft, and for a prior that takes no adapter.
    """
    words = subject_words(prompt)
    plain = base if base.module is None else base.with_network(build_network(base.module))
    adapted = _adapter(plain, SUBJECT, settings.rank, settings.seed, camera=False)
    generator = torch.Generator().manual_seed(settings.seed)
    start = time.perf_counter()
    subject = _subject(plain, photos, prompt, words, settings, generator)
    made = time.perf_counter() - start

    def loss(generator: torch.Generator) -> Tensor:
        return dreambooth_loss(
            adapted.prior, subject, generator, batch=settings.batch, class_weight=settings.class_weight
        )

    if estimated is not None:
        elsewhere = torch.Generator().manual_seed(settings.seed)
        estimated(made + settings.steps * step_seconds(lambda: loss(elsewhere).backward()))
    optimizer = adapted.optimizer(settings.rate)
    for _ in range(settings.steps):
        optimizer.zero_grad(set_to_none=True)
        loss(generator).backward()
        optimizer.step()
        progress()
    return TunedPrior(base, answers_with(base, adapted, SUBJECT), words)


@torch.no_grad()
def _subject(
    prior: DiffusionPrior,
    photos: Photos,
    prompt: str,
    words: str,
    settings: TuningSettings,
    generator: torch.Generator,
) -> Subject:
    """The photos as the prior sees them, and its own images of their class."""
    rng = np.random.default_rng(settings.seed)
    images = framed_photos(photos, prior.resolution, settings.variants, rng) * 2 - 1
    x = torch.cat([prior.to_prior(part.to(prior.device)) for part in images.split(settings.batch)])
    text, class_text, empty = (prior.embed([said]) for said in (words, prompt, ""))
    unconditional = None if prior.embedded_guidance else empty
    class_x = class_samples(
        prior,
        class_text,
        unconditional,
        settings.class_images,
        generator,
        batch=settings.batch,
        steps=settings.class_steps,
        scale=settings.class_scale,
    )
    return Subject(x, text, class_x, class_text)


def _adapter(prior: DiffusionPrior, name: str, rank: int, seed: int, *, camera: bool) -> AdaptedPrior:
    """A new adapter; one of that name that the prior had before is taken off."""
    module: Any = prior.module
    try:
        if name in (getattr(module, "peft_config", None) or {}):
            module.delete_adapters(name)
        return add_lora(prior, name, rank=rank, camera=camera, seed=seed)
    except ImportError:
        raise UserError("--photos: needs peft; install it: pip install -c constraints.txt peft") from None
    except ValueError:
        raise UserError(
            "--photos: the prior has no attention that an adapter can learn in; choose another --prior"
        ) from None


def build_follower(base: DiffusionPrior, settings: TuningSettings) -> AdaptedPrior:
    """PGSD's φ: the prior as it was, with an adapter that follows the renders, and a camera encoder where the network
    takes one (UNets without class labels).
    """
    takes_camera = getattr(base.module, "class_embedding", base.module) is None
    return _adapter(base, FOLLOWER, settings.rank, settings.seed, camera=takes_camera)


def photo_gradient(
    base: DiffusionPrior,
    tuned: DiffusionPrior,
    x: Tensor,
    text: Embeddings,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float,
    **conditions: Any,
) -> Tensor:
    """Score distillation, guided from the prior as it was to the tuned one: w(t)(ε̂_base + s(ε̂_tuned − ε̂_base) − ε).

    Both answer to the same words. A small adapter learns the object's colors only in part, and s > 1 continues the way
    that it went.
    """
    x = x.detach()
    alpha, sigma = base.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = tuned.predict(x_t, t, text, **conditions)
    if scale != 1:
        prediction = guided(prediction, base.predict(x_t, t, text, **conditions), scale)
    if base.pixel_space:
        prediction = clamp_prediction(prediction, x_t, alpha, sigma)
    return sds_gradient(prediction.eps, noise, WEIGHTINGS["dreamfusion"](alpha, sigma))
