"""`modulated_conv2d`: a convolution whose weights are scaled by a style for each sample, with bias and activation.

    modulated_conv2d(x [B, C_in, H, W], weight [C_out, C_in, k, k], styles [B, C_in], *, demodulate=True, up=1,
                     filter=None, padding=0, bias=None, activation="linear", gain=None, clamp=None)
        → [B, C_out, H·up + 2·padding − k + 1, W·up + 2·padding − k + 1]

Sample b is convolved with weight · styles[b]; with `demodulate`, each output channel of it is divided by its norm
(Karras et al., Analyzing and Improving the Image Quality of StyleGAN, 2020, eq. 1 and 3). padding: zeros around the
image. up > 1: zeros are inserted between the pixels first, and the separable `filter` [T] (required) smooths the
padded result. bias, activation, gain, clamp: as `bias_act`.

Scaling commutes with the convolution: the input is scaled by the style, all samples share one weight, and the inverse
norm is applied together with bias and activation in one pass. So there is one convolution for the batch (cuDNN, oneDNN)
and neither a weight nor a group for each sample. x: float32, float64, bfloat16 or float16; the convolution runs in x's
type; styles, norms and bias are float32 (float64 where x is).

Gradients to x, weight, styles and bias, of any order.
Errors: TypeError, ValueError "modulated_conv2d(): expected …, got …".
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.bias_act import Activation, bias_act
from torch_utils.ops.checks import FLOATING, HALF, check_tensor
from torch_utils.ops.upfirdn2d import upfirdn2d

EPSILON = 1e-8


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
    """See the module's text."""
    _check(x, weight, styles, up, filter, padding)
    x = bias_act(x, scale=styles, activation="linear")
    kernel = weight.to(x.dtype)
    if up == 1 or filter is None:
        x = functional.conv2d(x, kernel, padding=padding)
    else:
        x = _upsampling_convolution(x, kernel, up, filter, padding)
    scale = demodulation(weight, styles) if demodulate else None
    return bias_act(x, bias, scale=scale, activation=activation, gain=gain, clamp=clamp)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """1 / norm of each output channel's modulated weights [B, C_out]; weight [C_out, C_in, …], styles [B, C_in]."""
    energy = weight.square().flatten(2).sum(2) if weight.dim() > 2 else weight.square()
    return (styles.square() @ energy.T + EPSILON).rsqrt()


def _upsampling_convolution(x: Tensor, kernel: Tensor, up: int, filter: Tensor, padding: int) -> Tensor:
    """The filter commutes with the convolution: a transposed convolution at the low resolution comes first."""
    taps, reach = filter.shape[0], kernel.shape[-1] - 1
    x = functional.conv_transpose2d(x, kernel.transpose(0, 1).flip((2, 3)), stride=up)
    before = (taps + up - 1) // 2 + padding - reach
    after = (taps - up) // 2 + padding + up - 1 - reach
    return upfirdn2d(x, filter, padding=(before, after, before, after), gain=float(up * up))


def _check(x: Tensor, weight: Tensor, styles: Tensor, up: int, filter: Tensor | None, padding: int) -> None:
    op = "modulated_conv2d"
    check_tensor(op, "x", x, ("B", "C_in", "H", "W"), (*FLOATING, *HALF))
    sums = (torch.float64,) if x.dtype == torch.float64 else (torch.float32,)
    check_tensor(op, "weight", weight, ("C_out", x.shape[1], "k", "k"), sums, x.device)
    check_tensor(op, "styles", styles, (x.shape[0], x.shape[1]), sums, x.device)
    if weight.shape[2] != weight.shape[3]:
        raise ValueError(f"{op}(): expected a square kernel, got {list(weight.shape[2:])}")
    if not isinstance(up, int) or up < 1:
        raise ValueError(f"{op}(): expected up to be an integer of at least 1, got {up!r}")
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"{op}(): expected padding to be an integer of at least 0, got {padding!r}")
    if up > 1 and (filter is None or filter.dim() != 1 or filter.shape[0] < up):
        got = None if filter is None else list(filter.shape)
        raise ValueError(f"{op}(): expected a filter [T] with T of at least up = {up}, got {got}")


# ---------------------------------------------------------------------------------------------------------- reference


def modulated_conv2d_reference(
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
    """The definition: a weight for each sample, upsampling first, one group a sample; differentiable to any order."""
    batch = x.shape[0]
    modulated = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        modulated = modulated * (modulated.square().sum((2, 3, 4), keepdim=True) + EPSILON).rsqrt()
    if up > 1:
        assert filter is not None, "checked by the caller"
        before, after = (filter.shape[0] + up - 1) // 2 + padding, (filter.shape[0] - up) // 2 + padding
        x = upfirdn2d(x, filter, up=up, padding=(before, after, before, after), gain=float(up * up))
        padding = 0
    grouped = x.reshape(1, -1, *x.shape[2:])
    y = functional.conv2d(grouped, modulated.flatten(0, 1).to(x.dtype), padding=padding, groups=max(batch, 1))
    y = y.view(batch, weight.shape[0], *y.shape[2:])
    return bias_act(y, bias, activation=activation, gain=gain, clamp=clamp)
