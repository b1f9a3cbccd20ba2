"""Train the diffusion priors: a text-conditional UNet on pixels or latents (Ho et al. 2020), and the autoencoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from dataset_tool.procedural.captions import caption
from guidance.denoising import denoising_loss
from guidance.priors.families import build_network
from guidance.priors.folder import noise_levels
from guidance.priors.latents import build_decode, build_encode, same
from guidance.priors.load import vae_factor
from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.sampler import sample_prior
from studies.one_cycle import train_one_cycle
from studies.text_priors.data import SIDE, Captioned, Shot, over
from studies.text_priors.models import TEXT_LENGTH

BATCH = 24
LEARNING_RATE = 2e-3
# Share of captions left empty, for classifier-free guidance (Ho & Salimans 2022).
EMPTY = 0.12
AVERAGE = 0.998
KL_WEIGHT = 1e-5
# The background of the diffusion priors' images: no finish has this gray.
BACKGROUND = 0.7


def build_prior(unet: Any, scheduler: Any, text_encoder: Any, tokenizer: Any, vae: Any = None) -> DiffusionPrior:
    """What is being trained, as the distillation losses see it. vae: None for a UNet on pixels.

    Texts are padded to the full length, as diffusers' pipelines do.
    """
    device = torch.device("cpu")
    kind, levels = noise_levels(Path("the scheduler"), scheduler, device)
    factor = 1 if vae is None else vae_factor(vae)

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> Embeddings:
        padded = {"padding": "max_length", "max_length": TEXT_LENGTH, "truncation": True}
        tokens = tokenizer(list(texts), return_tensors="pt", **padded)
        return Embeddings({"text": text_encoder(tokens["input_ids"]).last_hidden_state})

    return DiffusionPrior(
        network=build_network(unet),
        prediction_type=kind,
        levels=levels,
        embed=embed,
        encode=same if vae is None else build_encode(vae),
        decode=same if vae is None else build_decode(vae),
        pixel_space=vae is None,
        resolution=unet.config.sample_size * factor,
        factor=factor,
        channels=unet.config.in_channels,
        device=device,
        dtype=torch.float32,
        module=unet,
    )


def drawn_images(data: Captioned, count: int, side: int, generator: torch.Generator) -> tuple[Tensor, list[Shot]]:
    """Random images [count, 3, side, side] in [−1, 1], half of them mirrored, and what they show."""
    rows = torch.randint(len(data.shots), (count,), generator=generator)
    rgba = data.rgba[rows]
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = over(torch.where(mirrored[:, None, None, None], rgba.flip(3), rgba), BACKGROUND)
    images = images if side == SIDE else avg_pool2d(images, SIDE // side)
    return images, [data.shots[row] for row in rows.tolist()]


def drawn_captions(shots: Sequence[Shot], rng: np.random.Generator) -> list[str]:
    """A caption of each shot, some of them empty."""
    return ["" if rng.random() < EMPTY else caption(s.category, s.kind, s.finish, rng) for s in shots]


def train_unet(prior: DiffusionPrior, data: Captioned, steps: int, seed: int, batch: int = BATCH) -> list[float]:
    """Train the prior's network on `steps` minibatches, and leave the running average of its weights; returns the
    losses.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    unet: Any = prior.module
    levels = unet_levels(prior)
    average = torch.optim.swa_utils.AveragedModel(
        unet, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )

    def draw_loss() -> Tensor:
        images, shots = drawn_images(data, batch, prior.resolution, generator)
        with torch.no_grad():
            x = prior.encode(images)
        captions = prior.embed(drawn_captions(shots, rng))
        t = torch.randint(levels, (batch,), generator=generator) / levels
        return denoising_loss(prior, x, captions, t, torch.randn(x.shape, generator=generator))

    def update_average(step: int) -> None:
        if step >= steps // 4:
            average.update_parameters(unet)

    losses = train_one_cycle(
        unet,
        draw_loss,
        "training the UNet",
        steps,
        rate=LEARNING_RATE,
        weight_decay=0.01,
        rise=0.08,
        largest_norm=1.0,
        after=update_average,
    )
    unet.load_state_dict(average.module.state_dict())
    return losses


def unet_levels(prior: DiffusionPrior) -> int:
    """Number of steps of the prior's schedule."""
    assert prior.levels.alphas_cumprod is not None, "the included priors are variance-preserving"
    return len(prior.levels.alphas_cumprod)


def train_vae(vae: Any, data: Captioned, steps: int, seed: int) -> list[float]:
    """Train the autoencoder on `steps` minibatches, and set its scaling factor; returns the losses."""
    generator = torch.Generator().manual_seed(seed)

    def draw_loss() -> Tensor:
        images, _ = drawn_images(data, 16, SIDE, generator)
        latent = vae.encode(images).latent_dist
        found = vae.decode(latent.sample(generator)).sample
        return l1_loss(found, images) + mse_loss(found, images) + KL_WEIGHT * latent.kl().mean()

    losses = train_one_cycle(vae, draw_loss, "training the autoencoder", steps, rate=2e-3, weight_decay=0.0, rise=0.05)
    with torch.no_grad():
        images, _ = drawn_images(data, 256, SIDE, generator)
        scale = 1 / float(vae.encode(images).latent_dist.mean.std())
    vae.register_to_config(scaling_factor=round(scale, 5))
    return losses


def sampled_images(prior: DiffusionPrior, texts: Sequence[str], seed: int = 0) -> Tensor:
    """A sample for each text: [N, 3, S, S] in [−1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return prior.decode(sample_prior(prior, prior.embed(texts), prior.embed([""]), generator, scale=4.0, steps=25))
