"""`bias_act`: scale, add a bias, apply an activation and a gain, clamp; in one pass.

y = clamp(activation(x · scale + bias) · gain).
"""

from typing import Literal

import torch
from torch import Tensor

Activation = Literal["linear", "relu", "lrelu", "tanh", "sigmoid"]
DEFAULT_GAIN = {"linear": 1.0, "relu": 2**0.5, "lrelu": 2**0.5, "tanh": 1.0, "sigmoid": 1.0}


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
    """See the module's docstring."""
    return bias_act_reference(x, bias, scale=scale, dim=dim, activation=activation, alpha=alpha, gain=gain, clamp=clamp)


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
    """`bias_act` in plain PyTorch."""
    shape = [1] * x.dim()
    shape[dim] = x.shape[dim]
    if scale is not None:
        x = x * scale.to(x.dtype).reshape(scale.shape[0], *shape[1:])
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(shape)
    if activation == "lrelu":
        x = torch.nn.functional.leaky_relu(x, alpha)
    elif activation != "linear":
        x = getattr(torch, activation)(x)
    gain = DEFAULT_GAIN[activation] if gain is None else gain
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
