"""Small networks that the tests share."""

import math

import torch

from configs.loader import build_config
from configs.schema import Config
from rendering.camera import Cameras


def tiny_config(**sections) -> Config:
    """A configuration that builds and runs in milliseconds; sections override single fields."""
    values = {
        "data": {"resolution": 16},
        "mapping": {"z_dim": 12, "w_dim": 16, "layers": 2, "lr_multiplier": 0.1},
        "backbone": {"plane_resolution": 8, "plane_channels": 5, "channel_base": 128, "channel_max": 16},
        "geometry": {"cells": 6, "hidden": 8, "sphere_radius": 0.3},
        "texture": {"hidden": 8, "features": 6},
        "discriminator": {"channel_base": 128, "channel_max": 16, "mask_channel_base": 64, "mapping_layers": 2},
        "training": {"precision": "fp32", "batch": 4},
    }
    for name, changes in sections.items():
        values[name] = {**values.get(name, {}), **changes} if isinstance(changes, dict) else changes
    return build_config(values, "test")


def latents(config: Config, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """z_geo, z_tex [count, z_dim]."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, count, config.mapping.z_dim, generator=generator)
    return z[0], z[1]


def cameras(count: int, seed: int = 0) -> Cameras:
    """Cameras around the object."""
    generator = torch.Generator().manual_seed(seed)
    azimuth, elevation = torch.rand(2, count, generator=generator) * torch.tensor([[2 * math.pi], [0.5]])
    return Cameras.orbit(azimuth, elevation, 1.2, math.radians(49.13))
