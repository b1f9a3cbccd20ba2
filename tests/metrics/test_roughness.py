"""The roughness of flat parts: what it measures, and its place in a report."""

import pytest
import torch
import trimesh

from geometry.mesh import Mesh
from metrics.images.normal_images import draw_normals
from metrics.images.roughness import flat_roughness
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS


def seen(mesh: trimesh.Trimesh, side: int = 96) -> torch.Tensor:
    packed = Mesh.single(torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces))
    return draw_normals(packed, CAMERA_DISTRIBUTIONS["chair"].sample(0, range(3)), side)


def rippled(box: trimesh.Trimesh, height: float) -> trimesh.Trimesh:
    fine = box.subdivide_to_size(0.02)
    fine.vertices += height * torch.randn(fine.vertices.shape, generator=torch.Generator().manual_seed(0)).numpy()
    return fine


def test_a_box_is_flat_whatever_its_edges():
    assert (flat_roughness(seen(trimesh.creation.box((0.5, 0.6, 0.4)))) < 0.05).all()


def test_ripples_count_by_their_height():
    box = trimesh.creation.box((0.5, 0.6, 0.4))
    low, high = (flat_roughness(seen(rippled(box, height))).mean().item() for height in (0.0005, 0.001))
    assert 1 < low < high < 30 and high == pytest.approx(2 * low, rel=0.25)


def test_the_angle_is_exact_where_a_surface_turns_evenly():
    """A cylinder seen from the side, 0.5° a column: pairs in a row are 3 columns apart, pairs in a column are equal."""
    turn = torch.deg2rad(torch.arange(64) * 0.5)[None].expand(64, -1)
    normals = torch.stack([turn.sin(), torch.zeros_like(turn), turn.cos()])
    rgba = torch.cat([(normals + 1) / 2, torch.ones(1, 64, 64)])[None]
    assert flat_roughness((rgba * 255).round().byte()).item() == pytest.approx(0.75, abs=0.25)


def test_edges_and_the_background_are_left_out():
    rgba = torch.full((2, 4, 32, 32), 128, dtype=torch.uint8)
    rgba[:, 3] = 255
    rgba[0, 0, :, :16], rgba[0, 2, :, 16:] = 255, 255
    rgba[1, 2], rgba[1, 3, :, 4:] = 255, 254
    degrees = flat_roughness(rgba)
    assert degrees[0] == 0 and degrees[1] == pytest.approx(0)
    assert flat_roughness(torch.zeros(1, 4, 32, 32, dtype=torch.uint8)).isnan()
