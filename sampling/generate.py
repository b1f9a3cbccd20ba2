"""Styles and images of seeds."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from networks.generator import Generator
from rendering.camera import Cameras
from rendering.images import LIGHT_BACKGROUND, preview_images
from rendering.lighting import Shading, Vector
from sampling.latents import latents

# Samples rendered at once: enough to use all cores, few enough to need little memory.
CHUNK = 8


def preview_shading(shading: str | None) -> Shading:
    """How to show a network's colors, from the "shading" in its file's header: shaded colors are not lit again.

    A header without the entry is of a network that was trained on base colors.
    """
    return "soft" if shading in (None, "albedo", "normals") else "albedo"


@torch.no_grad()
def render_styles(
    generator: Generator,
    w_geo: Tensor,
    w_tex: Tensor,
    cameras: Cameras,
    resolution: int | None = None,
    *,
    shading: Shading = "soft",
    background: Vector = LIGHT_BACKGROUND,
) -> np.ndarray:
    """Images of styles (w_geo, w_tex) [B, ...] by all N cameras: [B, N, R, R, 3] uint8.

    shading: "albedo" for a network whose colors hold light already. background: sRGB in [0, 1].
    """
    config = generator.config
    images = []
    for geo, tex in zip(w_geo.split(CHUNK), w_tex.split(CHUNK), strict=True):
        geometry_planes, texture_planes = generator.planes(geo, tex)
        images.append(
            preview_images(
                generator.surface(geometry_planes, geo).mesh,
                partial(generator.materials, texture_planes, tex),
                Cameras.cat([cameras] * len(geo)).to(w_geo.device),
                resolution or config.data.resolution,
                shading=shading,
                background=background,
                supersample=config.rendering.supersample,
                backend=config.rendering.backend,
            )
        )
    stacked = np.concatenate(images)
    return stacked.reshape(-1, len(cameras), *stacked.shape[1:])


def class_labels(classes: int, seeds: Sequence[int], labels: int | Sequence[int] | None = None) -> list[int] | None:
    """The class of each seed, for a network of some number of classes; None for an unconditional one.

    labels: one class for all seeds, or one each; None takes the classes in turn: seed modulo the number of classes.
    ValueError for labels of an unconditional network, too few or too many, or out of range.
    """
    if not classes:
        if labels is not None:
            raise ValueError("expected no labels: the network is unconditional")
        return None
    if labels is None:
        return [seed % classes for seed in seeds]
    each = [labels] * len(seeds) if isinstance(labels, int) else [int(label) for label in labels]
    if len(each) != len(seeds) or not all(0 <= label < classes for label in each):
        raise ValueError(f"expected {len(seeds)} labels from 0 to {classes - 1}, got {each}")
    return each


@torch.no_grad()
def styles(
    generator: Generator, seeds: Sequence[int], truncation: float, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Styles (w_geo, w_tex) of seeds at truncation ψ (1 = the learned distribution, 0 = its mean).

    A conditional network shows its classes in turn: seed modulo the number of classes.
    """
    z_geo, z_tex = latents(seeds, generator.config.mapping.z_dim, device)
    of_seeds = class_labels(generator.config.classes, seeds)
    labels = None if of_seeds is None else torch.tensor(of_seeds, device=device)
    return generator.map(z_geo, z_tex, truncation=truncation, labels=labels)
