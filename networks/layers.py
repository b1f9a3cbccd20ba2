"""Equalized layers: weights are stored at unit variance and scaled when used, so that Adam treats every layer alike.

Source: Karras et al., Progressive Growing of GANs, 2018 (equalized learning rate); Analyzing and Improving the Image
Quality of StyleGAN, 2020 (modulation and demodulation, minibatch standard deviation, residual discriminator).
"""

import functools
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from torch_utils.ops.bias_act import DEFAULT_GAIN, Activation, bias_act
from torch_utils.ops.modulated_conv2d import demodulation, modulated_conv2d
from torch_utils.ops.upfirdn2d import upfirdn2d

RESAMPLE_FILTER = (1.0, 3.0, 3.0, 1.0)


def resample_filter() -> Tensor:
    """The separable [1, 3, 3, 1] filter [4], its sum 1."""
    taps = torch.tensor(RESAMPLE_FILTER)
    return taps / taps.sum()


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Channels of a network at a resolution."""
    return min(channel_max, max(channel_base // resolution, 1))


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of convolutions: "fp32", "bf16", "fp64", or "auto": bf16 where the device multiplies it in hardware."""
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        else:
            precision = "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"
    return torch.bfloat16 if precision == "bf16" else parameter_dtype(precision)


def parameter_dtype(precision: str) -> torch.dtype:
    """The type of weights and images: float64 for "fp64", else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("amx_tile") or capabilities.get("avx512_bf16"))


class EqualizedLinear(nn.Module):
    """Linear layer on the last dimension: x [..., inputs] → [..., outputs], fp32; with "lrelu" the activation as well.

    lr_scale: factor on the optimizer's learning rate. initial_bias: the bias before training.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: Literal["linear", "lrelu"] = "linear",
        *,
        lr_scale: float = 1.0,
        initial_bias: float = 0.0,
    ) -> None:
        super().__init__()
        # Adam's steps do not depend on the size of a value, so a value that is stored larger changes more slowly.
        stored = 1 / lr_scale
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * stored)
        self.bias = nn.Parameter(torch.full((outputs,), initial_bias * stored))
        # A positive factor commutes with leaky ReLU, so the activation's gain joins those of weight and bias.
        gain = DEFAULT_GAIN[activation]
        self.factors = lr_scale / math.sqrt(inputs) * gain, lr_scale * gain
        self.activate = functools.partial(functional.leaky_relu, negative_slope=0.2) if activation == "lrelu" else None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., inputs] → [..., outputs]."""
        of_weight, of_bias = self.factors
        bias = self.bias if of_bias == 1 else self.bias * of_bias
        y = functional.linear(x, self.weight * of_weight, bias)
        return y if self.activate is None else self.activate(y)


class Conv2d(nn.Module):
    """Equalized convolution with optional low-pass filter and stride: [B, C_in, H, W] → [B, C_out, H / down, W / down].

    down: 1, or 2 with the [1, 3, 3, 1] filter before. stride: 1, or 2 without a filter (an even kernel covers the
    pixels evenly). groups: of channels that do not mix. Computes in x's type; the weights are stored in fp32. `gain`
    multiplies the activation's own gain.
    """

    filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        activation: Activation = "lrelu",
        down: int = 1,
        stride: int = 1,
        bias: bool = True,
        groups: int = 1,
    ) -> None:
        super().__init__()
        weight = torch.randn(out_channels, in_channels // groups, kernel, kernel)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.activation: Activation = activation
        self.down = down
        self.stride = stride
        self.groups = groups
        self.padding = (kernel - 1) // 2
        self.weight_gain = 1 / math.sqrt(in_channels // groups * kernel**2)
        self.register_buffer("filter", resample_filter(), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H / down, W / down], times `gain`."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        if self.down == 1:
            x = functional.conv2d(x, weight, stride=self.stride, padding=self.padding, groups=self.groups)
        else:
            before = self.padding + (len(RESAMPLE_FILTER) - self.down + 1) // 2
            after = self.padding + (len(RESAMPLE_FILTER) - self.down) // 2
            if weight.shape[-1] == 1:
                # A 1 × 1 convolution commutes with subsampling: filter at the reduced size only.
                x = upfirdn2d(x, self.filter, down=self.down, padding=(before, after, before, after))
                x = functional.conv2d(x, weight, groups=self.groups)
            else:
                x = upfirdn2d(x, self.filter, padding=(before, after, before, after))
                x = functional.conv2d(x, weight, stride=self.down, groups=self.groups)
        if self.bias is None and self.activation == "linear":
            return x if gain == 1 else x * gain
        return bias_act(x, self.bias, activation=self.activation, gain=gain * DEFAULT_GAIN[self.activation])


class ModulatedConv(nn.Module):
    """Convolution whose weights a style modulates: x [B, C_in, H, W], w [B, w_dim] → [B, C_out, H·up, W·up].

    An affine layer, whose bias starts at one, turns w into the style. Demodulation, bias and leaky ReLU follow.
    """

    filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, kernel: int = 3, up: int = 1) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, initial_bias=1.0)
        weight = torch.randn(out_channels, in_channels, kernel, kernel)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.up = up
        self.padding = kernel // 2
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.register_buffer("filter", resample_filter(), persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C_in, H, W], w [B, w_dim] → [B, C_out, H·up, W·up] in x's type."""
        return modulated_conv2d(
            x,
            self.weight * self.weight_gain,
            self.affine(w),
            up=self.up,
            filter=self.filter,
            padding=self.padding,
            bias=self.bias,
            activation="lrelu",
        )


