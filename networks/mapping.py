"""The mapping network: from a latent to styles."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.layers import EqualizedLinear


class Mapping(nn.Module):
    """z [B, z_dim] (and a class label [B]) → w [B, w_dim].

    z is scaled to a mean square of one; leaky ReLU layers with a learning-rate multiplier follow. With z_dim 0 the only
    input is `condition` [B, condition_dim], as in the discriminators.
    """

    def __init__(self, z_dim: int, w_dim: int, layers: int, lr_multiplier: float, condition_dim: int = 0) -> None:
        super().__init__()
        self.embed = EqualizedLinear(condition_dim, w_dim) if condition_dim else None
        width = z_dim + (w_dim if condition_dim else 0)
        widths = [width] + [w_dim] * layers
        self.layers = nn.Sequential(
            *(EqualizedLinear(i, o, "lrelu", lr_scale=lr_multiplier) for i, o in pairwise(widths))
        )

    def forward(self, z: Tensor | None, condition: Tensor | None = None) -> Tensor:
        """z [B, z_dim] (None where z_dim is 0), condition [B, condition_dim] → w [B, w_dim]."""
        dtype = next(self.parameters()).dtype
        parts = [] if z is None else [_unit_mean_square(z.to(dtype))]
        if self.embed is not None:
            if condition is None:
                raise ValueError("Mapping(): expected a label for every sample, got none")
            parts.append(_unit_mean_square(self.embed(condition.to(dtype))))
        return self.layers(torch.cat(parts, 1) if len(parts) > 1 else parts[0])


class TextOffset(nn.Module):
    """What a text adds to a style: z [B, z_dim] and text [B, text_dim] → [B, w_dim]. Zero-initialized.

    The latent is an input, too, so that samples of one text differ by more than without it.
    """

    def __init__(self, z_dim: int, text_dim: int, w_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            EqualizedLinear(z_dim + text_dim, w_dim, "lrelu"), EqualizedLinear(w_dim, w_dim, "lrelu")
        )
        self.out = EqualizedLinear(w_dim, w_dim)
        nn.init.zeros_(self.out.weight)

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """z [B, z_dim], text [B, text_dim], about unit mean square → [B, w_dim]."""
        dtype = self.out.weight.dtype
        return self.out(self.hidden(torch.cat([_unit_mean_square(z.to(dtype)), text.to(dtype)], 1)))


def _unit_mean_square(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=1e-8)
