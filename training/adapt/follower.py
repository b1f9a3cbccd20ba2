"""Variational score distillation in an adaptation: a LoRA of the prior that follows the images being made.

The follower learns by one step for each of the generator's. Both losses are added, since no parameter has a gradient of
both; each has an optimizer of its own. Source: Wang et al. 2023 (ProlificDreamer).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from guidance.lora import AdaptedPrior, new_lora, takes_camera
from guidance.priors.prior import DiffusionPrior
from guidance.score_distillation import as_loss
from guidance.variational import follower_loss, vsd
from torch_utils.distributed import Ranks
from training.adapt.distillation import Texts, draw_noise
from training.adapt.loop import AdaptJob
from training.adapt.shift import StepResult
from training.optimizer import AdamSettings, GuardedAdam

NAME = "follower"
# As published: the rate, and the share of images whose camera it is not told.
RATE, CAMERA_DROPOUT = 1e-4, 0.1


@dataclass
class Follower:
    """adapted: the prior with the LoRA. adam: of its parameters."""

    adapted: AdaptedPrior
    adam: GuardedAdam


class Parameters:
    """Parameters by name as a part of a state."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = parameters

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors themselves."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy them."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])


def build_follower(prior: DiffusionPrior, option: str, seed: int, *, rank: int = 4, rate: float = RATE) -> Follower:
    """A new follower of a prior, an exact no-op at first; one that the prior had before is taken off.

    It is told the camera where the network has room for it. option: what needs it. UserError as `new_lora`.
    """
    adapted = new_lora(prior, NAME, option, rank=rank, camera=takes_camera(prior), seed=seed)
    return Follower(adapted, GuardedAdam(NAME, adapted.parameters, AdamSettings(rate, 0.9, 0.999), Ranks()))


def vsd_loss(
    follower: Follower,
    prior: DiffusionPrior,
    images: Tensor,
    camera_to_world: Tensor,
    texts: Texts,
    *,
    seed: int,
    step: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The loss of images [B, 3, R, R] in [−1, 1] plus that of the follower, and whether the prior's answer was finite.

    camera_to_world [B, 4, 4].
    """
    x = prior.to_prior(images, images.shape[-1])
    adapted, draws = follower.adapted, draw_noise(x, seed, step)
    camera = camera_to_world.flatten(1).to(x) if adapted.camera_embedding is not None else None
    empty = None if prior.embedded_guidance else texts.empty
    gradient = vsd(
        prior, adapted.prior, x, texts.target, empty, draws.t, draws.noise, camera=camera, scale=scale
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step + 500_000)
    learning = follower_loss(adapted, x.detach(), texts.target, generator, camera=camera, camera_dropout=CAMERA_DROPOUT)
    return as_loss(x, gradient) + learning, torch.isfinite(gradient).all()


def with_follower(job: AdaptJob, follower: Follower | None) -> AdaptJob:
    """A job whose follower learns with each step and belongs to its state."""
    if follower is None:
        return job

    def step(number: int) -> StepResult:
        result = job.step(number)
        follower.adam.step()
        return result

    def rehearse(number: int) -> None:
        job.rehearse(number)
        follower.adam.adam.zero_grad(set_to_none=True)

    parts = {**job.parts, NAME: Parameters(follower.adapted.parameters), f"{NAME} adam": follower.adam}
    return replace(job, parts=parts, step=step, rehearse=rehearse)
