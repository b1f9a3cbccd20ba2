"""A wider generator that starts as a narrower one.

New channels get random weights, but every layer that reads them gives them a style of zero. So they change nothing at
first, and their gradient is not zero. Source of starting a wide network as a narrow one: Chen et al. 2016 (Net2Net),
which copies channels instead.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from networks.generator import Generator
from networks.layers import ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer


def widened(stored: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """The tensors of a narrower network at the generator's widths, for its convolutions, plane heads and point heads.

    stored: by the names of the generator's state dict. Only tensors that are smaller than the generator's are in the
    result; the new part of each weight is the generator's own. Planes of more channels are left out.
    """
    found = {}
    constant, wide = stored.get("backbone.constant"), generator.state_dict().get("backbone.constant")
    if constant is not None and wide is not None and _smaller(constant, wide):
        found["backbone.constant"] = _in_corner(constant, wide)
    for name, layer in generator.named_modules():
        if not isinstance(layer, ModulatedConv | ModulatedPlaneHead | ModulatedPointLayer):
            continue
        own = {key: stored.get(f"{name}.{key}") for key in ("weight", "bias", "affine.weight", "affine.bias")}
        tensors = {key: value for key, value in own.items() if value is not None}
        if len(tensors) == len(own):
            fitted = _wider_layer(tensors, layer)
            found |= {f"{name}.{key}": value for key, value in fitted.items()}
    return found


def _wider_layer(
    stored: Mapping[str, Tensor], layer: ModulatedConv | ModulatedPlaneHead | ModulatedPointLayer
) -> dict[str, Tensor]:
    """The four tensors of a layer at its own widths; none if they cannot be widened or have them already."""
    wide = layer.state_dict()
    narrow = stored["weight"]
    if not _smaller(narrow, layer.weight) or stored["affine.weight"].shape[1:] != wide["affine.weight"].shape[1:]:
        return {}
    # The channels of the three planes lie side by side, so more of them are not in a corner.
    if isinstance(layer, ModulatedPlaneHead) and len(narrow) != len(layer.weight):
        return {}
    # A layer divides its stored weights by the square root of its inputs.
    gain = math.sqrt(layer.weight.shape[1] / narrow.shape[1])
    return {
        "weight": _in_corner(narrow * gain, layer.weight),
        "bias": _in_corner(stored["bias"], layer.bias),
        "affine.weight": _in_corner(stored["affine.weight"], torch.zeros_like(wide["affine.weight"])),
        "affine.bias": _in_corner(stored["affine.bias"], torch.zeros_like(wide["affine.bias"])),
    }


def _smaller(narrow: Tensor, wide: Tensor) -> bool:
    """Whether a tensor is another one's corner in its first two dimensions, and not all of it."""
    sizes = list(zip(narrow.shape[:2], wide.shape[:2], strict=False))
    fits = narrow.dim() == wide.dim() and narrow.shape[2:] == wide.shape[2:] and all(n <= w for n, w in sizes)
    return fits and narrow.shape != wide.shape


def _in_corner(narrow: Tensor, wide: Tensor) -> Tensor:
    """A copy of a tensor whose first entries along each dimension are those of a smaller one."""
    result = wide.detach().clone()
    result[tuple(slice(0, side) for side in narrow.shape)] = narrow
    return result
