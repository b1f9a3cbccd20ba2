"""A prior around a tiny UNet without text encoder and VAE, for what needs real attention layers and weights."""

import hashlib
from typing import Any

import torch

from guidance.priors.families import build_network
from guidance.priors.latents import same
from guidance.priors.prior import DiffusionPrior, Embeddings
from tests.guidance.gaussian_prior import vp_levels
from tests.guidance.tiny_priors import HIDDEN, tiny_unet, widen


def unet_prior(channels: int = 3, seed: int = 0, **options: Any) -> DiffusionPrior:
    """ε prediction on 8 × 8 pixels; texts are two tokens of random numbers."""
    torch.manual_seed(seed)
    unet = tiny_unet(channels, **options)
    widen(unet)
    unet.eval().requires_grad_(False)
    return DiffusionPrior(
        build_network(unet), "epsilon", vp_levels(), embed=lambda prompts: text(len(prompts)), encode=same, decode=same,
        pixel_space=True, resolution=8, channels=channels, device=torch.device("cpu"), dtype=torch.float32, module=unet,
    )  # fmt: skip


def text(count: int = 1, seed: int = 5) -> Embeddings:
    """Embeddings of `count` different texts."""
    generator = torch.Generator().manual_seed(seed)
    return Embeddings({"text": torch.randn(count, 2, HIDDEN, generator=generator)})


def base_hash(module: torch.nn.Module) -> str:
    """Of all weights but the adapters'."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if ".lora_" not in name:
            digest.update(name.replace(".base_layer", "").encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
