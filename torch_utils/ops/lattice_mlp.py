"""`lattice_mlp`: a network with one hidden layer on a lattice whose first layer separates over three planes.

    lattice_mlp(xy [B, X, Y, H], yz [B, Y, Z, H], xz [B, X, Z, H], weight [B, H], *, alpha=0.2) → [B, X, Y, Z]
    out[b, i, j, k] = Σ_h weight[b, h] · lrelu(xy[b, i, j, h] + yz[b, j, k, h] + xz[b, i, k, h])

All float32 or all float64. alpha in [0, 1]: the slope of the leaky ReLU below zero. The hidden layer is never stored.
No gradient: the op finds where a surface lies; values that need one are computed at single points (`triplane_sample`).
Bitwise repeatable for any number of threads, and on CUDA. Errors: TypeError, ValueError "lattice_mlp(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.checks import FLOATING, check_tensor
from torch_utils.ops.loading import use_kernel


def lattice_mlp(xy: Tensor, yz: Tensor, xz: Tensor, weight: Tensor, *, alpha: float = 0.2) -> Tensor:
    """See the module's text."""
    op = "lattice_mlp"
    check_tensor(op, "xy", xy, ("B", "X", "Y", "H"), FLOATING)
    batch, x, y, hidden = xy.shape
    check_tensor(op, "yz", yz, (batch, y, "Z", hidden), (xy.dtype,), xy.device)
    check_tensor(op, "xz", xz, (batch, x, yz.shape[2], hidden), (xy.dtype,), xy.device)
    check_tensor(op, "weight", weight, (batch, hidden), (xy.dtype,), xy.device)
    if not 0 <= alpha <= 1:
        raise ValueError(f"{op}(): expected alpha in [0, 1], got {alpha}")
    sides = [tensor.detach().contiguous() for tensor in (xy, yz, xz, weight)]
    if xy.numel() == 0 or not use_kernel(xy.device.type, op):
        return lattice_mlp_reference(*sides, alpha=alpha)
    return torch.ops.tetragan.lattice_mlp(*sides, alpha)


def lattice_mlp_reference(xy: Tensor, yz: Tensor, xz: Tensor, weight: Tensor, *, alpha: float = 0.2) -> Tensor:
    """The same in plain PyTorch, sample by sample to bound its memory."""
    results = [xy.new_zeros(0, *xy.shape[1:3], yz.shape[2])]
    for a, b, c, w in zip(xy, yz, xz, weight, strict=True):
        hidden = functional.leaky_relu(a[:, :, None] + b[None] + c[:, None], alpha)
        results.append((hidden @ w)[None])
    return torch.cat(results)


torch.library.define("tetragan::lattice_mlp", "(Tensor xy, Tensor yz, Tensor xz, Tensor weight, float alpha) -> Tensor")


@torch.library.register_fake("tetragan::lattice_mlp")
def _fake(xy, yz, xz, weight, alpha):
    return xy.new_empty(*xy.shape[:3], yz.shape[2])
