"""`triplane_sample`: bilinear look-up of packed points in three feature planes, summed."""

import torch
from torch import Tensor
from torch.nn import functional

# The coordinates along width and height of the planes (x, y), (y, z), (x, z).
PLANE_AXES = ((0, 1), (1, 2), (0, 2))


def triplane_sample(planes: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
    """See the module's docstring."""
    return triplane_sample_reference(planes, points, point_offsets)


def triplane_sample_reference(planes: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
    """`triplane_sample` by `grid_sample`, plane by plane and batch entry by batch entry."""
    outputs = []
    for entry, chunk in zip(planes.unbind(0), points.split(point_offsets.diff().tolist()), strict=True):
        grid = torch.stack([chunk[:, axes] for axes in PLANE_AXES]).to(planes.dtype)[:, None]
        features = functional.grid_sample(
            entry.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        outputs.append(features.sum(0).squeeze(1).T)
    return torch.cat(outputs)
