"""`modulated_conv2d`: convolution with input channels scaled per sample, demodulated, with bias and activation."""

from torch import Tensor
from torch.nn import functional

from torch_utils.ops.bias_act import Activation, bias_act
from torch_utils.ops.upfirdn2d import upfirdn2d

EPSILON = 1e-8


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """1 / norm of each output channel's modulated weights [B, C_out]; weight [C_out, C_in, …], styles [B, C_in]."""
    energy = weight.float().square().flatten(2).sum(2) if weight.dim() > 2 else weight.float().square()
    return (styles.float().square() @ energy.T + EPSILON).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: int = 1,
    filter: Tensor | None = None,
    padding: int = 0,
    bias: Tensor | None = None,
    activation: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """See the module's docstring."""
    x = bias_act(x, scale=styles, activation="linear")
    kernel = weight.to(x.dtype)
    if up == 1:
        x = functional.conv2d(x, kernel, padding=padding)
    else:
        x = _upsampling_convolution(x, kernel, up, filter, padding)
    scale = demodulation(weight, styles) if demodulate else None
    return bias_act(x, bias, scale=scale, activation=activation, gain=gain, clamp=clamp)


def _upsampling_convolution(x: Tensor, kernel: Tensor, up: int, filter: Tensor | None, padding: int) -> Tensor:
    """Upsample by zero insertion and `filter`, then convolve: a transposed convolution first, the filter after it."""
    taps = filter.shape[-1] if filter is not None else 1
    size = kernel.shape[-1]
    x = functional.conv_transpose2d(x, kernel.transpose(0, 1).flip((2, 3)), stride=up)
    if filter is None:
        crop = size - 1 - padding
        return x[:, :, crop : x.shape[2] - crop, crop : x.shape[3] - crop]
    before = (taps + up - 1) // 2 - (size - 1 - padding)
    after = (taps - up) // 2 + up - 1 - (size - 1 - padding)
    return upfirdn2d(x, filter, padding=(before, after, before, after), gain=up * up)
