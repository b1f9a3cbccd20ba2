"""`chamfer`: squared distance of every point to the nearest point of the other point cloud, both ways in one call.

    chamfer(x [B, P, 3], y [B, Q, 3]) -> (d_xy [B, P], d_yx [B, Q])

d_xy[b, p] = min_q |x[b, p] − y[b, q]|², d_yx the same from y to x; the points' unit, squared. float32 or float64; half
precision is computed and returned as float32. P, Q ≥ 1; B may be zero. No [P, Q] matrix is ever in memory.

    chamfer_matrix(x [M, P, 3], y [N, Q, 3]) -> [M, N]

The Chamfer distance of all pairs, mean of d_xy plus mean of d_yx; no gradient.

A point that is not finite is never the nearest, and its own distance is +inf; so is the distance of a pair with such
a point in `chamfer_matrix`. Gradients reach both inputs through the nearest points (ties: the lowest
index), to any order; the choice of the nearest point counts as constant, and infinite distances pass no gradient. The
kernels are deterministic and equal the reference bit for bit (`chamfer_matrix` up to the rounding of the mean); the
gradient's scatter on CUDA is deterministic under `torch.use_deterministic_algorithms`. Errors: ValueError or TypeError
for shape, type and device.
"""

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable
from torch_utils.ops.checks import FLOATING, HALF, check_tensor
from torch_utils.ops.loading import use_kernel


def chamfer(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared nearest distances both ways; see the contract at the top of this file."""
    x, y = _checked("chamfer", x, y)
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"chamfer(): expected x and y of one batch size, got {x.shape[0]} and {y.shape[0]}")
    if not use_kernel(x.device.type, "chamfer"):
        return chamfer_reference(x, y)
    return _chamfer(x.contiguous(), y.contiguous())[:2]


def chamfer_matrix(x: Tensor, y: Tensor) -> Tensor:
    """Chamfer distance of all pairs of point clouds; see the contract at the top of this file."""
    x, y = _checked("chamfer_matrix", x.detach(), y.detach())
    if not use_kernel(x.device.type, "chamfer_matrix"):
        return chamfer_matrix_reference(x, y)
    return torch.ops.tetragan.chamfer_matrix(x.contiguous(), y.contiguous())


def _checked(op: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    check_tensor(op, "x", x, ("B", "P", 3), (*FLOATING, *HALF))
    check_tensor(op, "y", y, ("B", "Q", 3), (x.dtype,), x.device)
    for name, points in (("x", x), ("y", y)):
        if points.shape[1] == 0:
            raise ValueError(f"{op}(): expected at least one point in {name}, got none")
        if points.shape[1] >= 2**31 // 3:
            raise ValueError(f"{op}(): expected fewer than 2^31 / 3 points in {name}, got {points.shape[1]}")
    return (x.float(), y.float()) if x.dtype in HALF else (x, y)


# ---------------------------------------------------------------------------------------------------------- reference


def chamfer_reference(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`chamfer` in plain PyTorch, by all distances of 256 points at a time."""
    return _one_way(x, y), _one_way(y, x)


def chamfer_matrix_reference(x: Tensor, y: Tensor) -> Tensor:
    """`chamfer_matrix` in plain PyTorch, one pair at a time."""
    result = x.new_empty(x.shape[0], y.shape[0])
    for m in range(x.shape[0]):
        for n in range(y.shape[0]):
            d_xy, d_yx = chamfer_reference(x[m : m + 1], y[n : n + 1])
            result[m, n] = d_xy.double().mean() + d_yx.double().mean()
    finite_x, finite_y = (points.isfinite().all(-1).all(-1) for points in (x, y))
    return torch.where(finite_x[:, None] & finite_y, result, torch.inf)


def _one_way(x: Tensor, y: Tensor, chunk: int = 256) -> Tensor:
    parts = []
    for part in x.split(chunk, dim=1):
        with torch.no_grad():
            nearest = _nan_to_inf(_squared(part[:, :, None], y[:, None])).argmin(-1)
        chosen = y.gather(1, nearest[..., None].expand(-1, -1, 3))
        finite = _squared(part.detach(), chosen.detach()).isfinite()
        # Masked before the difference as well: the gradient of inf − inf would be NaN.
        distance = _squared(*(torch.where(finite[..., None], points, 0) for points in (part, chosen)))
        parts.append(torch.where(finite, distance, torch.inf))
    return torch.cat(parts, 1)


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """|a − b|² by differences, in the kernels' order of operations: (dx² + dy²) + dz²."""
    dx, dy, dz = (a - b).unbind(-1)
    return (dx * dx + dy * dy) + dz * dz


def _nan_to_inf(distance: Tensor) -> Tensor:
    return torch.where(distance.isnan(), torch.inf, distance)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::chamfer", "(Tensor x, Tensor y) -> (Tensor d_xy, Tensor d_yx, Tensor nearest_xy, Tensor nearest_yx)"
)
torch.library.define("tetragan::chamfer_matrix", "(Tensor x, Tensor y) -> Tensor")


@torch.library.register_fake("tetragan::chamfer")
def _fake(x, y):
    batch, p, q = x.shape[0], x.shape[1], y.shape[1]
    indices = (x.new_empty(batch, count, dtype=torch.int32) for count in (p, q))
    return x.new_empty(batch, p), x.new_empty(batch, q), *indices


@torch.library.register_fake("tetragan::chamfer_matrix")
def _fake_matrix(x, y):
    return x.new_empty(x.shape[0], y.shape[0])


def _setup_context(ctx, inputs, output):
    d_xy, d_yx, nearest_xy, nearest_yx = output
    ctx.mark_non_differentiable(nearest_xy, nearest_yx)
    ctx.save_for_backward(*inputs, d_xy.isfinite(), d_yx.isfinite(), nearest_xy, nearest_yx)


def _backward(ctx, grad_xy, grad_yx, _grad_nearest_xy, _grad_nearest_yx):
    """Plain tensor operations on the saved choice of neighbors, so that it can be differentiated again."""
    x, y, finite_xy, finite_yx, nearest_xy, nearest_yx = ctx.saved_tensors

    def pull(grad, a, b, finite, nearest):
        index = nearest.long()[..., None].expand(-1, -1, 3)
        difference = torch.where(finite[..., None], a - b.gather(1, index), 0)
        of_a = 2 * grad[..., None] * difference
        return of_a, torch.zeros_like(b).scatter_add(1, index, -of_a)

    x_own, y_other = pull(grad_xy, x, y, finite_xy, nearest_xy)
    y_own, x_other = pull(grad_yx, y, x, finite_yx, nearest_yx)
    return x_own + x_other, y_own + y_other


_chamfer = differentiable("chamfer", _backward, _setup_context)
