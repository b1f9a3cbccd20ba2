"""`interpolate`: vertex attributes at the visible surface.

    interpolate(attributes [ΣV, A], rast [N, H, W, 4], faces [ΣF, 3], rast_db=None)
        → values [N, H, W, A],  values_db [N, H, W, 2A] or None

values = u·a0 + v·a1 + (1 − u − v)·a2 of the visible triangle; background is 0. With `rast_db` [N, H, W, 4], values_db
holds (d/dX, d/dY) of each attribute in turn, per pixel step. attributes: float32 or float64, the type of `rast`; half
is computed in the type of `rast` and returned as half. faces: int32, those `rast` was made from (ids are global).

Gradient: once, to `attributes`, to u and v of `rast` (zero to z/w and id), and to `rast_db`. The CPU kernel is bitwise
repeatable for any number of threads; the CUDA kernel's backward adds with atomics and refuses under
`torch.use_deterministic_algorithms(True)`.
Errors: TypeError, ValueError "interpolate(): expected …, got …"; an id in `rast` beyond the faces counts as background.
"""

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once, refuse_atomics_when_deterministic
from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel


def interpolate(
    attributes: Tensor, rast: Tensor, faces: Tensor, rast_db: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """See the module's text."""
    op = "interpolate"
    check_tensor(op, "rast", rast, ("N", "H", "W", 4), FLOATING)
    check_tensor(op, "attributes", attributes, ("V", "A"), (rast.dtype, *HALF), rast.device)
    check_tensor(op, "faces", faces, ("F", 3), (torch.int32,), rast.device)
    check_index_range(op, "faces", faces, attributes.shape[0])
    if rast_db is not None:
        check_tensor(op, "rast_db", rast_db, rast.shape, (rast.dtype,), rast.device)
    dtype = attributes.dtype
    attributes = attributes.to(rast.dtype)
    if use_kernel(rast.device.type, op):
        db = None if rast_db is None else rast_db.contiguous()
        arguments = (attributes.contiguous(), rast.contiguous(), faces.contiguous(), db)
        values, values_db = _interpolate(*arguments)
    else:
        values, values_db = interpolate_reference(attributes, rast, faces, rast_db)
    return values.to(dtype), None if rast_db is None else values_db.to(dtype)


def interpolate_reference(
    attributes: Tensor, rast: Tensor, faces: Tensor, rast_db: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The same in plain PyTorch, any device, differentiable through autograd."""
    ids = rast[..., 3].detach().round().long()
    visible = (ids >= 1) & (ids <= faces.shape[0])
    index = tuple(visible.nonzero().T)
    corners = attributes[faces[ids[index] - 1].long()]
    u, v = rast[..., 0][index][:, None], rast[..., 1][index][:, None]
    a0, a1, a2 = corners.unbind(1)
    shape = (*rast.shape[:3], attributes.shape[1])
    values = attributes.new_zeros(shape).index_put(index, u * a0 + v * a1 + (1 - u - v) * a2)
    if rast_db is None:
        return values, None
    db = rast_db[index]
    slopes = [(a0 - a2) * db[:, k : k + 1] + (a1 - a2) * db[:, k + 2 : k + 3] for k in (0, 1)]
    values_db = attributes.new_zeros(*shape, 2).index_put(index, torch.stack(slopes, -1))
    return values, values_db.flatten(-2)


torch.library.define(
    "tetragan::interpolate", "(Tensor attributes, Tensor rast, Tensor faces, Tensor? rast_db) -> (Tensor, Tensor)"
)
torch.library.define(
    "tetragan::interpolate_backward",
    "(Tensor grad_values, Tensor? grad_values_db, Tensor attributes, Tensor rast, Tensor faces, Tensor? rast_db,"
    " bool of_attributes) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::interpolate")
def _fake(attributes, rast, faces, rast_db):
    images, height, width, _ = rast.shape
    size = attributes.shape[1]
    return (
        attributes.new_empty(images, height, width, size),
        attributes.new_empty(0 if rast_db is None else images, height, width, 2 * size),
    )


@torch.library.register_fake("tetragan::interpolate_backward")
def _fake_backward(grad_values, grad_values_db, attributes, rast, faces, rast_db, of_attributes):
    return (
        attributes.new_empty(attributes.shape[0] if of_attributes else 0, attributes.shape[1]),
        rast.new_empty(rast.shape),
        rast.new_empty(0 if rast_db is None else rast.shape[0], *rast.shape[1:]),
    )


def _setup_context(ctx, inputs, output):
    attributes, rast, faces, rast_db = inputs
    ctx.save_for_backward(attributes, rast, faces, rast_db)


def _backward(ctx, grad_values, grad_values_db):
    attributes, rast, faces, rast_db = ctx.saved_tensors
    of_attributes = ctx.needs_input_grad[0]
    if of_attributes:
        refuse_atomics_when_deterministic("interpolate", ctx.saved_tensors[0].device)
    grad_attributes, grad_rast, grad_rast_db = _interpolate_backward(
        grad_values.contiguous(),
        None if rast_db is None else grad_values_db.contiguous(),
        attributes,
        rast,
        faces,
        rast_db,
        of_attributes,
    )
    return grad_attributes if of_attributes else None, grad_rast, None, None if rast_db is None else grad_rast_db


_interpolate = differentiable("interpolate", _backward, _setup_context)
_interpolate_backward = differentiable_once("interpolate_backward", "interpolate")
