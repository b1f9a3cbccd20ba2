"""What guides an adaptation: a diffusion prior or one or two CLIPs, and the loss that they give."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.clip import TEMPLATES, Clip, load_clip, prompt_embedding
from guidance.clip_directional import directional_loss, summed_loss, text_direction
from guidance.priors.included import INCLUDED_PRIORS, prior_folder
from guidance.priors.prior import DiffusionPrior
from guidance.prompts import check_understood
from torch_utils.errors import UserError
from training.adapt.distillation import Texts, distillation, hifa_answer, prompt_texts
from training.adapt.follower import Follower, build_follower, vsd_loss
from training.adapt.prior import open_prior
from training.adapt.settings import AdaptSettings
from training.adapt.shift import Answer, Objective, Pair, distance_loss

# The included CLIP that only evaluates.
EVALUATION_CLIP = "clip-b"
_DTYPES = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Guide:
    """The opened prior: `diffusion`, or `clips`. evaluation: a CLIP that never guides, for the report."""

    diffusion: DiffusionPrior | None = None
    clips: tuple[Clip, ...] = ()
    evaluation: Clip | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user, one line each."""
        return () if self.diffusion is None else self.diffusion.notes

    def unknown_words(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """Words of prompts that the diffusion prior, or one of the CLIPs, does not know."""
        models = self.clips if self.diffusion is None else (self.diffusion,)
        text = " ".join(prompts)
        return tuple(dict.fromkeys(word for model in models for word in model.unknown_words(text)))


def open_guide(settings: AdaptSettings, device: torch.device) -> Guide:
    """What the settings name. UserError where it cannot be read, or cannot take their resolution."""
    evaluation = load_clip(prior_folder(settings.clip), device) if settings.clip else _included_evaluation(device)
    if settings.method == "clip":
        names = (settings.prior, *((settings.second_prior,) if settings.second_prior else ()))
        clips = tuple(load_clip(prior_folder(name), device) for name in names)
        return Guide(clips=clips, evaluation=evaluation)
    if settings.second_prior:
        raise UserError("--set second_prior: goes with --method clip, which may have two CLIPs")
    prior = open_prior(settings.prior, device, _DTYPES[settings.precision])
    prior.check_resolution(settings.resolution)
    return Guide(diffusion=prior, evaluation=evaluation)


def _included_evaluation(device: torch.device) -> Clip | None:
    folder = INCLUDED_PRIORS / EVALUATION_CLIP
    return load_clip(folder, device) if folder.is_dir() else None


def guide_objective(guide: Guide, settings: AdaptSettings, follower: Follower | None = None) -> Objective:
    """What the guide says of a pair by the settings' method, with what else must stay. follower: of the method vsd."""
    says = _clip_objective(guide.clips, settings) if guide.clips else _diffusion_objective(guide, settings, follower)

    def objective(pair: Pair, step: int) -> Answer:
        answer = says(pair, step)
        if "distances" not in settings.keep:
            return answer
        kept = settings.keep_weight * distance_loss(pair.images, pair.twin_images)
        return Answer(answer.loss + kept, answer.finite)

    return objective


def guide_follower(guide: Guide, settings: AdaptSettings) -> Follower | None:
    """A new follower for the method vsd; None for the others."""
    if settings.method != "vsd":
        return None
    assert guide.diffusion is not None, "a CLIP guides by its own objective"
    return build_follower(guide.diffusion, "--method vsd", settings.seed)


def _diffusion_objective(guide: Guide, settings: AdaptSettings, follower: Follower | None) -> Objective:
    prior = guide.diffusion
    assert prior is not None, "open_guide opens one of both"
    texts = prompt_texts(prior, settings.prompt, settings.source, settings.negative)
    check_understood(settings.prompt, settings.source, texts.target, texts.source)
    if follower is None:
        return lambda pair, step: diffusion_answer(prior, settings, pair, texts, step)

    def followed(pair: Pair, step: int) -> Answer:
        assert pair.cameras is not None, "pairs are drawn with their cameras"
        poses = pair.cameras.camera_to_world
        return Answer(
            *vsd_loss(follower, prior, pair.images, poses, texts, seed=settings.seed, step=step, scale=settings.scale)
        )

    return followed


def diffusion_answer(prior: DiffusionPrior, settings: AdaptSettings, pair: Pair, texts: Texts, step: int) -> Answer:
    """What a diffusion prior says of a pair's images under their texts, of one prompt or of one for each image."""
    assert settings.method not in ("clip", "vsd", "pgsd"), "these have objectives of their own"
    if settings.method == "hifa":
        progress = step / settings.steps
        return Answer(
            *hifa_answer(
                prior, pair.images, texts, progress=progress, seed=settings.seed, step=step, scale=settings.scale
            )
        )
    loss, finite = distillation(
        settings.method,
        prior,
        pair.images,
        pair.twin_images,
        texts,
        seed=settings.seed,
        step=step,
        scale=settings.scale,
    )
    return Answer(loss, finite)


def clip_directions(clips: tuple[Clip, ...], prompt: str, source: str) -> list[Tensor]:
    """The direction from the source to the prompt in the space of each CLIP, [D]. UserError where they embed alike."""
    found = []
    for clip in clips:
        source_texts, texts = (clip.embed_texts([t.format(words) for t in TEMPLATES]) for words in (source, prompt))
        try:
            found.append(text_direction(source_texts, texts))
        except ValueError:
            raise UserError(
                f"--prompt {prompt!r} and --source {source!r} are the same to this CLIP; it may not know the words"
            ) from None
    return found


def _clip_objective(clips: tuple[Clip, ...], settings: AdaptSettings) -> Objective:
    directions = clip_directions(clips, settings.prompt, settings.source)

    def objective(pair: Pair, step: int) -> Answer:
        losses = []
        for clip, direction in zip(clips, directions, strict=True):
            with torch.no_grad():
                before = clip.embed_images(pair.twin_images / 2 + 0.5)
            after = clip.embed_images(pair.images / 2 + 0.5)
            losses.append(directional_loss(after, before, direction))
        loss = summed_loss(losses)
        return Answer(loss, torch.isfinite(loss.detach()))

    return objective


@torch.no_grad()
def clip_scores(clip: Clip, images: Tensor, prompt: str, source: str) -> dict[str, float]:
    """Mean cosine of images [N, 3, R, R] in [−1, 1] with each of the two prompts. Reported, never aimed at."""
    embedded = clip.embed_images(images / 2 + 0.5)
    return {text: float((embedded @ prompt_embedding(clip, text)).mean()) for text in (prompt, source)}
