"""A discriminator of outlines: it sees masks through a window of 18 px and pools what it sees over the image.

The discriminator of whole masks decides by the layout of a shape. Bumps on a straight leg, frayed ends and pinholes
are too small to matter to it. Here no feature sees more than a window, so only the outline's course can tell real
from generated.
"""

import torch
from torch import Tensor, nn

from networks.layers import Conv2d, EqualizedLinear, at_least_fp32, compute_dtype, minibatch_stddev
from rendering.camera import Cameras

# Features of each pooled position.
FEATURES = 64


class OutlineDiscriminator(nn.Module):
    """Logits [B] of masks [B, 1, H, W] in [0, 1], whatever the camera and the class.

    Windows of 18 × 18 px at a stride of 4 px, pooled by mean, maximum and standard deviation. Twice differentiable.
    Source of deciding by windows: Isola et al. 2017 (PatchGAN), which averages the windows' losses instead.
    """

    def __init__(self, precision: str = "fp32", stddev_group: int = 4) -> None:
        super().__init__()
        self.channels = 1
        self.precision = precision
        self.stddev_group = stddev_group
        self.windows = nn.Sequential(
            Conv2d(1, 16, 4, stride=2),
            Conv2d(16, 32, 4, stride=2),
            Conv2d(32, FEATURES, 3),
            Conv2d(FEATURES, FEATURES, 1),
        )
        self.fully_connected = EqualizedLinear(3 * FEATURES + 1, FEATURES, "lrelu")
        self.output = EqualizedLinear(FEATURES, 1)

    def forward(self, image: Tensor, cameras: Cameras | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits [B], fp32. cameras and labels are not looked at."""
        dtype = compute_dtype(self.precision, image.device)
        x = self.windows((image * 2).to(dtype).contiguous(memory_format=torch.channels_last))
        x = at_least_fp32(x).flatten(2)
        spread = (x.var(2, correction=0) + 1e-6).sqrt()
        pooled = torch.cat([x.mean(2), x.amax(2), spread], 1)
        pooled = minibatch_stddev(pooled[:, :, None, None], self.stddev_group).flatten(1)
        return self.output(self.fully_connected(pooled)).squeeze(1)
