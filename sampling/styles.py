"""Styles w of seeds: truncation with a cutoff, slots taken from another sample, and statistics of w.

A generator has two styles, w_geo [B, slots, w_dim] for shape and w_tex [B, slots, w_dim] for texture. The slots of each
go from coarse to fine: those of the backbone's blocks, then those of the layers that read the planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from networks.generator import Generator
from sampling.latents import latents
from torch_utils import seeding

# Latents that go through the mapping networks together.
BATCH = 1024


@dataclass(frozen=True)
class StyleStatistics:
    """Of the styles of shape or texture over random latents: mean and standard deviation of each number [w_dim]."""

    mean: Tensor
    std: Tensor


def labels_of_seeds(classes: int, seeds: Sequence[int], labels: int | Sequence[int] | None = None) -> list[int] | None:
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


def label_tensor(
    classes: int, seeds: Sequence[int], device: torch.device | str, labels: int | Sequence[int] | None = None
) -> Tensor | None:
    """`labels_of_seeds` as a tensor [B] int64, as `Generator.map` takes them."""
    of_seeds = labels_of_seeds(classes, seeds, labels)
    return None if of_seeds is None else torch.tensor(of_seeds, dtype=torch.int64, device=device)


@torch.no_grad()
def styles_of_seeds(
    generator: Generator, seeds: Sequence[int], truncation: float, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Styles (w_geo, w_tex) of seeds at truncation ψ (1 = the learned distribution, 0 = its mean).

    A conditional network shows its classes in turn: seed modulo the number of classes.
    """
    z_geo, z_tex = latents(seeds, generator.config.mapping.z_dim, device)
    labels = label_tensor(generator.config.classes, seeds, device)
    return generator.map(z_geo, z_tex, truncation=truncation, labels=labels)


def truncated(w: Tensor, average: Tensor, truncation: float, cutoff: int | None = None) -> Tensor:
    """Styles w [B, slots, w_dim] moved towards the average style [w_dim]: average + ψ · (w − average).

    truncation: ψ; 1 leaves w alone, 0 gives the average. cutoff: only the first so many slots, the coarse ones, are
    moved; None moves all. Source: Karras et al. 2019 (StyleGAN), §3.2 and appendix B.
    """
    if cutoff is not None and not 0 <= cutoff <= w.shape[1]:
        raise ValueError(f"truncated(): expected a cutoff from 0 to {w.shape[1]} slots, got {cutoff}")
    if truncation == 1 or cutoff == 0:
        return w
    moved = average.lerp(w, truncation)
    return moved if cutoff is None else torch.cat([moved[:, :cutoff], w[:, cutoff:]], 1)


def with_slots(w: Tensor, other: Tensor, slots: slice | Sequence[int]) -> Tensor:
    """Style mixing: w [B, slots, w_dim] with some slots taken from `other`, of the same shape."""
    if w.shape != other.shape:
        raise ValueError(f"with_slots(): expected styles of one shape, got {list(w.shape)} and {list(other.shape)}")
    chosen = list(range(w.shape[1]))[slots] if isinstance(slots, slice) else [int(slot) for slot in slots]
    if not all(0 <= slot < w.shape[1] for slot in chosen):
        raise ValueError(f"with_slots(): expected slots from 0 to {w.shape[1] - 1}, got {chosen}")
    mixed = w.clone()
    mixed[:, chosen] = other[:, chosen]
    return mixed


def style_statistics(
    generator: Generator, count: int = 4096, seed: int = 0, label: int | None = None
) -> tuple[StyleStatistics, StyleStatistics]:
    """Statistics of the styles of shape and of texture over `count` random latents, before truncation.

    label: the class of all samples, for a conditional network; None takes the classes in turn. ValueError for fewer
    than two latents.
    """
    if count < 2:
        raise ValueError(f"style_statistics(): expected at least 2 latents, got {count}")
    geometry, texture = random_styles(generator, count, seed, label)
    return StyleStatistics(geometry.mean(0), geometry.std(0)), StyleStatistics(texture.mean(0), texture.std(0))


@torch.no_grad()
def random_styles(generator: Generator, count: int, seed: int = 0, label: int | None = None) -> tuple[Tensor, Tensor]:
    """Styles of shape and of texture [count, w_dim] of random latents, before truncation, the same in every slot."""
    z_dim, device = generator.config.mapping.z_dim, generator.device
    parts: list[tuple[Tensor, Tensor]] = []
    for first in range(0, count, BATCH):
        rows = range(first, min(first + BATCH, count))
        z_geo, z_tex = (seeding.normal(seed, rows, f"statistics {name}", z_dim).to(device) for name in ("geo", "tex"))
        labels = label_tensor(generator.config.classes, rows, device, label)
        w_geo, w_tex = generator.map(z_geo, z_tex, labels=labels)
        parts.append((w_geo[:, 0], w_tex[:, 0]))
    geometry, texture = zip(*parts, strict=True)
    return torch.cat(geometry), torch.cat(texture)
