"""Train the diffusion priors: a text-conditional UNet on pixels or latents (Ho et al. 2020), and the autoencoder."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from dataset_tool.procedural.captions import caption
from studies.text_priors.data import SIDE, Captioned, Shot, over
from studies.text_priors.models import TEXT_LENGTH
from torch_utils.progress import progress_bar

BATCH = 24
LEARNING_RATE = 2e-3
# Share of captions left empty, for classifier-free guidance (Ho & Salimans 2022).
EMPTY = 0.12
AVERAGE = 0.998
KL_WEIGHT = 1e-5
# The background of the diffusion priors' images: no finish has this gray.
BACKGROUND = 0.7


def embed(text_encoder: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Embeddings [B, TEXT_LENGTH, D] of texts, padded to the full length as diffusers' pipelines do."""
    found = tokenizer(list(texts), padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return text_encoder(found["input_ids"]).last_hidden_state


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


def target_of(scheduler: Any, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should give: the noise, or v (Salimans & Ho 2022), as the scheduler's configuration says."""
    return scheduler.get_velocity(x, noise, t) if scheduler.config.prediction_type == "v_prediction" else noise


def train_unet(
    unet: Any,
    scheduler: Any,
    text_encoder: Any,
    tokenizer: Any,
    data: Captioned,
    steps: int,
    side: int,
    seed: int,
    encode: Callable[[Tensor], Tensor] = lambda images: images,
    batch: int = BATCH,
) -> list[float]:
    """Train on `steps` minibatches and leave the running average of the weights in `unet`; returns the losses.

    encode: images [B, 3, side, side] → what the UNet sees.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(unet.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.08)
    average = torch.optim.swa_utils.AveragedModel(
        unet, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    losses = []
    unet.train()
    with progress_bar("training the UNet", steps) as advance:
        for step in range(steps):
            images, shots = drawn_images(data, batch, side, generator)
            x = encode(images)
            condition = embed(text_encoder, tokenizer, drawn_captions(shots, rng))
            t = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=generator)
            noise = torch.randn(x.shape, generator=generator)
            found = unet(scheduler.add_noise(x, noise, t), t, encoder_hidden_states=condition).sample
            loss = mse_loss(found, target_of(scheduler, x, noise, t))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step >= steps // 4:
                average.update_parameters(unet)
            losses.append(loss.item())
            advance()
    unet.load_state_dict(average.module.state_dict())
    unet.eval()
    return losses


def train_vae(vae: Any, data: Captioned, steps: int, seed: int) -> list[float]:
    """Train the autoencoder on `steps` minibatches, and set its scaling factor; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(vae.parameters(), 2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)
    losses = []
    vae.train()
    with progress_bar("training the autoencoder", steps) as advance:
        for _ in range(steps):
            images, _ = drawn_images(data, 16, SIDE, generator)
            latent = vae.encode(images).latent_dist
            found = vae.decode(latent.sample(generator)).sample
            loss = l1_loss(found, images) + mse_loss(found, images) + KL_WEIGHT * latent.kl().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            advance()
    vae.eval()
    with torch.no_grad():
        images, _ = drawn_images(data, 256, SIDE, generator)
        scale = 1 / float(vae.encode(images).latent_dist.mean.std())
    vae.register_to_config(scaling_factor=round(scale, 5))
    return losses


@torch.no_grad()
def sample_images(
    unet: Any,
    scheduler: Any,
    condition: Tensor,
    empty: Tensor,
    *,
    guidance: float = 4.0,
    steps: int = 25,
    seed: int = 0,
    clamp: bool = True,
) -> Tensor:
    """Deterministic samples (DDIM) of the UNet for embeddings [B, L, D]; empty [1, L, D]: of the empty text."""
    config, count = unet.config, len(condition)
    shape = (count, config.in_channels, config.sample_size, config.sample_size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    both = torch.cat([empty.expand(count, -1, -1), condition])
    times = torch.linspace(scheduler.config.num_train_timesteps - 1, 0, steps).long()
    for k, t in enumerate(times.tolist()):
        bar = scheduler.alphas_cumprod[t]
        alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        free, conditioned = unet(torch.cat([x, x]), t, encoder_hidden_states=both).sample.chunk(2)
        out = free + guidance * (conditioned - free)
        velocity = scheduler.config.prediction_type == "v_prediction"
        clean = alpha * x - sigma * out if velocity else (x - sigma * out) / alpha
        clean = clean.clamp(-1, 1) if clamp else clean
        noise = (x - alpha * clean) / sigma
        if k + 1 == steps:
            return clean
        bar = scheduler.alphas_cumprod[times[k + 1]]
        x = bar.sqrt() * clean + (1 - bar).sqrt() * noise
    return x
