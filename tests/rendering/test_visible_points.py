"""Points where a surface can be seen from outside."""

import numpy as np
import torch

from geometry.mesh import Mesh
from rendering.visible_points import visible_points
from tests.dataset_tool.shapes import box


def nested(inner: float, open_top: bool = False) -> Mesh:
    """A box of side 1 around (3, 0, 0) with a smaller one in it; without its face at the top, if open."""
    outside, faces = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    if open_top:
        faces = faces[~(outside[faces][..., 1] == 0.5).all(1)]
    inside, more = box((-inner / 2,) * 3, (inner / 2,) * 3)
    vertices = np.concatenate([outside, inside]) + np.array([3, 0, 0])
    return Mesh.single(torch.from_numpy(vertices).float(), torch.from_numpy(np.concatenate([faces, more + 8])))


def depth(points: torch.Tensor) -> torch.Tensor:
    return 0.5 - (points - torch.tensor([3.0, 0, 0])).abs().amax(1)


def test_what_is_inside_has_no_points():
    points, normals = visible_points(nested(0.6), 500, torch.Generator().manual_seed(0))
    assert points.shape == normals.shape == (500, 3)
    assert depth(points).abs().max() < 1e-5
    local = points - torch.tensor([3.0, 0, 0])
    assert ((local * normals).sum(1) - 0.5).abs().max() < 1e-5
    counts = torch.stack([((local[:, axis] * sign - 0.5).abs() < 1e-5).sum() for axis in range(3) for sign in (1, -1)])
    assert counts.min() > 50, "all six sides alike"


def test_what_shows_through_an_opening_has_points():
    points, _ = visible_points(nested(0.6, open_top=True), 500, torch.Generator().manual_seed(0))
    top_of_inner = (points[:, 1] - 0.3).abs() < 1e-5
    bottom_of_inner = (points[:, 1] + 0.3).abs() < 1e-5
    # At edges a depth map is as wide as its texels.
    assert top_of_inner.sum() > 20 and (bottom_of_inner & (depth(points) > 0.1)).sum() <= 2


def test_a_single_sheet_is_seen_from_both_sides_whatever_its_winding():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 3, 2]]):
        points, _ = visible_points(Mesh.single(corners, torch.tensor(faces)), 64, torch.Generator().manual_seed(0))
        assert torch.isfinite(points).all() and points[:, 2].abs().max() < 1e-6


def test_a_mesh_without_area_has_no_points():
    points, _ = visible_points(
        Mesh.single(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])), 8, torch.Generator().manual_seed(0)
    )
    assert points.isnan().all()
