"""Prompts that name the view, negative prompts (Perp-Neg), and embeddings kept on disk."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings, Prediction, join_embeddings, predict_each
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError
from torch_utils.files import make_folder

VIEWS = ("front", "side", "back", "overhead")
_FRONT, _SIDE, _BACK, _OVERHEAD = range(4)
_OVERHEAD_RAD = math.radians(60)
_HALF_FRONT_RAD = math.radians(45)


def view_prompts(prompt: str) -> list[str]:
    """The prompt with ", front view", ", side view", ", back view" and ", overhead view". UserError where empty."""
    return [f"{checked_prompt(prompt)}, {view} view" for view in VIEWS]


def checked_prompt(prompt: str) -> str:
    """The prompt without space around it; UserError where nothing is left."""
    if not prompt.strip():
        raise UserError("the prompt is empty; say what the object should become, such as 'a red chair'")
    return prompt.strip()


def check_understood(prompt: str, source: str, target: Embeddings, now: Embeddings) -> None:
    """UserError where a prior embeds a prompt, as `target`, exactly as the source, as `now`."""
    if all(torch.equal(value, now.tensors[name]) for name, value in target.tensors.items()):
        raise UserError(
            f"--prompt {prompt!r} and --source {source!r} are the same to this prior, which cuts long prompts off and "
            "may not know the words; say the difference first, in other words"
        )


def view_indices(azimuth_rad: Tensor, elevation_rad: Tensor) -> Tensor:
    """Which of `VIEWS` each camera [B] sees: overhead above 60°, front and back within 45°, else side.

    Source: Poole et al. 2023 (DreamFusion), view-dependent prompts.
    """
    turn = _turn(azimuth_rad).abs()
    index = torch.full_like(turn, _SIDE, dtype=torch.long)
    index[turn <= _HALF_FRONT_RAD] = _FRONT
    index[turn >= math.pi - _HALF_FRONT_RAD] = _BACK
    index[elevation_rad > _OVERHEAD_RAD] = _OVERHEAD
    return index


def _turn(azimuth_rad: Tensor) -> Tensor:
    """The azimuth in [−π, π)."""
    return torch.remainder(azimuth_rad + math.pi, 2 * math.pi) - math.pi


def perpendicular(negative: Tensor, positive: Tensor) -> Tensor:
    """The part of `negative` [B, …] that is perpendicular to `positive` [B, …], sample by sample.

    Source: Armandpour et al. 2023 (Perp-Neg), eq. 8.
    """
    first, second = negative.flatten(1), positive.flatten(1)
    share = (first * second).sum(1) / second.square().sum(1).clamp_min(1e-12)
    return negative - share.view(-1, *(1 for _ in negative.shape[1:])) * positive


def perp_neg_prediction(
    prior: DiffusionPrior,
    x_t: Tensor,
    t: Tensor,
    positive: Embeddings,
    unconditional: Embeddings,
    negatives: Sequence[Embeddings],
    weights: Tensor,
    scale: float,
    **conditions: Any,
) -> Prediction:
    """ε_∅ + s(Δ_pos + Σ w_k Δ_k^⊥), Δ = ε(·) − ε_∅, Δ_k^⊥ perpendicular to Δ_pos. weights [B, K] ≤ 0."""
    first, empty, *others = predict_each(prior, x_t, t, [positive, unconditional, *negatives], **conditions)
    towards = first.eps - empty.eps
    total = towards
    for k, other in enumerate(others):
        total = total + weights[:, k, None, None, None] * perpendicular(other.eps - empty.eps, towards)
    eps = empty.eps + scale * total
    alpha, sigma = prior.alpha_sigma(t)
    return Prediction(eps, (x_t - sigma * eps) / alpha)


@dataclass(frozen=True)
class ViewMixture:
    """Weights over `VIEWS` of each camera: positive [B, 4] sums to 1; negative [B, 4] ≤ 0 is for Perp-Neg."""

    positive: Tensor
    negative: Tensor


def _decay(constants: tuple[float, float, float], r: Tensor) -> Tensor:
    """a·exp(−b·r) + c, not below 0."""
    a, b, c = constants
    return (a * torch.exp(-b * r) + c).clamp_min(0)


def view_mixture(azimuth_rad: Tensor, elevation_rad: Tensor) -> ViewMixture:
    """Between two views, a mixture of their prompts, and the nearer views as negative ones. Cameras [B].

    From the front to the side the positive prompt is r·front + (1 − r)·side with r = 1 − |azimuth|/90°; from the side
    to the back likewise. The constants of the negative weights are those of threestudio.
    """
    quarter = _turn(azimuth_rad).abs() / (math.pi / 2)
    ahead = quarter <= 1
    r = torch.where(ahead, 1 - quarter, 2 - quarter).clamp(0, 1)
    zero = torch.zeros_like(r)
    front, side, back = (
        torch.where(ahead, r, zero),
        torch.where(ahead, 1 - r, r),
        torch.where(ahead, zero, 1 - r),
    )
    against_front = torch.where(ahead, _decay((4, 0.5, -2.426), r), _decay((1, 0.5, 0.967), r))
    against_side = torch.where(ahead, _decay((4, 0.5, -2.426), 1 - r), _decay((1, 0.5, -0.606), r))
    above = (elevation_rad > _OVERHEAD_RAD)[:, None]
    overhead = torch.zeros(len(r), 4, dtype=r.dtype, device=r.device)
    overhead[:, _OVERHEAD] = 1
    positive = torch.where(above, overhead, torch.stack([front, side, back, zero], 1))
    negative = torch.stack([-against_front, -against_side, zero, zero], 1)
    return ViewMixture(positive, torch.where(above, torch.zeros_like(negative), negative))


def mixed_embeddings(embeddings: Embeddings, weights: Tensor) -> Embeddings:
    """Embeddings of K prompts mixed by weights [B, K] → B embeddings. Masks keep what any of the mixed prompts has."""
    mixed = {}
    for name, tensor in embeddings.tensors.items():
        if tensor.is_floating_point():
            mixed[name] = torch.einsum("bk,k...->b...", weights.to(tensor), tensor)
        else:
            used = (weights > 0).to(tensor.device)
            mixed[name] = torch.stack([tensor[row].amax(0) for row in used])
    return Embeddings(mixed)


def cached_embeddings(prior: DiffusionPrior, prompts: Sequence[str], folder: Path) -> Embeddings:
    """Embeddings of the prompts, from `folder` where a prior with the same text encoders has embedded them before.

    A file that cannot be read is made again. The text encoders of large priors take longer than a step of distillation.
    """
    parts = []
    for prompt in prompts:
        digest = hashlib.sha256(f"{prior.text_key()}\0{prompt}".encode()).hexdigest()
        path = folder / f"{digest[:32]}.safetensors"
        try:
            tensors, _ = load_tensors(path, kind="embeddings")
            parts.append(Embeddings({name: tensor.to(prior.device) for name, tensor in tensors.items()}))
        except UserError:
            embedded = prior.embed([prompt])
            save_tensors(make_folder(folder) / path.name, embedded.tensors, {"kind": "embeddings", "prompt": prompt})
            parts.append(embedded)
    return join_embeddings(parts)
