"""`upfirdn2d`: insert zeros, pad, filter and keep every so many samples, in one pass.

x [B, C, H, W] fp64, fp32, fp16 or bf16, contiguous or channels-last (the output keeps the format). filter: [T]
(separable, applied along both axes) or [T_y, T_x], fp32. up, down: whole factors. padding: (left, right, top, bottom)
zeros around the upsampled picture, negative crops. gain: factor on the output. The filter is convolved, so it is
flipped against the picture.
Output [B, C, (H·up + top + bottom − T) // down + 1, …]. Gradients to x, of any order; the filter gets none.
Errors: ValueError / TypeError "upfirdn2d(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
) -> Tensor:
    """See the module's docstring."""
    return upfirdn2d_reference(x, filter, up=up, down=down, padding=padding, gain=gain)


def upfirdn2d_reference(
    x: Tensor,
    filter: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
) -> Tensor:
    """`upfirdn2d` from zero insertion, padding and a depthwise convolution."""
    batch, channels, height, width = x.shape
    taps = torch.outer(filter, filter) if filter.dim() == 1 else filter
    if up > 1:
        x = functional.pad(x.reshape(batch, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(batch, channels, height * up, width * up)
    x = functional.pad(x, padding)
    kernel = (taps.flip((0, 1)) * gain).to(x.dtype)[None, None].expand(channels, 1, *taps.shape)
    return functional.conv2d(x, kernel, stride=down, groups=channels)
