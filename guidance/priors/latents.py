"""Between images and the space of a prior: through its VAE, or unchanged for a pixel model."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LOG = logging.getLogger("tetragan guidance")


def build_encode(vae: Any) -> Callable[[Tensor], Tensor]:
    """encode(images [B, 3, H, W] in [−1, 1]) → latents [B, C, h, w] fp32, with gradient.

    The mean of the VAE's distribution, shifted and scaled as the folder says; the same image always gives the same
    latents. A VAE in half precision that returns NaN is raised to float32 for good, and that is said once.
    """

    unscaled = build_condition(vae)

    def encode(images: Tensor) -> Tensor:
        return (unscaled(images) - (_setting(vae, "shift_factor") or 0.0)) * _setting(vae, "scaling_factor")

    return encode


def build_condition(vae: Any) -> Callable[[Tensor], Tensor]:
    """As `build_encode`, without shift and scale."""

    def encode(images: Tensor) -> Tensor:
        latents = _mean(vae, images)
        if vae.dtype != torch.float32 and not torch.isfinite(latents).all():
            _raise_precision(vae)
            latents = _mean(vae, images)
        return latents.float()

    return encode


def build_decode(vae: Any) -> Callable[[Tensor], Tensor]:
    """decode(latents [B, C, h, w]) → images [B, 3, H, W] fp32, nominally in [−1, 1], with gradient."""

    def decode(latents: Tensor) -> Tensor:
        unscaled = latents / _setting(vae, "scaling_factor") + (_setting(vae, "shift_factor") or 0.0)
        images = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0]
        if vae.dtype != torch.float32 and not torch.isfinite(images).all():
            _raise_precision(vae)
            images = vae.decode(unscaled.float(), return_dict=False)[0]
        return images.float()

    return decode


def same(images: Tensor) -> Tensor:
    """The space of a pixel model is that of images."""
    return images


def _mean(vae: Any, images: Tensor) -> Tensor:
    encoded = vae.encode(images.to(vae.dtype), return_dict=False)[0]
    return encoded.mode() if hasattr(encoded, "mode") and not isinstance(encoded, Tensor) else encoded


def _setting(vae: Any, name: str) -> Any:
    return getattr(vae.config, name, None)


def _raise_precision(vae: Any) -> None:
    _LOG.warning("the prior's VAE returned NaN in %s; it runs in float32 from here on", str(vae.dtype).split(".")[-1])
    vae.float()
