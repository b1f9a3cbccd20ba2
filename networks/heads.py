"""MLPs on points: from tri-plane features to signed distance, deformation and color."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from configs.generator_schema import GeometryConfig, TextureConfig
from networks.layers import ModulatedPointLayer
from torch_utils.ops.point_mlp import point_mlp

# Standard deviation of the output weights of geometry heads before training: the first surface is a sphere with dents
# of about a cell.
OUTPUT_INIT = 0.03
# Before the sigmoid: base color 0.5, metallic 0.12, roughness 0.62.
MATERIAL_START = (0.0, 0.0, 0.0, -2.0, 0.5)


class PointHead(nn.Module):
    """A modulated MLP on packed points: features [P, in], w [B, layers, w_dim], point_offsets [B + 1] → [P, out].

    Hidden layers are demodulated, with leaky ReLU; the last layer is linear. w: one style per layer; the last style of
    a shorter w is repeated. output_init: standard deviation of the last layer's weights before training. input_gain:
    factor on the features.
    """

    def __init__(self, widths: list[int], w_dim: int, output_init: float = 1.0, input_gain: float = 1.0) -> None:
        super().__init__()
        self.inputs = widths[0]
        self.input_gain = input_gain
        last = len(widths) - 2
        self.layers = nn.ModuleList(
            ModulatedPointLayer(i, o, w_dim, demodulate=k != last, weight_init=output_init if k == last else 1.0)
            for k, (i, o) in enumerate(pairwise(widths))
        )

    def weights(self, w: Tensor) -> list[Tensor]:
        """Every layer's matrices [B, in, out] under the styles w."""
        matrices = [layer(w[:, min(k, w.shape[1] - 1)]) for k, layer in enumerate(self.layers)]
        return matrices if self.input_gain == 1 else [matrices[0] * self.input_gain, *matrices[1:]]

    def forward(self, features: Tensor, w: Tensor, point_offsets: Tensor) -> Tensor:
        """features [P, in], w [B, layers, w_dim], point_offsets [B + 1] int64 on the CPU → [P, out]."""
        biases = [cast(ModulatedPointLayer, layer).bias for layer in self.layers]
        return point_mlp(features, self.weights(w), biases, point_offsets)


class TextureHead(nn.Module):
    """Colors of packed points: an MLP to texture features, then a modulated projection to RGB in [0, 1] (sRGB).

    With `channels: pbr`, metallic and roughness follow, in [0, 1], linear. They start at the values of a plain
    dielectric, because a metal without a bright surrounding is black.
    """

    num_ws = 2

    def __init__(self, config: TextureConfig, plane_channels: int, w_dim: int) -> None:
        super().__init__()
        self.pbr = config.channels == "pbr"
        widths = [plane_channels, config.hidden, config.features, 5 if self.pbr else 3]
        # The factor on the planes goes into the first layer's weights, where it costs nothing.
        self.rgb = PointHead(widths, w_dim, input_gain=config.plane_scale)
        # Kept on the device: to make it there in each step would wait for it.
        self.material_start: Tensor
        self.register_buffer("material_start", torch.tensor(MATERIAL_START), persistent=False)

    def forward(self, features: Tensor, w: Tensor, point_offsets: Tensor) -> Tensor:
        """features [P, C], w [B, 2, w_dim], point_offsets [B + 1] int64 on the CPU → [P, 3 or 5] in [0, 1]."""
        values = self.rgb(features, w, point_offsets)
        if self.pbr:
            values = values + self.material_start.to(values.dtype)
        return torch.sigmoid(values)


def on_sphere(points: Tensor, output: Tensor, config: GeometryConfig) -> Tensor:
    """SDF: the output [P, 1] of a head, or [B, V] at the grid's vertices, added to a sphere's; world units."""
    sphere = torch.linalg.vector_norm(points, dim=-1) - config.sphere_radius
    return sphere + config.sdf_scale * (output.squeeze(-1) if output.shape[-1] == 1 else output)


def movement(head: PointHead | None, features: Tensor, w: Tensor, offsets: Tensor, bound: float) -> Tensor | None:
    """Movement of grid vertices [P, 3], world units, at most `bound` along each axis; None without a head."""
    return None if head is None else bound * torch.tanh(head(features, w, offsets))
