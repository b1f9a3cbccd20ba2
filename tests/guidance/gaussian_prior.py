"""A prior whose data are a Gaussian N(mean, std²), so that every score is known in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.priors.latents import same
from guidance.priors.prior import DiffusionPrior, Embeddings, NoiseLevels, PredictionType


def vp_levels(steps: int = 1000) -> NoiseLevels:
    """The schedule of Stable Diffusion."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps).square()
    return NoiseLevels((1 - betas).cumprod(0))


def gaussian(mean: float | Sequence[float], std: float = 0.3) -> Embeddings:
    """The "prompts" of `gaussian_prior`: one mean each."""
    means = torch.as_tensor([mean] if isinstance(mean, float | int) else list(mean), dtype=torch.float32)
    return Embeddings({"mean": means, "std": torch.full_like(means, std)})


def posterior(x_t: Tensor, alpha: Tensor, sigma: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Closed-form (ε̂, x̂0) of x_t under N(mean, std²): the score is −(x_t − α·mean) / (α²std² + σ²)."""
    variance = alpha.square() * std.square() + sigma.square()
    offset = (x_t - alpha * mean) / variance
    return sigma * offset, mean + alpha * std.square() * offset


def gaussian_prior(
    kind: PredictionType = "epsilon", levels: NoiseLevels | None = None, *, pixel_space: bool = True, channels: int = 1
) -> DiffusionPrior:
    """The exact denoiser of `gaussian(…)` with outputs of one kind; levels: straight lines for a flow."""
    levels = levels or (NoiseLevels() if kind == "flow" else vp_levels())

    def network(x_t: Tensor, timestep: Tensor, embeddings: Embeddings, **_: object) -> Tensor:
        time = timestep.float() / 1000 if levels.is_flow else timestep.float() / len(levels.alphas_cumprod)
        alpha, sigma = (value[:, None, None, None] for value in levels.alpha_sigma(time))
        mean, std = (embeddings.tensors[name][:, None, None, None] for name in ("mean", "std"))
        eps, x0 = posterior(x_t, alpha, sigma, mean, std)
        return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0, "flow": eps - x0}[kind]

    return DiffusionPrior(
        network, kind, levels, embed=lambda prompts: gaussian([float(p or 0) for p in prompts]), encode=same,
        decode=same, pixel_space=pixel_space, resolution=4, channels=channels, device=torch.device("cpu"),
        dtype=torch.float32,
    )  # fmt: skip
