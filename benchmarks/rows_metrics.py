"""Rows of the ops that evaluation uses: chamfer, lfd_descriptor, lfd_distance."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from benchmarks.row import Job, Row, tensor_bytes
from geometry.mesh import Mesh
from metrics.shapes.light_field import mesh_descriptor
from torch_utils.ops.chamfer import chamfer_matrix
from torch_utils.ops.lfd_distance import VIEW_BYTES, lfd_distance

POINTS, SIDE = 2048, 8
# Seconds of the original light-field program on one core: for a mesh of 20k faces, and for a pair of shapes.
ORIGINAL_MESH_S, ORIGINAL_PAIR_S = 0.86, 1.9e-3


def surface_point_clouds(count: int, seed: int, points: int = POINTS) -> Tensor:
    """Point clouds [count, points, 3] on the surfaces of boxes with random sides."""
    generator = torch.Generator().manual_seed(seed)
    sides = 0.3 + 0.7 * torch.rand(count, 1, 3, generator=generator)
    inside = torch.rand(count, points, 3, generator=generator) - 0.5
    face = torch.randint(3, (count, points, 1), generator=generator)
    return inside.scatter(2, face, inside.gather(2, face).sign() * 0.5) * sides


def kdtree_matrix(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Chamfer distances by k-d trees, one for each point cloud."""
    trees_x, trees_y = [cKDTree(c) for c in x], [cKDTree(c) for c in y]
    return [
        [float((ty.query(a)[0] ** 2).mean() + (tx.query(b)[0] ** 2).mean()) for b, ty in zip(y, trees_y, strict=True)]
        for a, tx in zip(x, trees_x, strict=True)
    ]


def cdist_matrix(x: Tensor, y: Tensor) -> Tensor:
    """Chamfer distances by torch.cdist, one row of pairs at a time."""
    rows = []
    for a in x:
        squared = torch.cdist(a[None].expand(len(y), -1, -1), y).square()
        rows.append(squared.amin(2).mean(1) + squared.amin(1).mean(1))
    return torch.stack(rows)


def _chamfer(device: torch.device, peer: str) -> Job:
    x, y = surface_point_clouds(SIDE, 0).to(device), surface_point_clouds(SIDE, 1).to(device)
    moved = tensor_bytes(x, y) + 4 * SIDE * SIDE
    if peer == "cKDTree":
        a, b = x.cpu().double().numpy(), y.cpu().double().numpy()
        return Job(lambda: chamfer_matrix(x, y), lambda: kdtree_matrix(a, b), moved)
    return Job(lambda: chamfer_matrix(x, y), lambda: cdist_matrix(x, y), moved)


def ball(faces: int = 20480) -> Mesh:
    """A bumpy sphere of about `faces` triangles, from rings of quadrilaterals."""
    rings = int((faces / 4) ** 0.5)
    theta = torch.linspace(0, torch.pi, rings + 1, dtype=torch.float64)[:, None]
    phi = torch.linspace(0, 2 * torch.pi, 2 * rings + 1, dtype=torch.float64)[None]
    radius = 1 + 0.2 * torch.sin(5 * theta) * torch.cos(4 * phi)
    points = torch.stack(
        [radius * theta.sin() * phi.cos(), radius * theta.cos().expand_as(radius), radius * theta.sin() * phi.sin()], -1
    )
    a = (torch.arange(rings)[:, None] * (2 * rings + 1) + torch.arange(2 * rings)).reshape(-1)
    b, c, d = a + 1, a + 2 * rings + 1, a + 2 * rings + 2
    return Mesh.single(points.reshape(-1, 3), torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)]))


def _descriptor(device: torch.device) -> Job:
    mesh = ball().to(device)
    moved = 100 * tensor_bytes(mesh.vertices, mesh.faces) + 100 * 256 * 32
    note = f"the original program: {1e3 * ORIGINAL_MESH_S:.0f} ms on one core"
    return Job(lambda: mesh_descriptor(mesh), None, moved, note)


def _distance(device: torch.device) -> Job:
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randint(80, (100, 10, 10, VIEW_BYTES), generator=generator, dtype=torch.uint8).to(device)
        for _ in range(2)
    )
    note = f"the original program: {1e3 * ORIGINAL_PAIR_S * 10_000:.0f} ms on one core"
    return Job(lambda: lfd_distance(a, b), None, tensor_bytes(a, b) + 4 * 10_000, note)


_PAIRS = f"{SIDE} × {SIDE} shapes, {POINTS:,} points"
METRIC_ROWS = [
    Row("chamfer_matrix", _PAIRS, "cKDTree", lambda d: _chamfer(d, "cKDTree"), 12.0, ("cpu",)),
    Row("chamfer_matrix", _PAIRS, "torch.cdist", lambda d: _chamfer(d, "cdist")),
    Row("lfd_descriptor", "100 silhouettes, 20k faces", "–", _descriptor),
    Row("lfd_distance", "100 × 100 shapes", "–", _distance),
]
