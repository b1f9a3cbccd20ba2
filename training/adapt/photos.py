"""One sample like photos: the prior learns them first, guides the sample, and may learn its cleaned renders as well."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from guidance.dreambooth import bootstrap
from guidance.score_distillation import as_loss
from torch_utils.errors import UserError
from torch_utils.files import make_folder
from training.adapt.distillation import Texts, draw_noise, prompt_texts
from training.adapt.follower import Follower, Parameters, build_follower, vsd_loss
from training.adapt.guide import Guide
from training.adapt.loop import AdaptJob, holds_adaptation
from training.adapt.settings import AdaptSettings
from training.adapt.shift import Answer, Objective, Pair, StepResult
from training.photos.gradient import photo_gradient
from training.photos.learn import ProgressBar, TunedPrior, TuningSettings, learned_prior, subject_of, tuning_for
from training.photos.read import Photos

ADAPTER = "adapter.safetensors"
# Renders that a round of BSD cleans, and its steps as a share of those that learned the photos.
ROUND_RENDERS, ROUND_SHARE = 16, 0.25


@dataclass(frozen=True, eq=False)
class PhotoGuide:
    """A prior that has learned photos. texts: of the object's words, with those of its class as the source."""

    photos: Photos
    priors: TunedPrior
    tuning: TuningSettings
    texts: Texts


def photo_guide(
    guide: Guide, photos: Photos, settings: AdaptSettings, folder: Path, bar: ProgressBar, say: Callable[[str], None]
) -> PhotoGuide:
    """The guide's prior after it has learned photos; `ADAPTER` in the folder keeps what it learned for a second run."""
    assert guide.diffusion is not None, "a CLIP learns no photos"
    round_starts(settings.steps, settings.bootstrap_rounds)  # refused before anything is learned
    base = replace(guide.diffusion, resolution=settings.resolution)
    tuning = tuning_for(base, settings.seed, settings.photo_steps)
    path, resumed = make_folder(folder) / ADAPTER, holds_adaptation(folder)
    priors = learned_prior(base, photos, settings.prompt, tuning, path, bar=bar, say=say, resumed=resumed)
    return PhotoGuide(photos, priors, tuning, prompt_texts(base, priors.words, settings.prompt, settings.negative))


def learned_facts(guide: PhotoGuide, settings: AdaptSettings) -> dict[str, str]:
    """Rows of the report."""
    rounds = settings.bootstrap_rounds
    return {
        "prior": f"{settings.prior}, {settings.resolution} px",
        "learned": f"{len(guide.photos.images)} photos as {guide.priors.words!r}, in {guide.tuning.steps} steps"
        + (f", and renders in {rounds} rounds" if rounds else ""),
        "method": f"{settings.method}, guidance scale {settings.scale:g}",
    }


def photo_follower(guide: PhotoGuide, settings: AdaptSettings) -> Follower | None:
    """A new follower for the method pgsd; None for the others."""
    if settings.method != "pgsd":
        return None
    rank, rate = guide.tuning.rank, guide.tuning.rate
    return build_follower(guide.priors.base, "--method pgsd", settings.seed, rank=rank, rate=rate)


def photo_objective(guide: PhotoGuide, settings: AdaptSettings, follower: Follower | None) -> Objective:
    """What the tuned prior says of the sample's images beside those that it began with."""
    priors, texts, method = guide.priors, guide.texts, settings.method
    assert method in ("sds", "dds", "pgsd"), "other methods are refused with photos"

    def objective(pair: Pair, step: int) -> Answer:
        if follower is not None:
            assert pair.cameras is not None, "pairs are drawn with their cameras"
            poses = pair.cameras.camera_to_world
            return Answer(
                *vsd_loss(
                    follower,
                    priors.tuned,
                    pair.images,
                    poses,
                    texts,
                    seed=settings.seed,
                    step=step,
                    scale=settings.scale,
                )
            )
        x = priors.base.to_prior(pair.images, settings.resolution)
        with torch.no_grad():
            x_start = priors.base.to_prior(pair.twin_images, settings.resolution)
        draws = draw_noise(x, settings.seed, step)
        gradient = photo_gradient(
            method, priors, x, x_start, texts.target, texts.empty, draws.t, draws.noise, scale=settings.scale
        )
        return Answer(as_loss(x, gradient), torch.isfinite(gradient).all())

    return objective


def round_starts(steps: int, rounds: int) -> dict[int, int]:
    """The steps that begin with a round of BSD, evenly spread, and the numbers of the rounds, from 1. UserError for
    more rounds than steps."""
    if rounds and rounds >= steps:
        raise UserError(f"--set bootstrap_rounds={rounds}: needs more than {rounds} --steps, got {steps}")
    return {round(steps * number / (rounds + 1)): number for number in range(1, rounds + 1)}


def with_learning(
    job: AdaptJob, guide: PhotoGuide, renders: Callable[[int, int], Tensor], say: Callable[[str], None]
) -> AdaptJob:
    """A job whose state holds the adapter, and whose prior learns cleaned renders of the sample now and then.

    Source: Sun et al. 2024 (DreamCraft3D), bootstrapped score distillation. renders(step, count): images
    [count, 3, R, R] in [−1, 1] of the sample now.
    """
    settings, adapted = job.settings, guide.priors.adapted
    assert adapted is not None, "a prior that has learned photos has an adapter"
    starts = round_starts(settings.steps, settings.bootstrap_rounds)

    def step(number: int) -> StepResult:
        if number in starts:
            say(f"bootstrap round {starts[number]} of {len(starts)}: the prior learns {ROUND_RENDERS} cleaned renders")
            learn_renders(guide, settings, renders(number, ROUND_RENDERS), number)
        return job.step(number)

    return replace(job, parts={**job.parts, "subject": Parameters(adapted.parameters)}, step=step)


def learn_renders(guide: PhotoGuide, settings: AdaptSettings, images: Tensor, step: int) -> Tensor:
    """One round of BSD before a step, on images [N, 3, R, R] in [−1, 1] of the sample; the cleaned ones, as x.

    The tuned prior cleans them, so that they become more like the photos, and learns them along with the photos.
    """
    priors, tuning, texts = guide.priors, guide.tuning, guide.texts
    assert priors.adapted is not None
    own = torch.Generator().manual_seed(tuning.seed)
    subject = subject_of(priors.base, guide.photos, settings.prompt, tuning, own)
    with torch.no_grad():
        x = torch.cat([priors.base.to_prior(part, settings.resolution) for part in images.split(tuning.batch)])
    return bootstrap(
        priors.tuned,
        priors.adapted,
        x,
        texts.target,
        None if priors.base.embedded_guidance else texts.empty,
        step / settings.steps,
        torch.Generator().manual_seed(settings.seed * 1_000_003 + step + 700_000),
        subject=subject,
        scale=tuning.class_scale,
        train_steps=max(1, round(tuning.steps * ROUND_SHARE)),
        batch=tuning.batch,
        rate=tuning.rate,
    )
