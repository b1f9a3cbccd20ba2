"""Seconds and memory of a distillation step with a prior of Stable Diffusion 1's size and random weights.

    python -m benchmarks.guidance --device cuda [--method vsd] [--resolution 512] [--batch 1]

Neither depends on what a network has learned, so no weights are needed. threestudio publishes 6 GB for SDS and 30 GB
for VSD at 512². It needs diffusers and peft: pip install -c constraints.txt diffusers transformers peft.
"""

import json
import statistics
import time
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.ops import machine
from guidance.flow_distillation import rfds
from guidance.lora import AdaptedPrior, add_lora
from guidance.priors.families import build_network
from guidance.priors.latents import build_decode, build_encode
from guidance.priors.prior import DiffusionPrior, Embeddings, NoiseLevels
from guidance.schedules import FULL_RANGE, draw_times
from guidance.score_distillation import as_loss, asd, dds, sds
from guidance.variational import follower_loss, vsd
from torch_utils.process import peak_memory_mb

METHODS = ("sds", "dds", "asd", "vsd", "rfds")
# UNet and autoencoder of Stable Diffusion 1, and a pair of the same layout that a test can afford.
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 64, "attention_head_dim": 8, "cross_attention_dim": 768},
    "tiny": {
        "sample_size": 8, "attention_head_dim": 4, "cross_attention_dim": 16, "block_out_channels": (8, 16),
        "norm_num_groups": 4, "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
}  # fmt: skip
CHANNELS: dict[str, tuple[int, ...]] = {"sd1": (128, 256, 512, 512), "tiny": (8, 8, 8, 8)}
TOKENS = 77


def random_prior(size: str, resolution: int, device: torch.device, dtype: torch.dtype, flow: bool) -> DiffusionPrior:
    """A latent prior with random weights; its prompts are random embeddings."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    channels = CHANNELS[size]
    vae = AutoencoderKL(
        block_out_channels=channels, layers_per_block=2 if size == "sd1" else 1, latent_channels=4,
        norm_num_groups=32 if size == "sd1" else 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    unet: Any = UNet2DConditionModel(**UNETS[size])
    for part in (vae, unet):
        part.to(device, dtype).eval().requires_grad_(False)
    width = unet.config.cross_attention_dim
    alphas = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, device=device).square()).cumprod(0)
    return DiffusionPrior(
        network=build_network(unet), prediction_type="flow" if flow else "epsilon",
        levels=NoiseLevels(None if flow else alphas),
        embed=lambda prompts: Embeddings({"text": torch.randn(len(prompts), TOKENS, width, device=device)}),
        encode=build_encode(vae), decode=build_decode(vae), pixel_space=False, resolution=resolution, factor=8,
        channels=4, device=device, dtype=dtype, module=unet,
    )  # fmt: skip


def one_step(
    method: str, prior: DiffusionPrior, follower: AdaptedPrior | None, images: Tensor, generator: torch.Generator
) -> None:
    """Images to a gradient on them, and for VSD a step of the follower."""
    text, empty = prior.embed(["a chair"]), prior.embed([""])
    x = prior.to_prior(images)
    t = draw_times(len(x), FULL_RANGE, generator).to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x)
    if method == "sds":
        gradient = sds(prior, x, text, empty, t, noise)
    elif method == "dds":
        gradient = dds(prior, x, x.detach() * 0.9, text, text, empty, t, noise)
    elif method == "asd":
        gradient = asd(prior, x, text, empty, t, noise, torch.rand(len(x), generator=generator).to(x))
    elif method == "rfds":
        gradient = rfds(prior, x, text, empty, t, noise)
    else:
        assert follower is not None
        camera = torch.randn(len(x), 16, generator=generator).to(x)
        gradient = vsd(prior, follower.prior, x, text, empty, t, noise, camera=camera)
        follower_loss(follower, x, text, generator, camera=camera).backward()
    as_loss(x, gradient).backward()


def measure(
    method: str, size: str, resolution: int, batch: int, rounds: int, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Median seconds of a step after the first, and peak memory of the process or the card."""
    generator = torch.Generator().manual_seed(0)
    prior = random_prior(size, resolution, device, dtype, flow=method == "rfds")
    follower = add_lora(prior, "follower", camera=True) if method == "vsd" else None
    optimizer = None if follower is None else follower.optimizer()
    images = torch.zeros(batch, 3, resolution, resolution, device=device, requires_grad=True)
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        one_step(method, prior, follower, images, generator)
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[1:]), "peak_gb": peak_memory_mb(device) / 1024}


@click.command()
@click.option("--method", type=click.Choice(METHODS), default="sds", show_default=True)
@click.option("--size", type=click.Choice(list(UNETS)), default="sd1", show_default=True)
@click.option("--resolution", default=512, show_default=True, help="Side of the images, px.")
@click.option("--batch", default=1, show_default=True, help="Images a step.")
@click.option("--rounds", default=5, show_default=True, help="The median of so many steps.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def main(method: str, size: str, resolution: int, batch: int, rounds: int, device: str) -> None:
    """Measure one distillation method."""
    where = torch.device(device)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    result = measure(method, size, resolution, batch, rounds, where, dtype)
    facts = {**machine(where), "method": method, "size": size, "resolution": resolution, "batch": batch}
    click.echo(json.dumps({**facts, **{name: round(value, 4) for name, value in result.items()}}, indent=1))


if __name__ == "__main__":
    main()
