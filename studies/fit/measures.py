"""How well a fitted mesh agrees with its target."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from geometry.mesh import Mesh
from geometry.surface_sampling import sample_surface
from geometry.topology import count_components, edge_counts
from rendering.color import psnr_db

POINTS = 200_000


def rms_distance(mesh: Mesh, surface: Tensor) -> float:
    """Root mean square distance between a mesh and the points [P, 3] that the target's views see, both ways.

    World units. Between two sets of points of one surface it is not 0, but 0.24 % of the size.
    """
    points = sample_surface(mesh, POINTS, torch.Generator().manual_seed(0))[0][0].numpy()
    there, back = (KDTree(a).query(b)[0] for a, b in ((surface.numpy(), points), (points, surface.numpy())))
    return float(np.sqrt((np.square(there).mean() + np.square(back).mean()) / 2))


def coverage_iou(mask: Tensor, target: Tensor) -> float:
    """Intersection over union of coverages [N, 1, R, R] in [0, 1]."""
    return float(torch.minimum(mask, target).sum() / torch.maximum(mask, target).sum())


def covered_psnr(rgb: Tensor, target: Tensor, coverage: Tensor) -> float:
    """dB of RGB [N, 3, R, R] in [0, 1] over black, in the pixels that the target covers wholly (coverage 1)."""
    return psnr_db((rgb - target).square().mean(1, keepdim=True)[coverage > 0.999].mean())


def euler_number(mesh: Mesh) -> int:
    """V − E + F of one mesh, over vertices with faces."""
    return len(mesh.faces.unique()) - edge_counts(mesh).edges + mesh.faces.shape[0]


def summary_of_topology(mesh: Mesh) -> str:
    """Euler number, connected components, and whether the mesh is closed."""
    closed = "closed" if edge_counts(mesh).closed else "open"
    return f"χ {euler_number(mesh)}, {count_components(mesh)} component(s), {closed}"


def linking_number(mesh: Mesh, rings: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
    """The linking number of two rings, by Gauss's integral over the curves through the middles of their tubes.

    rings: center and the two axes of the plane of each. A vertex belongs to the ring whose circle is nearer.
    """
    curves = []
    distances = torch.stack([_distance_to_circle(mesh.vertices, ring) for ring in rings])
    for k, (center, first, second) in enumerate(rings):
        own = mesh.vertices[distances.argmin(0) == k] - center
        angle = torch.atan2(own @ second, own @ first)
        sector = ((angle / torch.pi + 1) * 32).long().clamp(0, 63)
        counts = torch.bincount(sector, minlength=64)
        if (counts == 0).any():
            return 0.0
        sums = torch.zeros(64, 3).index_add(0, sector, own)
        curves.append(sums / counts[:, None] + center)
    (a, b), (da, db) = curves, (curve.roll(-1, 0) - curve for curve in curves)
    middle_a, middle_b = a + da / 2, b + db / 2
    apart = middle_a[:, None] - middle_b[None]
    triple = (apart * torch.linalg.cross(da[:, None].expand_as(apart), db[None].expand_as(apart))).sum(-1)
    return float((triple / apart.norm(dim=-1) ** 3).sum() / (4 * torch.pi))


def _distance_to_circle(points: Tensor, ring: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Distance to the circle in the plane of a ring on which its points lie on average."""
    center, first, second = ring
    own = points - center
    in_plane = torch.stack([own @ first, own @ second], -1).norm(dim=-1)
    radius = 0.8 * 0.22 / (2 * (0.22 + 0.065 + 0.11))
    return torch.hypot(in_plane - radius, own @ torch.linalg.cross(first, second))
