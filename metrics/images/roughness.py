"""Are flat parts flat? The angle between normals a few pixels apart, from images of normals.

Marching tetrahedra ripple where a surface should be flat. Neither the Fréchet distance of colors nor the Chamfer
distance sees that, but light does.
"""

import torch
from torch import Tensor

# Pixels between the two normals: more than a face of the finest grid in use covers.
STEP_PX = 3
# Normals further apart belong to two parts, or to an edge, degrees.
SAME_PART_DEG = 30.0
# A pixel whose mean normal is shorter shows two faces at an angle.
MIN_LENGTH = 0.95
# Images with fewer pairs say nothing.
MIN_PAIRS = 60


def flat_roughness(rgba: Tensor) -> Tensor:
    """Mean angle in degrees of normals STEP_PX apart on one part, of each image [B]; NaN where too little is seen.

    rgba [B, 4, H, W] uint8 from `draw_normals`: (normal + 1) / 2 as colors, and coverage. Pairs lie in a row or in a
    column, wholly inside the object with all pixels between them. Rounding to 8 bits adds up to half a degree.
    """
    normals = rgba[:, :3].float() / 127.5 - 1
    length = normals.norm(dim=1)
    whole = (rgba[:, 3] == 255) & (length > MIN_LENGTH)
    normals = normals / length.clamp(min=1e-6)[:, None]
    total, count = torch.zeros(len(rgba)), torch.zeros(len(rgba))
    for dim in (1, 2):
        size = whole.shape[dim] - STEP_PX
        runs = [whole.narrow(dim, k, size) for k in range(STEP_PX + 1)]
        inside = torch.stack(runs).all(0)
        a, b = normals.narrow(dim + 1, 0, size), normals.narrow(dim + 1, STEP_PX, size)
        # From the chord, which is exact for small angles.
        angle = torch.rad2deg(2 * torch.asin(((a - b).norm(dim=1) / 2).clamp(max=1)))
        same = inside & (angle < SAME_PART_DEG)
        total += torch.where(same, angle, 0.0).flatten(1).sum(1)
        count += same.flatten(1).sum(1)
    return torch.where(count >= MIN_PAIRS, total / count.clamp(min=1), torch.nan)
