"""What an optimizer moves when it looks for textures: the texels, a tri-plane field, or the weights of a network.

`PlainMaps` and `DeepImagePrior` give maps [S, S, C] in [0, 1]; `TriPlaneField` gives values at points of the surface.
C is 3 (sRGB base color) or 5 (and metallic, roughness).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from torch_utils.ops.triplane_sample import triplane_sample

# Start of metallic and roughness: a plain dielectric.
START = (0.5, 0.5, 0.5, 0.05, 0.6)
EDGE = 1e-3


def logit(values: Tensor) -> Tensor:
    """Inverse of the sigmoid for values in [0, 1], which are moved off the ends."""
    return torch.logit(values.clamp(EDGE, 1 - EDGE))


class PlainMaps(nn.Module):
    """The texels themselves. start: maps [S, S, 3 or 5] in [0, 1]."""

    learning_rate = 0.05

    def __init__(self, start: list[Tensor]) -> None:
        super().__init__()
        self.logits = nn.ParameterList(nn.Parameter(logit(image)) for image in start)

    def forward(self) -> list[Tensor]:
        """The maps."""
        return [torch.sigmoid(image) for image in self.logits]


class TriPlaneField(nn.Module):
    """Feature planes and a small MLP over the box of the mesh; neighbors on the surface share what they learn."""

    learning_rate = 0.01
    center: Tensor
    radius: Tensor

    def __init__(self, channels: int, low: Tensor, high: Tensor, *, resolution: int = 256, features: int = 16) -> None:
        super().__init__()
        self.planes = nn.Parameter(0.1 * torch.randn(1, 3, resolution, resolution, features))
        last = nn.Linear(64, channels)
        self.layers = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), last)
        with torch.no_grad():
            last.bias.copy_(logit(torch.tensor(START[:channels])))
        self.register_buffer("center", (low + high) / 2)
        self.register_buffer("radius", (high - low).max() / 2 * 1.01)

    def forward(self, points: Tensor) -> Tensor:
        """Values [P, C] in [0, 1] at points [P, 3], world."""
        inside = (points - self.center) / self.radius
        features = triplane_sample(self.planes, inside, torch.tensor([0, len(points)]))
        return torch.sigmoid(self.layers(features))


class DeepImagePrior(nn.Module):
    """A U-Net with skip connections that turns fixed noise into the maps (Ulyanov et al. 2018, "Deep image prior").

    As Paint-it uses it for PBR maps (Youwang et al. 2024): five scales, a few channels per skip, learning rate 5e-4.
    All maps of a mesh come from one network, stacked as its channels.
    """

    learning_rate = 5e-4
    noise: Tensor

    def __init__(self, channels: int, maps: int, size_px: int, *, width: int = 128, scales: int = 5) -> None:
        super().__init__()
        if size_px % 2**scales or size_px < 2 ** (scales + 1):
            raise ValueError(f"DeepImagePrior(): expected a size of 2 or more times {2**scales}, got {size_px}")
        skip = 4
        self.maps, self.channels = maps, channels
        self.register_buffer("noise", torch.randn(1, 32, size_px, size_px, generator=_fixed()) * 0.1)
        self.down = nn.ModuleList(
            nn.Sequential(_block(32 if scale == 0 else width, width, 2), _block(width, width))
            for scale in range(scales)
        )
        self.skips = nn.ModuleList(_block(32 if scale == 0 else width, skip, kernel=1) for scale in range(scales))
        self.up = nn.ModuleList(
            nn.Sequential(_block(width + skip, width), _block(width, width, kernel=1)) for _ in range(scales)
        )
        self.out = nn.Conv2d(width, channels * maps, 1)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(logit(torch.tensor(START[:channels])).repeat(maps))

    def forward(self) -> list[Tensor]:
        """The maps."""
        x, kept = self.noise, []
        for down, skip in zip(self.down, self.skips, strict=True):
            kept.append(skip(x))
            x = down(x)
        for up, side in zip(reversed(self.up), reversed(kept), strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, side], 1))
        image = torch.sigmoid(self.out(x))[0].permute(1, 2, 0)
        return list(image.split(self.channels, 2))


def _block(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect" if kernel > 1 else "zeros"),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2),
    )


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)
