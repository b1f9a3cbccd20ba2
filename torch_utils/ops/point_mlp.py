"""`point_mlp`: packed points through a small network whose weights differ from sample to sample.

    point_mlp(x [ΣP, W_0], weights, biases, point_offsets [B + 1], *, alpha=0.2, gain=√2) → [ΣP, W_L]

weights: for each layer [B, W_l, W_{l+1}], one matrix per sample (a modulated layer); biases: [W_{l+1}], shared. Hidden
layers are leaky ReLUs (slope `alpha` below zero, then `gain`), the last layer is linear. 1 to 8 layers. All float32 or
float64 (half is computed in float32). point_offsets: int64, on the CPU; sample b owns rows point_offsets[b] :
point_offsets[b + 1].
The CPU kernel keeps hidden activations in the cache; the CUDA kernel launches one product a layer for all samples.
Both recompute the hidden activations in the backward pass.

Gradients to x, weights and biases, once (the reference to any order). Bitwise repeatable, on the CPU for any number of
threads.
Errors: TypeError, ValueError "point_mlp(): expected …, got …".
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable, differentiable_once
from torch_utils.ops.checks import FLOATING, HALF, check_offsets, check_tensor
from torch_utils.ops.loading import use_kernel

MAX_LAYERS = 8


def point_mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    point_offsets: Tensor,
    *,
    alpha: float = 0.2,
    gain: float = 2**0.5,
) -> Tensor:
    """See the module's text."""
    widths = _check(x, weights, biases, point_offsets)
    dtype = x.dtype
    if dtype in HALF:
        x, weights, biases = x.float(), [w.float() for w in weights], [b.float() for b in biases]
    if not use_kernel(x.device.type, "point_mlp"):
        return point_mlp_reference(x, weights, biases, point_offsets, alpha=alpha, gain=gain).to(dtype)
    packed = torch.cat([w.flatten(1) for w in weights], 1)
    y = _point_mlp(x.contiguous(), packed, torch.cat(list(biases)), point_offsets.contiguous(), widths, alpha, gain)
    return y.to(dtype)


def _check(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], point_offsets: Tensor) -> list[int]:
    op = "point_mlp"
    check_tensor(op, "x", x, ("P", "W"), (*FLOATING, *HALF))
    check_offsets(op, "point_offsets", point_offsets, x.shape[0])
    if not 1 <= len(weights) <= MAX_LAYERS or len(biases) != len(weights):
        got = f"{len(weights)} and {len(biases)}"
        raise ValueError(f"{op}(): expected as many weights as biases, 1 to {MAX_LAYERS}, got {got}")
    widths = [x.shape[1]]
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        shape = (point_offsets.shape[0] - 1, widths[-1], "W")
        check_tensor(op, f"weights[{k}]", weight, shape, (x.dtype,), x.device)
        check_tensor(op, f"biases[{k}]", bias, (weight.shape[2],), (x.dtype,), x.device)
        widths.append(weight.shape[2])
    return widths


# ---------------------------------------------------------------------------------------------------------- reference


def point_mlp_reference(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    point_offsets: Tensor,
    *,
    alpha: float = 0.2,
    gain: float = 2**0.5,
) -> Tensor:
    """The same by one matrix product per sample and layer; differentiable to any order."""
    counts = point_offsets.diff().tolist()
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        # `split`, because the gradient of each slice would be as large as x.
        parts = zip(x.split(counts), weight.unbind(), strict=True)
        rows = [torch.addmm(bias, part, matrix) for part, matrix in parts]
        x = torch.cat(rows) if rows else x.new_zeros(0, weight.shape[2])
        if k + 1 < len(weights):
            x = functional.leaky_relu(x, alpha) * gain
    return x


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::point_mlp",
    "(Tensor x, Tensor weights, Tensor biases, Tensor point_offsets, int[] widths, float slope, float gain) -> Tensor",
)
torch.library.define(
    "tetragan::point_mlp_backward",
    "(Tensor grad, Tensor x, Tensor weights, Tensor biases, Tensor point_offsets, int[] widths, float slope,"
    " float gain, bool with_x) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::point_mlp")
def _fake(x, weights, biases, point_offsets, widths, slope, gain):
    return x.new_empty(x.shape[0], widths[-1])


@torch.library.register_fake("tetragan::point_mlp_backward")
def _fake_backward(grad, x, weights, biases, point_offsets, widths, slope, gain, with_x):
    grad_x = x.new_empty(x.shape[0] if with_x else 0, widths[0])
    return grad_x, torch.empty_like(weights), torch.empty_like(biases)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _backward(ctx, grad):
    with_x, with_weights, with_biases, *_ = ctx.needs_input_grad
    grad_x, grad_weights, grad_biases = _point_mlp_backward(grad.contiguous(), *ctx.saved_tensors, *ctx.options, with_x)
    return (
        grad_x if with_x else None,
        grad_weights if with_weights else None,
        grad_biases if with_biases else None,
        None,
        None,
        None,
        None,
    )


_point_mlp = differentiable("point_mlp", _backward, _setup_context)
_point_mlp_backward = differentiable_once("point_mlp_backward", "point_mlp")
