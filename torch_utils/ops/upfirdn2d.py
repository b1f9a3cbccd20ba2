"""`upfirdn2d`: upsample by zero insertion, pad, filter and downsample, in one pass.

    upfirdn2d(x [B, C, H, W], filter, *, up=1, down=1, padding=(0, 0, 0, 0), gain=1.0, add=None) → [B, C, H', W']
    H' = (H·up + top + bottom − T) // down + 1, W' likewise

x: float32, float64, float16 or bfloat16; contiguous and channels-last memory are both fast, and the output keeps the
format. filter: [T] (separable: applied along both axes) or [T_y, T_x], float32 or float64; it is convolved, that is,
flipped against the image. up, down ≥ 1: integer factors. padding: (left, right, top, bottom) zeros around the upsampled
image; negative ones crop. gain: factor on the output. H', W' must be at least 1. add [B, C, H', W'], of x's type or
bfloat16: added to the output in the same pass.

Gradients to x and add, of any order; none to the filter. Bitwise repeatable for any number of threads, and on CUDA.
A filter [T_y, T_x] always runs the reference (a depthwise convolution).
Errors: TypeError, ValueError "upfirdn2d(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable
from torch_utils.ops.bias_act import dense, dense_like
from torch_utils.ops.checks import FLOATING, HALF, check_tensor
from torch_utils.ops.loading import use_kernel

Padding = tuple[int, int, int, int]


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = (0, 0, 0, 0),
    gain: float = 1.0,
    add: Tensor | None = None,
) -> Tensor:
    """See the module's text."""
    _check(x, filter, up, down, padding, add)
    if filter.dim() == 2 or x.numel() == 0 or not use_kernel(x.device.type, "upfirdn2d"):
        return upfirdn2d_reference(x, filter, up=up, down=down, padding=padding, gain=gain, add=add)
    dtype = x.dtype
    if dtype == torch.float16:
        x, add = x.float(), add if add is None else add.float()
    x = dense(x)
    # One pass, except for planar images on the CPU: the networks' format is channels-last.
    fused = None if add is None or (x.is_contiguous() and x.device.type == "cpu") else dense_like(add, x)
    y = _upfirdn2d(x, filter.contiguous(), fused, up, down, *padding, False, gain)
    if add is not None and fused is None:
        y = y + add.to(y.dtype)
    return y if y.dtype == dtype else y.to(dtype)


def _check(x: Tensor, filter: Tensor, up: int, down: int, padding: Padding, add: Tensor | None) -> None:
    op = "upfirdn2d"
    check_tensor(op, "x", x, ("B", "C", "H", "W"), (*FLOATING, *HALF))
    if not isinstance(filter, Tensor) or filter.dim() not in (1, 2) or filter.numel() == 0:
        got = list(filter.shape) if isinstance(filter, Tensor) else type(filter).__name__
        raise ValueError(f"{op}(): expected filter of shape [T] or [T_y, T_x], got {got}")
    check_tensor(op, "filter", filter, filter.shape, FLOATING, x.device)
    for name, value in (("up", up), ("down", down)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{op}(): expected {name} to be an integer of at least 1, got {value!r}")
    if len(padding) != 4 or not all(isinstance(p, int) for p in padding):
        raise ValueError(f"{op}(): expected padding (left, right, top, bottom) of integers, got {padding!r}")
    left, right, top, bottom = padding
    height = x.shape[2] * up + top + bottom - filter.shape[0]
    width = x.shape[3] * up + left + right - filter.shape[-1]
    if height < 0 or width < 0:
        raise ValueError(
            f"{op}(): expected a padded image no smaller than the filter {list(filter.shape)}, "
            f"got [{height + filter.shape[0]}, {width + filter.shape[-1]}]"
        )
    if add is not None:
        shape = (*x.shape[:2], height // down + 1, width // down + 1)
        check_tensor(op, "add", add, shape, (x.dtype, torch.bfloat16), x.device)


# ---------------------------------------------------------------------------------------------------------- reference


def upfirdn2d_reference(
    x: Tensor,
    filter: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = (0, 0, 0, 0),
    gain: float = 1.0,
    add: Tensor | None = None,
) -> Tensor:
    """The same by zero insertion, padding and a depthwise convolution; differentiable to any order."""
    batch, channels, height, width = x.shape
    taps = torch.outer(filter, filter) if filter.dim() == 1 else filter
    if up > 1:
        x = functional.pad(x.reshape(batch, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(batch, channels, height * up, width * up)
    x = functional.pad(x, padding)
    kernel = (taps.flip((0, 1)) * gain).to(x.dtype)[None, None].expand(channels, 1, *taps.shape)
    y = functional.conv2d(x, kernel, stride=down, groups=channels)
    return y if add is None else y + add.to(y.dtype)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::upfirdn2d",
    "(Tensor x, Tensor filter, Tensor? add, int up, int down, int left, int right, int top, int bottom, bool flip,"
    " float gain) -> Tensor",
)


@torch.library.register_fake("tetragan::upfirdn2d")
def _fake(x, filter, add, up, down, left, right, top, bottom, flip, gain):
    taps = filter.shape[0]
    height = (x.shape[2] * up + top + bottom - taps) // down + 1
    width = (x.shape[3] * up + left + right - taps) // down + 1
    if x.is_contiguous():
        return x.new_empty(x.shape[0], x.shape[1], height, width)
    return x.new_empty(x.shape[0], height, width, x.shape[1]).permute(0, 3, 1, 2)


def _setup_context(ctx, inputs, output):
    x, filter, add, *ctx.options = inputs
    ctx.add_type = None if add is None else add.dtype
    ctx.save_for_backward(filter)
    ctx.sizes = x.shape[2], x.shape[3], output.shape[2], output.shape[3]


def _backward(ctx, grad):
    """The adjoint swaps up and down, flips the filter, and pads by the filter's reach beyond the input."""
    (filter,) = ctx.saved_tensors
    grad_add = grad.to(ctx.add_type) if ctx.needs_input_grad[2] else None
    if not ctx.needs_input_grad[0]:
        return None, None, grad_add, *[None] * 8
    up, down, left, _, top, _, flip, gain = ctx.options
    height, width, out_height, out_width = ctx.sizes
    taps = filter.shape[0]
    before = (taps - 1 - left, taps - 1 - top)
    right = width * up - out_width * down + left - up + 1
    bottom = height * up - out_height * down + top - up + 1
    grad_x = _upfirdn2d(dense(grad), filter, None, down, up, before[0], right, before[1], bottom, not flip, gain)
    return grad_x, None, grad_add, *[None] * 8


_upfirdn2d = differentiable("upfirdn2d", _backward, _setup_context)
