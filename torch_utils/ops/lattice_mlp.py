"""`lattice_mlp`: tri-plane features and a network with one hidden layer, at every point of a cubic grid.

    lattice_mlp(planes [B, 3, R, R, C], hidden [B, C, H], bias [H], output [B, H], coordinates [n], *, alpha=0.2)
        → [B, n, n, n]
    out[b, i, j, k] = output_b · lrelu(hidden_bᵀ f_b(c_i, c_j, c_k) + bias), f = `triplane_sample`, c = coordinates

The first layer is linear, so on a cubic grid it separates over the planes: it is applied to each plane once, not to
each point, and the hidden layer of a point is never stored. planes: as for `triplane_sample`; coordinates in [−1, 1].
All float32 or all float64. alpha in [0, 1]: the slope of the leaky ReLU below zero.

No gradient: the op locates a surface; values that need a gradient are computed at single points. Bitwise repeatable,
on the CPU for any number of threads.
Errors: TypeError, ValueError "lattice_mlp(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.checks import FLOATING, check_tensor
from torch_utils.ops.loading import use_kernel

# Memory for the hidden layer of the reference; the sum of the three planes takes as much again.
HIDDEN_BYTES = 256 << 20


def lattice_mlp(
    planes: Tensor, hidden: Tensor, bias: Tensor, output: Tensor, coordinates: Tensor, *, alpha: float = 0.2
) -> Tensor:
    """See the module's text."""
    _check(planes, hidden, bias, output, coordinates, alpha)
    if planes.stride(4) != 1:
        planes = planes.contiguous()
    others = [tensor.detach().contiguous() for tensor in (hidden, bias, output, coordinates)]
    if planes.numel() == 0 or not use_kernel(planes.device.type, "lattice_mlp"):
        return lattice_mlp_reference(planes.detach(), *others, alpha=alpha)
    return torch.ops.tetragan.lattice_mlp(planes.detach(), *others, alpha)


def _check(planes: Tensor, hidden: Tensor, bias: Tensor, output: Tensor, coordinates: Tensor, alpha: float) -> None:
    op = "lattice_mlp"
    check_tensor(op, "planes", planes, ("B", 3, "R", "R", "C"), FLOATING)
    if planes.shape[2] != planes.shape[3] or planes.shape[2] == 0:
        raise ValueError(f"{op}(): expected square planes [B, 3, R, R, C], got {list(planes.shape)}")
    dtypes, device = (planes.dtype,), planes.device
    check_tensor(op, "hidden", hidden, (planes.shape[0], planes.shape[4], "H"), dtypes, device)
    check_tensor(op, "bias", bias, (hidden.shape[2],), dtypes, device)
    check_tensor(op, "output", output, (planes.shape[0], hidden.shape[2]), dtypes, device)
    check_tensor(op, "coordinates", coordinates, ("n",), dtypes, device)
    if not 0 <= alpha <= 1:
        raise ValueError(f"{op}(): expected alpha in [0, 1], got {alpha}")


def lattice_mlp_reference(
    planes: Tensor, hidden: Tensor, bias: Tensor, output: Tensor, coordinates: Tensor, *, alpha: float = 0.2
) -> Tensor:
    """The same in plain PyTorch, for as many samples at once as its hidden layer's memory allows."""
    weights = _interpolation(coordinates, planes.shape[2])
    side, width = len(coordinates), hidden.shape[2]
    results = [planes.new_zeros(0, side, side, side)]
    at_once = max(1, HIDDEN_BYTES // max(1, side**3 * width * planes.element_size()))
    for some, matrices, rows in zip(planes.split(at_once), hidden.split(at_once), output.split(at_once), strict=True):
        # Rows run along a plane's second axis and columns along its first: [sample, plane, first, second, hidden].
        features = torch.einsum("bprih,jr->bpijh", torch.einsum("bprch,ic->bprih", some, weights), weights)
        xy, yz, xz = (features @ matrices[:, None, None]).unbind(1)
        values = functional.leaky_relu(xy[:, :, :, None] + yz[:, None] + xz[:, :, None] + bias, alpha)
        results.append((values.flatten(1, 3) @ rows[:, :, None]).view(-1, side, side, side))
    return torch.cat(results)


def _interpolation(coordinates: Tensor, size: int) -> Tensor:
    """Bilinear weights [n, R] of texels at coordinates in [−1, 1], clamped at the border."""
    texel = ((coordinates + 1) * size / 2 - 0.5).clamp(0, size - 1)
    distance = (texel[:, None] - torch.arange(size, dtype=texel.dtype, device=texel.device)).abs()
    return (1 - distance).clamp(min=0)


torch.library.define(
    "tetragan::lattice_mlp",
    "(Tensor planes, Tensor hidden, Tensor bias, Tensor output, Tensor coordinates, float alpha) -> Tensor",
)


@torch.library.register_fake("tetragan::lattice_mlp")
def _fake(planes, hidden, bias, output, coordinates, alpha):
    side = coordinates.shape[0]
    return planes.new_empty(planes.shape[0], side, side, side)
