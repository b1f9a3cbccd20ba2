"""`bias_act`: scale, add a bias, apply an activation and a gain, clamp; in one pass.

    bias_act(x, bias=None, *, scale=None, dim=1, activation="lrelu", alpha=0.2, gain=None, clamp=None) → y, shaped as x
    y = clamp(activation(x · scale + bias) · gain)

x: any shape, float32, float64, float16 or bfloat16; contiguous and channels-last memory are both fast, and y keeps the
format. bias [C], C = x.shape[dim]; scale [B, C], B = x.shape[0], dim ≠ 0: one factor for each sample and channel (the
demodulation of a modulated convolution). Both float32, or float64 where x is; half-precision x is computed in float32.
activation: "linear", "relu", "lrelu" (slope `alpha` ≥ 0 below zero), "tanh", "sigmoid". gain > 0; None: √2 for relu and
lrelu, else 1. clamp: bound of |y|; None for none.

Gradients to x, bias and scale, of any order. Bitwise repeatable on the CPU for any number of threads, and on CUDA.
Errors: TypeError, ValueError "bias_act(): expected …, got …".
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable
from torch_utils.ops.checks import FLOATING, HALF, check_tensor
from torch_utils.ops.loading import use_kernel

Activation = Literal["linear", "relu", "lrelu", "tanh", "sigmoid"]
DEFAULT_GAIN = {"linear": 1.0, "relu": 2**0.5, "lrelu": 2**0.5, "tanh": 1.0, "sigmoid": 1.0}
_NO_CLAMP = math.inf


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    dim: int = 1,
    activation: Activation = "lrelu",
    alpha: float = 0.2,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """See the module's text."""
    dim, gain = _check(x, bias, scale, dim, activation, alpha, gain, clamp)
    piecewise_linear = activation in ("linear", "relu", "lrelu")
    if not piecewise_linear or x.numel() == 0 or not use_kernel(x.device.type, "bias_act"):
        return bias_act_reference(
            x, bias, scale=scale, dim=dim, activation=activation, alpha=alpha, gain=gain, clamp=clamp
        )
    slope = {"linear": 1.0, "relu": 0.0, "lrelu": alpha}[activation]
    dtype = x.dtype
    if dtype == torch.float16:
        x = x.float()
    bias = None if bias is None else bias.contiguous()
    scale = None if scale is None else scale.contiguous()
    y = _bias_act(dense(x, dim), bias, scale, dim, slope, gain, _NO_CLAMP if clamp is None else float(clamp))
    return y if y.dtype == dtype else y.to(dtype)


def dense(x: Tensor, dim: int = 1) -> Tensor:
    """x itself if the kernels can read its memory format (contiguous or channels-last), else a contiguous copy."""
    if x.is_contiguous() or (dim == 1 and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()


def dense_like(x: Tensor, like: Tensor) -> Tensor:
    """x in the memory format of `like` (which is dense)."""
    if like.is_contiguous():
        return x.contiguous()
    return x.contiguous(memory_format=torch.channels_last)


def _check(
    x: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    dim: int,
    activation: str,
    alpha: float,
    gain: float | None,
    clamp: float | None,
) -> tuple[int, float]:
    op = "bias_act"
    check_tensor(op, "x", x, (None,) * x.dim() if isinstance(x, Tensor) else (), (*FLOATING, *HALF))
    if activation not in DEFAULT_GAIN:
        raise ValueError(f"{op}(): expected activation of {', '.join(DEFAULT_GAIN)}, got {activation!r}")
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"{op}(): expected dim in [{-x.dim()}, {x.dim()}), got {dim}")
    dim %= x.dim()
    sums = (torch.float64,) if x.dtype == torch.float64 else (torch.float32,)
    if bias is not None:
        check_tensor(op, "bias", bias, (x.shape[dim],), sums, x.device)
    if scale is not None:
        if dim == 0:
            raise ValueError(f"{op}(): expected dim other than 0 with a scale, got 0")
        check_tensor(op, "scale", scale, (x.shape[0], x.shape[dim]), sums, x.device)
    gain = DEFAULT_GAIN[activation] if gain is None else float(gain)
    if not gain > 0:
        raise ValueError(f"{op}(): expected gain above 0, got {gain}")
    if clamp is not None and not clamp > 0:
        raise ValueError(f"{op}(): expected clamp above 0 or None, got {clamp}")
    if not alpha >= 0:
        raise ValueError(f"{op}(): expected alpha of at least 0, got {alpha}")
    return dim, gain


# ---------------------------------------------------------------------------------------------------------- reference


