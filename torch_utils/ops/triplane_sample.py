"""`triplane_sample`: bilinear look-up of packed points in three feature planes, summed.

    triplane_sample(planes [B, 3, R, R, C], points [ΣP, 3], point_offsets [B + 1]) → [ΣP, C]

planes: (x, y), (y, z), (x, z) of each sample; in a plane (a, b) the coordinate a runs along the width (dimension 3) and
b along the height (dimension 2). float32 or float64 (half is computed in float32); any memory format with adjacent
channels is read without a copy, such as a view of [B, R, R, 3, C]. points: in [−1, 1], of the planes' type; outside,
the border values extend. Texel centers lie at half-integers, so ±1 are the outer edges of the border texels
(`align_corners=False`); a point with a NaN gets NaN. point_offsets: int64, on the CPU; sample b owns points
point_offsets[b] : point_offsets[b + 1].

Gradients to planes and points, once; a point beyond the outermost texel centers gets none along that axis.
The CPU kernel is bitwise repeatable for any number of threads; the CUDA kernel's forward is, its backward adds to the
planes with atomics and refuses under `torch.use_deterministic_algorithms(True)`.
Errors: TypeError, ValueError "triplane_sample(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable, differentiable_once, refuse_atomics_when_deterministic
from torch_utils.ops.checks import FLOATING, HALF, check_offsets, check_tensor
from torch_utils.ops.loading import use_kernel

# The coordinates along width and height of the planes (x, y), (y, z), (x, z).
PLANE_AXES = ((0, 1), (1, 2), (0, 2))


def triplane_sample(planes: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
    """See the module's text."""
    _check(planes, points, point_offsets)
    dtype = planes.dtype
    if dtype in HALF:
        planes = planes.float()
    points = points.to(planes.dtype)
    if not use_kernel(planes.device.type, "triplane_sample"):
        features = triplane_sample_reference(planes, points, point_offsets)
    else:
        planes = planes if planes.stride(4) == 1 and _is_dense(planes) else planes.contiguous()
        # The CUDA kernel reads the offsets on the device; the copy does not wait.
        offsets = point_offsets.contiguous().to(planes.device, non_blocking=True)
        features = _triplane_sample(planes, points.contiguous(), offsets)
    return features.to(dtype)


def _is_dense(planes: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, so that a gradient can have the same format."""
    expected = 1
    for size, stride in sorted(zip(planes.shape, planes.stride(), strict=True), key=lambda pair: (pair[1], pair[0])):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _check(planes: Tensor, points: Tensor, point_offsets: Tensor) -> None:
    op = "triplane_sample"
    check_tensor(op, "planes", planes, ("B", 3, "R", "R", "C"), (*FLOATING, *HALF))
    if planes.shape[2] != planes.shape[3] or planes.shape[2] == 0:
        raise ValueError(f"{op}(): expected square planes [B, 3, R, R, C], got {list(planes.shape)}")
    check_tensor(op, "points", points, ("P", 3), (*FLOATING, *HALF), planes.device)
    check_offsets(op, "point_offsets", point_offsets, points.shape[0])
    if point_offsets.shape[0] != planes.shape[0] + 1:
        raise ValueError(f"{op}(): expected {planes.shape[0] + 1} point_offsets, got {point_offsets.shape[0]}")


# ---------------------------------------------------------------------------------------------------------- reference


def triplane_sample_reference(planes: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
    """The same by `grid_sample`, sample by sample."""
    outputs = [planes.new_zeros(0, planes.shape[4])]
    for entry, chunk in zip(planes.unbind(0), points.split(point_offsets.diff().tolist()), strict=True):
        if chunk.shape[0] == 0:
            continue
        # `grid_sample` reads out of bounds at NaN; outside the border the values are those of the border.
        inside = chunk.nan_to_num(nan=0.0).clamp(-2, 2)
        grid = torch.stack([inside[:, axes] for axes in PLANE_AXES])[:, None]
        features = functional.grid_sample(
            entry.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        lost = chunk.isnan().any(-1, keepdim=True)
        outputs.append(features.sum(0).squeeze(1).T.masked_fill(lost, torch.nan))
    return torch.cat(outputs)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define("tetragan::triplane_sample", "(Tensor planes, Tensor points, Tensor point_offsets) -> Tensor")
torch.library.define(
    "tetragan::triplane_sample_backward",
    "(Tensor grad, Tensor planes, Tensor points, Tensor point_offsets, bool with_planes, bool with_points)"
    " -> (Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::triplane_sample")
def _fake(planes, points, point_offsets):
    return planes.new_empty(points.shape[0], planes.shape[4])


@torch.library.register_fake("tetragan::triplane_sample_backward")
def _fake_backward(grad, planes, points, point_offsets, with_planes, with_points):
    return (
        torch.empty_like(planes) if with_planes else planes.new_empty(0),
        points.new_empty(points.shape[0] if with_points else 0, 3),
    )


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    planes, points, point_offsets = ctx.saved_tensors
    with_planes, with_points, _ = ctx.needs_input_grad
    if with_planes:
        refuse_atomics_when_deterministic("triplane_sample", planes.device)
    grad_planes, grad_points = _triplane_sample_backward(
        grad.contiguous(), planes, points, point_offsets, with_planes, with_points
    )
    return grad_planes if with_planes else None, grad_points if with_points else None, None


_triplane_sample = differentiable("triplane_sample", _backward, _setup_context)
_triplane_sample_backward = differentiable_once("triplane_sample_backward", "triplane_sample")
