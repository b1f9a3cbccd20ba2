"""Small networks on two numbers, and their training."""

import torch
from torch import Tensor, nn

from guidance.denoising import denoising_loss
from guidance.priors.latents import same
from guidance.priors.prior import DiffusionPrior, Embeddings, NoiseLevels
from guidance.score_matching import GaussianMixture

WIDTH = 64
BATCH = 256


def perceptron(inputs: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
        nn.Linear(WIDTH, 2),
    )  # fmt: skip


class LevelNetwork(nn.Module):
    """s(x, σ): the network's answer divided by σ, as scores grow when the noise shrinks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron(3)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        scale = (1 + sigma.square()).sqrt()[:, None]
        return self.layers(torch.cat([x / scale, sigma.log()[:, None]], 1)) / sigma[:, None]


class NoiseNetwork(nn.Module):
    """ε̂(x_t, t) on images of two channels and one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron(5)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        time = timestep.float() / 1000
        features = torch.stack([time, (torch.pi * time).sin(), (torch.pi * time).cos()], 1)
        return self.layers(torch.cat([x_t.flatten(1), features], 1))[:, :, None, None]


def point_prior(network: nn.Module) -> DiffusionPrior:
    """A diffusion prior whose images are points: two channels, one pixel, no text. DDPM's linear schedule."""
    betas = torch.linspace(1e-4, 0.02, 1000)
    return DiffusionPrior(
        network=lambda x_t, timestep, _: network(x_t, timestep), prediction_type="epsilon",
        levels=NoiseLevels((1 - betas).cumprod(0)), embed=lambda prompts: no_text(), encode=same, decode=same,
        pixel_space=False, resolution=1, channels=2, device=torch.device("cpu"), dtype=torch.float32, module=network,
    )  # fmt: skip


def no_text() -> Embeddings:
    return Embeddings({"text": torch.zeros(1, 1, 1)})


def train(network: nn.Module, loss_of, density: GaussianMixture, steps: int, seed: int, rate: float = 2e-3) -> None:
    """Adam with the rate going to zero. loss_of(x [B, 2], generator) → loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = loss_of(density.sample(BATCH, generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def ddpm_loss(prior: DiffusionPrior, x: Tensor, generator: torch.Generator) -> Tensor:
    """`guidance.denoising.denoising_loss` at random times, which also trains LoRA and DreamBooth."""
    t = torch.rand(len(x), generator=generator)
    image = x[:, :, None, None]
    return denoising_loss(prior, image, no_text(), t, torch.randn(image.shape, generator=generator))