def bias_act_reference(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    dim: int = 1,
    activation: Activation = "lrelu",
    alpha: float = 0.2,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """The same in plain PyTorch; differentiable to any order."""
    dtype = x.dtype
    shape = [1] * x.dim()
    shape[dim] = x.shape[dim]
    if scale is not None:
        x = x * scale.reshape(scale.shape[0], *shape[1:])
    if bias is not None:
        x = x + bias.reshape(shape)
    if activation in ("relu", "lrelu"):
        x = functional.leaky_relu(x, alpha if activation == "lrelu" else 0.0)
    elif activation != "linear":
        x = torch.tanh(x) if activation == "tanh" else torch.sigmoid(x)
    gain = DEFAULT_GAIN[activation] if gain is None else gain
    x = x if gain == 1 else x * gain
    return (x if clamp is None else x.clamp(-clamp, clamp)).to(dtype)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::bias_act",
    "(Tensor x, Tensor? bias, Tensor? scale, int dim, float slope, float gain, float clamp) -> Tensor",
)
torch.library.define(
    "tetragan::bias_act_backward",
    "(Tensor grad, Tensor? x, Tensor y, Tensor? scale, int dim, float slope, float gain, float clamp, bool with_bias,"
    " bool with_scale) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::bias_act")
def _fake(x, bias, scale, dim, slope, gain, clamp):
    return torch.empty_like(x)


@torch.library.register_fake("tetragan::bias_act_backward")
def _fake_backward(grad, x, y, scale, dim, slope, gain, clamp, with_bias, with_scale):
    sums = torch.float64 if grad.dtype == torch.float64 else torch.float32
    channels = grad.shape[dim]
    samples = 1 if scale is None else grad.shape[0]
    return (
        torch.empty_like(grad),
        grad.new_empty(channels if with_bias else 0, dtype=sums),
        grad.new_empty(samples if with_scale else 0, channels, dtype=sums),
    )


def _setup_context(ctx, inputs, output):
    x, _, scale, *ctx.options = inputs
    slope, _, clamp = ctx.options[1:]
    # A linear op without clamp has the same slope everywhere: its output need not be saved.
    ctx.keeps_output = slope != 1 or clamp != _NO_CLAMP
    ctx.save_for_backward(x if scale is not None else None, scale, output if ctx.keeps_output else None)


def _backward(ctx, grad):
    x, scale, y = ctx.saved_tensors
    grad = dense_like(grad, x if y is None else y) if y is not None or x is not None else dense(grad, ctx.options[0])
    _, with_bias, with_scale, *_ = ctx.needs_input_grad
    grad_x, grad_bias, grad_scale = _bias_act_backward(
        grad, x, grad if y is None else y, scale, *ctx.options, with_bias, with_scale
    )
    return grad_x, grad_bias if with_bias else None, grad_scale if with_scale else None, None, None, None, None


def _setup_second(ctx, inputs, output):
    grad, x, y, scale, *ctx.options, _, _ = inputs
    ctx.save_for_backward(grad, x, y, scale)


def _second(ctx, of_x, of_bias, of_scale):
    """The backward is linear in `grad`, bilinear with x and scale; y only selects slopes.

    t = grad · slope(y); grad_x = t · scale, grad_bias = Σ t, grad_scale = Σ t · x.
    """
    grad, x, y, scale = ctx.saved_tensors
    dim = ctx.options[0]
    shape = [1] * grad.dim()
    shape[dim] = grad.shape[dim]

    def times_slope(value: Tensor) -> Tensor:
        value = dense_like(value.to(grad.dtype), grad)
        return _bias_act_backward(value, None, y, None, *ctx.options, False, False)[0]

    wants_grad, wants_x, _, wants_scale, *_ = ctx.needs_input_grad
    of_grad = grad_x = grad_scale = None
    per_sample = None if scale is None else scale.reshape(scale.shape[0], *shape[1:])
    if wants_grad:
        total = of_x if per_sample is None else of_x * per_sample
        if of_bias.numel():
            total = total + of_bias.reshape(shape)
        if x is not None and of_scale.numel():
            total = total + x * of_scale.reshape(of_scale.shape[0], *shape[1:])
        of_grad = times_slope(total)
    if wants_x and of_scale.numel():
        grad_x = (times_slope(grad) * of_scale.reshape(of_scale.shape[0], *shape[1:])).to(grad.dtype)
    if wants_scale and scale is not None:
        product = (times_slope(grad) * of_x).to(scale.dtype).transpose(1, dim)
        grad_scale = product.flatten(2).sum(2) if product.dim() > 2 else product
    return of_grad, grad_x, None, grad_scale, *[None] * 6


_bias_act = differentiable("bias_act", _backward, _setup_context)
_bias_act_backward = differentiable("bias_act_backward", _second, _setup_second)
