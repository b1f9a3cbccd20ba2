"""`weighted_normals`: area-weighted unit normals of the vertices of a triangle mesh.

    weighted_normals(vertices [V, 3], faces [F, 3] int32) → [V, 3]

The sum of the cross products of the faces around a vertex, normalized. A vertex without faces, or whose faces cancel
(to `CANCELED` of their area), gets +Y, without a gradient. float32 or float64, computed in double, since the cross
products of small faces vanish in single precision.

Gradient: once, to the vertices. Bitwise repeatable: the CPU kernel uses one thread, and the CUDA kernels add whole
numbers of a unit that suits the faces around each vertex. There, faces with ids out of range are left out.
Errors: TypeError, ValueError "weighted_normals(): expected …, got …".
"""

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once
from torch_utils.ops.checks import FLOATING, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel

# Share of the area around a vertex below which the sum of its cross products counts as zero.
CANCELED = 1e-7


def weighted_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """See the module's text."""
    op = "weighted_normals"
    check_tensor(op, "vertices", vertices, ("V", 3), FLOATING)
    check_tensor(op, "faces", faces, ("F", 3), (torch.int32,), vertices.device)
    check_index_range(op, "faces", faces, vertices.shape[0])
    if not use_kernel(vertices.device.type, op):
        return weighted_normals_reference(vertices, faces)
    return _weighted_normals(vertices.contiguous(), faces.contiguous())


def weighted_normals_reference(vertices: Tensor, faces: Tensor) -> Tensor:
    """The same in plain PyTorch, any device, differentiable through autograd."""
    weighted = cross_products(vertices.double(), faces)
    area = weighted.detach().norm(dim=-1, keepdim=True)
    corners = faces.t().reshape(-1, 1).long().expand(-1, 4)
    zeros = weighted.new_zeros(vertices.shape[0], 4)
    total, around = zeros.scatter_add(0, corners, torch.cat([weighted, area], 1).repeat(3, 1)).split((3, 1), 1)
    square = total.square().sum(-1, keepdim=True)
    defined = square > (CANCELED * around.detach()).square()
    up = torch.tensor([0.0, 1.0, 0.0], dtype=total.dtype, device=total.device)
    return torch.where(defined, total / torch.where(defined, square, 1).sqrt(), up).to(vertices.dtype)


def cross_products(vertices: Tensor, faces: Tensor) -> Tensor:
    """Outward face normals [F, 3], each as long as twice the face's area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return torch.linalg.cross(b - a, c - a)


torch.library.define("tetragan::weighted_normals", "(Tensor vertices, Tensor faces) -> Tensor")
torch.library.define("tetragan::weighted_normals_backward", "(Tensor grad, Tensor vertices, Tensor faces) -> Tensor")


@torch.library.register_fake("tetragan::weighted_normals")
def _fake(vertices, faces):
    return torch.empty_like(vertices)


@torch.library.register_fake("tetragan::weighted_normals_backward")
def _fake_backward(grad, vertices, faces):
    return torch.empty_like(vertices)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return _weighted_normals_backward(grad.contiguous(), *ctx.saved_tensors), None


_weighted_normals = differentiable("weighted_normals", _backward, _setup_context)
_weighted_normals_backward = differentiable_once("weighted_normals_backward", "weighted_normals")
