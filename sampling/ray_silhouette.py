"""A loss of silhouettes that opens holes and makes parts appear.

The gradient of a rendered silhouette lies on its edges. It moves them, but it opens no hole in a part, and it makes no
part where there is none. This loss follows the ray of every pixel that is covered or free by mistake to the point of
least signed distance: there, the surface must withdraw or appear (Yariv et al. 2020, "Multiview Neural Surface
Reconstruction by Disentangling Geometry and Appearance", the mask loss).
"""

import torch
from torch import Tensor
from torch.nn import functional

from networks.generator import Generator
from rendering.camera import Cameras

# Points on each ray.
POINTS = 48
# Pixels whose coverage differs by more than this are wrong.
WRONG = 0.5


def ray_silhouette_losses(
    generator: Generator, planes: Tensor, w_geo: Tensor, cameras: Cameras, masks: Tensor, target: Tensor
) -> Tensor:
    """Mean over pixels of how far the signed distance is from the right sign: softplus, in cells, 0 for right pixels.

    planes: of the geometry of B samples. w_geo [B, slots, w_dim]. cameras: B·N, those of a sample in a row. masks [B·N,
    R, R]: the samples' coverage; target [B·N, R, R]: the wanted one. Returns [B]; gradients reach planes and w_geo.
    """
    count, config = len(w_geo), generator.config.geometry
    views = len(cameras) // count
    with torch.no_grad():
        pixels = ((masks - target).abs() > WRONG).nonzero()
        points = _points_on_rays(cameras, pixels, masks.shape[-1], config.box)
        inside = (points.abs() <= config.box / 2).all(2)
        pixels, points, inside = (rows[inside.any(1)] for rows in (pixels, points, inside))
        sample = pixels[:, 0] // views
        offsets = functional.pad(torch.bincount(sample, minlength=count).cumsum(0), (1, 0)).cpu()
        values = generator.signed_distance(planes, w_geo, points.flatten(0, 1), offsets * POINTS).view(-1, POINTS)
        nearest = values.where(inside, torch.inf).argmin(1)
        points = points[torch.arange(len(points), device=points.device), nearest]
    values = generator.signed_distance(planes, w_geo, points, offsets)
    missing = target[tuple(pixels.T)] > masks[tuple(pixels.T)]
    losses = functional.softplus(torch.where(missing, values, -values) * (config.cells / config.box))
    return losses.new_zeros(count).index_add(0, sample, losses) / (views * masks[0].numel())


def _points_on_rays(cameras: Cameras, pixels: Tensor, resolution: int, box: float) -> Tensor:
    """Points [K, POINTS, 3] on the rays of pixels [K, 3]: image, row, column.

    They lie about where a ray passes the origin, up to the distance of the corners of the generator's box.
    """
    seen = cameras[pixels[:, 0]]
    points = (pixels[:, [2, 1]] + 0.5) * (2 / resolution) - 1
    directions = functional.normalize(seen.ray_directions(points), dim=1)
    eyes = seen.position()
    middle = -(eyes * directions).sum(1, keepdim=True)
    reach = torch.linspace(-1, 1, POINTS, device=eyes.device) * (box * 3**0.5 / 2)
    return eyes[:, None] + (middle + reach)[..., None] * directions[:, None]