class ModulatedPlaneHead(nn.Module):
    """Modulated 1 × 1 projection of features to planes: x [B, C, H, W], w [B, w_dim] → [B, out, H, W] in x's type."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, initial_bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C, H, W], w [B, w_dim] → [B, out, H, W] in x's type."""
        batch, channels, height, width = x.shape
        styles = self.affine(w) * self.weight_gain
        weight = (styles[:, :, None] * self.weight.T).to(x.dtype)
        rows = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        planes = torch.baddbmm(self.bias.to(x.dtype), rows, weight)
        return planes.view(batch, height, width, -1).permute(0, 3, 1, 2)


class ModulatedPointLayer(nn.Module):
    """A modulated fully connected layer's matrices, one a sample: w [B, w_dim] → [B, in, out].

    demodulate: scale each output to unit norm (hidden layers). weight_init: standard deviation of the stored weights.
    """

    def __init__(
        self, in_features: int, out_features: int, w_dim: int, demodulate: bool, weight_init: float = 1.0
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_features, initial_bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * weight_init)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.demodulate = demodulate
        self.weight_gain = 1 / math.sqrt(in_features)

    def forward(self, w: Tensor) -> Tensor:
        """w [B, w_dim] → one matrix a sample [B, in, out]."""
        styles = self.affine(w)
        weight = self.weight * self.weight_gain
        modulated = styles[:, :, None] * weight.T
        return modulated * demodulation(weight, styles)[:, None] if self.demodulate else modulated


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Append one channel: the standard deviation over `group` contiguous samples, averaged over channels and pixels.

    x [B, C, H, W] → [B, C + 1, H, W]. The last group is smaller where `group` does not divide the batch.
    """
    whole = x.shape[0] // group * group
    parts = [_group_stddev(at_least_fp32(x[:whole]), group)] if whole else []
    if whole < x.shape[0]:
        parts.append(_group_stddev(at_least_fp32(x[whole:]), x.shape[0] - whole))
    stddev = parts[0] if len(parts) == 1 else torch.cat(parts)
    return torch.cat([x, stddev.to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1)


def _group_stddev(x: Tensor, group: int) -> Tensor:
    """Mean standard deviation over each `group` samples of x [B, C, H, W], repeated for each of them: [B]."""
    groups = x.view(-1, group, *x.shape[1:])
    # Plain sums rather than `var`, whose running (Welford) form along the slow axis costs thirty times as much.
    variance = (groups - groups.mean(1, keepdim=True)).square().mean(1)
    return (variance + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(group)
