"""A prior that has learned an object from photos (DreamBooth), and the file that keeps what it learned.

Source: Ruiz et al. 2023 (DreamBooth).
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guidance.dreambooth import Subject, class_samples, dreambooth_loss, train_dreambooth
from guidance.lora import AdaptedPrior, answers_with, load_adapter, new_lora, save_adapter, weights_key
from guidance.priors.families import build_network
from guidance.priors.prior import DiffusionPrior
from guidance.prompts import checked_prompt
from torch_utils.checkpoint import load_tensors
from torch_utils.devices import synchronize
from torch_utils.errors import UserError
from torch_utils.files import printable
from training.photos.read import Photos, framed_photos
from training.run.run_log import duration
from training.step_time import SAID_FROM_S, step_seconds

# A word that stands for the object and means nothing else, as published.
IDENTIFIER = "sks"
SUBJECT = "subject"
ARTICLES = ("a", "an", "the")
# Priors of this side and more are tuned as published, px.
LARGE_PX = 256
# bar(what, total): a function to call after each of `total` steps.
ProgressBar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


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
    """base: the prior as it was. tuned: the same with the adapter on. words: what it calls the object.

    adapted: what learns, for those that go on learning.
    """

    base: DiffusionPrior
    tuned: DiffusionPrior
    words: str
    adapted: AdaptedPrior | None = None


def subject_words(prompt: str) -> str:
    """The class's words with the identifier: "a chair" → "a sks chair". UserError where the prompt is empty."""
    words = checked_prompt(prompt).split()
    at = 1 if words[0].lower() in ARTICLES else 0
    return " ".join([*words[:at], IDENTIFIER, *words[at:]])


def tuning_for(prior: DiffusionPrior, seed: int, steps: int | None = None) -> TuningSettings:
    """What suits the size of a prior: the published settings, or those that were tried with the included one.

    steps: another number of them.
    """
    settings = TuningSettings(seed=seed) if prior.resolution >= LARGE_PX else replace(SMALL_TUNING, seed=seed)
    return settings if not steps else replace(settings, steps=steps)


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
    found = _untuned(base, prompt, settings)
    _learn(found, photos, prompt, settings, progress, estimated)
    return found


def learned_prior(
    base: DiffusionPrior,
    photos: Photos,
    prompt: str,
    settings: TuningSettings,
    path: Path,
    *,
    bar: ProgressBar = lambda what, total: nullcontext(lambda: None),
    say: Callable[[str], None] = lambda line: None,
    resumed: bool = False,
) -> TunedPrior:
    """`tune_prior` that keeps what was learned in the file `path`, where a second call with the same finds it.

    Another file there, also of other photos, words, settings or another prior, is replaced. say: called with a line
    where the learning takes long, and where nothing was left to learn. resumed: what goes on from a state does not
    change its photos; UserError where they are others than the file's.
    """
    found = _untuned(base, prompt, settings)
    assert found.adapted is not None
    about = learned_key(base, photos, prompt, settings)
    if _has_learned(path, about):
        load_adapter(path, found.adapted)
        say(f"{printable(path)}: the prior has learned these photos before")
        return found
    if resumed and path.is_file():
        raise UserError(
            f"--resume: {printable(path)} was learned from other photos or by another prior than these; put them back, "
            "or give another --out"
        )

    def announce(seconds: float) -> None:
        if seconds >= SAID_FROM_S:
            say(f"--photos: the prior learns the object in {settings.steps} steps: about {duration(seconds)}")

    with bar("learning", settings.steps) as advance:
        _learn(found, photos, prompt, settings, advance, announce)
    save_adapter(path, found.adapted, about)
    return found


def learned_key(base: DiffusionPrior, photos: Photos, prompt: str, settings: TuningSettings) -> dict[str, Any]:
    """What decides what is learned, as JSON values: the photos, the words, the settings, the prior and its images."""
    digest = hashlib.sha256()
    for image in photos.images:
        digest.update(f"{tuple(image.shape)}".encode() + image.contiguous().numpy().tobytes())
    return {
        "photos": digest.hexdigest(),
        "prompt": subject_words(prompt),
        "tuning": asdict(settings),
        "prior": weights_key(base),
        "resolution": base.resolution,
    }


def _has_learned(path: Path, about: dict[str, Any]) -> bool:
    """Whether the header of a file says what `learned_key` says; False for a file that is damaged, or no adapter."""
    if not path.is_file():
        return False
    try:
        _, header = load_tensors(path, "adapter")
    except UserError:
        return False
    return all(header.get(name) == value for name, value in about.items())


def _untuned(base: DiffusionPrior, prompt: str, settings: TuningSettings) -> TunedPrior:
    """With a new adapter, which starts as an exact no-op; one that the prior had before is taken off."""
    words = subject_words(prompt)
    plain = _without_control(base)
    adapted = new_lora(plain, SUBJECT, "--photos", rank=settings.rank, seed=settings.seed)
    return TunedPrior(base, answers_with(base, adapted, SUBJECT), words, adapted)


def _learn(
    found: TunedPrior,
    photos: Photos,
    prompt: str,
    settings: TuningSettings,
    progress: Callable[[], None],
    estimated: Callable[[float], None] | None,
) -> None:
    """Train the adapter of a prior."""
    adapted = found.adapted
    assert adapted is not None, "a prior with an adapter"
    generator = torch.Generator().manual_seed(settings.seed)
    start = time.perf_counter()
    subject = subject_of(found.base, photos, prompt, settings, generator)
    synchronize(found.base.device)
    made = time.perf_counter() - start
    options: dict[str, Any] = {"batch": settings.batch, "class_weight": settings.class_weight}
    if estimated is not None:
        elsewhere = torch.Generator().manual_seed(settings.seed)
        seconds = step_seconds(
            lambda: dreambooth_loss(adapted.prior, subject, elsewhere, **options).backward(), found.base.device
        )
        estimated(made + settings.steps * seconds)
    train_dreambooth(
        adapted,
        subject,
        generator,
        steps=settings.steps,
        rate=settings.rate,
        report=lambda step, loss: progress(),
        **options,
    )


def _without_control(base: DiffusionPrior) -> DiffusionPrior:
    return base if base.module is None else base.with_network(build_network(base.module))


@torch.no_grad()
def subject_of(
    base: DiffusionPrior, photos: Photos, prompt: str, settings: TuningSettings, generator: torch.Generator
) -> Subject:
    """The photos as the prior sees them, and its own images of their class, made without any adapter."""
    prior = _without_control(base)
    rng = np.random.default_rng(settings.seed)
    images = framed_photos(photos, prior.resolution, settings.variants, rng) * 2 - 1
    x = torch.cat([prior.to_prior(part.to(prior.device)) for part in images.split(settings.batch)])
    text, class_text, empty = (prior.embed([said]) for said in (subject_words(prompt), prompt, ""))
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
