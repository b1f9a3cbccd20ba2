"""What one step works on, drawn from (seed, global sample index): the same for any number of ranks, and after a resume.

Nothing here has state: where a run stands is `nimg` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from torch_utils import seeding
from torch_utils.devices import upload


@dataclass(frozen=True)
class Latents:
    """Latents of B samples, a second pair to mix styles with, and where the mixing starts.

    geometry, texture, mixing_geometry, mixing_texture [B, z_dim]. mixing [B, 4] uniform in [0, 1): whether and where,
    for geometry and for texture.
    """

    geometry: Tensor
    texture: Tensor
    mixing_geometry: Tensor
    mixing_texture: Tensor
    mixing: Tensor

    def to(self, device: torch.device) -> "Latents":
        """A copy on `device`."""
        return Latents(**{member.name: upload(getattr(self, member.name), device) for member in fields(self)})


def shape_indices(nimg: int, images: slice, views: int) -> range:
    """Global sample indices of the shapes whose `views` views each fill `images` of the minibatch that begins at nimg.

    A shape's index is that of its first view.
    """
    return range(nimg + images.start, nimg + images.stop, views)


def draw_latents(seed: int, indices: Sequence[int], z_dim: int) -> Latents:
    """Latents of the samples `indices`: standard normal."""
    z = seeding.normal(seed, indices, "latents", 4 * z_dim)
    geometry, texture, mixing_geometry, mixing_texture = z.split(z_dim, dim=1)
    mixing = seeding.uniform(seed, indices, "mixing", 4)
    return Latents(geometry, texture, mixing_geometry, mixing_texture, mixing)


def real_order(seed: int, nimg: int, images: slice, count: int) -> list[int]:
    """Which of an epoch's `count` real views each place `images` of the minibatch that begins at nimg shows.

    Views come epoch by epoch, each epoch in its own order, so none comes again before the epoch is through.
    """
    places = range(nimg + images.start, nimg + images.stop)
    return [int(_epoch_order(seed, place // count, count)[place % count]) for place in places]


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return seeding.sample_rng(seed, epoch, "epoch").permutation(count)


def mix_styles(w: Tensor, mixing_w: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Style mixing: with `probability`, slots from a uniformly drawn one on come from a second latent.

    w, mixing_w [B, slots, w_dim]; uniform [B, 2] in [0, 1): whether, where. Source: Karras et al. 2019, §3.1.
    """
    slots = w.shape[1]
    if slots < 2 or probability == 0:
        return w
    start = 1 + (uniform[:, 1] * (slots - 1)).long()
    start = torch.where(uniform[:, 0] < probability, start, slots)
    mixed = torch.arange(slots, device=w.device)[None, :] >= start[:, None]
    return torch.where(mixed[:, :, None], mixing_w, w)


def spread_views(count: int, views: int, group: int, device: torch.device | str = "cpu") -> Tensor:
    """An order [count] of views that come shape by shape, in which neighbors in a stddev group are different shapes.

    Within each block of group · views images the order is: first view of each shape, second view of each, and so on.
    Otherwise a group of fakes would hold fewer shapes than a group of reals, which the discriminator would notice.
    """
    order = torch.arange(count, device=device)
    block = group * views
    whole = count // block * block
    if views == 1 or whole == 0:
        return order
    blocks = order[:whole].view(-1, group, views).transpose(1, 2).reshape(-1)
    return torch.cat([blocks, order[whole:]])
