"""Spherical Gaussians, lamps, normal maps and tone curves."""

import math

import pytest
import torch
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.tangents import vertex_tangents
from rendering.brdf import ShadingPoints, reflectance
from rendering.environment_light import environment_light, solid_angles, texel_directions
from rendering.lights import AreaLight, PointLight, SunLight, reflected_of_all
from rendering.normal_maps import mapped_normals
from rendering.spherical_gaussians import (
    SphericalGaussians,
    cosine_integral,
    fit_lobes,
    lobe_integral,
    product_integral,
)
from rendering.tone_mapping import khronos_neutral, soft_highlights, tone_mapped

ROWS = 160
DIRECTIONS = texel_directions(ROWS, torch.zeros(0, dtype=torch.float64)).reshape(-1, 3)
AREAS = solid_angles(ROWS, DIRECTIONS).reshape(-1)


def unit(count: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(values, dim=1)


def gray(count: int, normal, eye, roughness: float = 0.4) -> ShadingPoints:
    one = torch.ones(count, 1, dtype=torch.float64)
    normal, eye = normal.double().expand(count, 3), eye.double().expand(count, 3)
    return ShadingPoints(0 * normal, normal, eye, one.expand(-1, 3) * 0.5, one * 0.3, one * roughness)


@pytest.mark.parametrize("sharpness", [0.4, 3.0, 25.0, 200.0])
def test_integrals_of_lobes(sharpness):
    axes, normals = unit(6), unit(6, 1)
    lam = torch.tensor(sharpness, dtype=torch.float64)
    lobes = torch.exp(lam * (DIRECTIONS @ axes.T - 1))
    exact = AREAS @ lobes
    torch.testing.assert_close(lobe_integral(lam).expand(6), exact, rtol=0.002, atol=0)
    cosine = (axes * normals).sum(1)
    against = AREAS @ (lobes * (DIRECTIONS @ normals.T).clamp(min=0))
    ours = cosine_integral(cosine, lam)
    assert ((ours - against).abs() <= 0.02 * against + 1e-4 * exact).all()
    other = torch.exp(7.0 * (DIRECTIONS @ normals.T - 1))
    torch.testing.assert_close(
        product_integral(cosine, lam, lam.new_tensor(7.0)), AREAS @ (lobes * other), rtol=0.02, atol=1e-9
    )


def test_integrals_have_gradients():
    cosine = torch.tensor([-0.501, 0.102, 0.853], dtype=torch.float64, requires_grad=True)
    first = torch.tensor([0.7, 5.0, 80.0], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([2.0, 9.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product_integral, (cosine, first, second))
    assert torch.autograd.gradcheck(cosine_integral, (cosine, first), eps=1e-7, atol=1e-4)


def test_lobes_light_surfaces_as_their_image_does():
    lobes = SphericalGaussians(
        unit(5).float(), torch.tensor([[2.0], [8.0], [20.0], [4.0], [50.0]]), torch.rand(5, 3) + 0.2
    )
    image = lobes.radiance(texel_directions(64, torch.empty(0)))
    light = environment_light(image)
    normals = unit(200, 2).float()
    eyes = functional.normalize(normals + 0.6 * unit(200, 3).float(), dim=1)
    one = torch.ones(200, 1)
    for metallic, roughness, most in ((0.0, 0.7, 0.06), (1.0, 0.4, 0.2)):
        points = ShadingPoints(normals, normals, eyes, one.expand(-1, 3), one * metallic, one * roughness)
        wanted = light.reflected(points)
        assert float((lobes.reflected(points) - wanted).norm() / wanted.norm()) < most


def test_lobes_are_fitted_to_an_environment():
    image = SphericalGaussians(
        unit(3, 4).float(), torch.tensor([[1.0], [15.0], [60.0]]), torch.tensor([[0.3], [2.0], [9.0]]).expand(3, 3)
    ).radiance(texel_directions(24, torch.empty(0)))
    found = fit_lobes(image, 8, steps=80)
    total = (image * solid_angles(24, image)[..., None]).sum((0, 1))
    torch.testing.assert_close(found.integral(), total, rtol=0.01, atol=0)
    normals = unit(50, 5).float()
    cosines = (texel_directions(24, image) @ normals.T).clamp(min=0) * solid_angles(24, image)[..., None]
    wanted = torch.einsum("hwn,hwc->nc", cosines, image)
    assert float((found.irradiance(normals) - wanted).abs().max() / wanted.mean()) < 0.1


def test_lamps_agree_with_each_other():
    normal, eye = torch.tensor([0.0, 0, 1]), functional.normalize(torch.tensor([0.3, 0.1, 1.0]), dim=0)
    points = gray(1, normal, eye)
    towards = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)
    sun = SunLight(towards, torch.full((3,), 2.0, dtype=torch.float64)).reflected(points)
    torch.testing.assert_close(sun, 2 * reflectance(points, functional.normalize(towards, dim=0)[None]))
    far = PointLight(towards * 1000, torch.full((3,), 2e6 * 1.25, dtype=torch.float64)).reflected(points)
    torch.testing.assert_close(far, sun, rtol=1e-3, atol=0)
    side = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    edge_u = 0.02 * torch.linalg.cross(functional.normalize(towards, dim=0), side)
    edge_v = 0.02 * torch.linalg.cross(functional.normalize(towards, dim=0), functional.normalize(edge_u, dim=0))
    small = AreaLight(towards, edge_v, edge_u, torch.ones(3, dtype=torch.float64), samples=3)
    assert (small.reflected(points) > 0).all() and (
        AreaLight(towards, edge_u, edge_v, small.radiance).reflected(points) == 0
    ).all(), "it shines to one side"
    lamp = PointLight(towards, small.power() / math.pi).reflected(points)
    torch.testing.assert_close(small.reflected(points), lamp, rtol=0.01, atol=0)
    both = reflected_of_all(points, [small, SunLight(towards, torch.full((3,), 2.0, dtype=torch.float64))])
    torch.testing.assert_close(both, small.reflected(points) + sun)


def test_a_flat_map_keeps_normals_and_a_tilted_one_follows_the_image():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    uvs = torch.stack([corners[:, 0], 1 - corners[:, 1]], 1)  # v runs downward
    mesh = Mesh.single(
        corners, torch.tensor([[0, 1, 2], [0, 2, 3]]), normals=torch.tensor([[0.0, 0, 1]]).expand(4, 3), uvs=uvs
    )
    frame = vertex_tangents(mesh)
    assert mesh.normals is not None
    flat = mapped_normals(torch.tensor([[0.5, 0.5, 1.0]]).expand(4, 3), 0.7 * mesh.normals, frame)
    torch.testing.assert_close(flat, mesh.normals)
    tilted = mapped_normals(torch.tensor([[0.5, 1.0, 0.5]]).expand(4, 3), mesh.normals, frame)
    torch.testing.assert_close(tilted, torch.tensor([[0.0, 1, 0]]).expand(4, 3), atol=1e-6, rtol=0)
    right = mapped_normals(torch.tensor([[1.0, 0.5, 0.5]]).expand(4, 3), mesh.normals, frame)
    torch.testing.assert_close(right, torch.tensor([[1.0, 0, 0]]).expand(4, 3), atol=1e-6, rtol=0)


def test_tone_curves_rise_and_stay_in_range():
    values = torch.linspace(0, 60, 4000)[:, None].expand(-1, 3)
    for curve in ("clip", "soft", "neutral"):
        shown = tone_mapped(values, curve)
        assert (shown >= 0).all() and (shown <= 1).all()
        assert (shown.diff(dim=0) >= -1e-6).all()
    assert torch.equal(soft_highlights(values[:40]), values[:40])
    # Reference values of the published shader, by hand: toe 6.25 x² below 0.08, offset 0.04 above it.
    assert khronos_neutral(torch.tensor([0.04, 0.04, 0.04])).tolist() == pytest.approx([0.01] * 3)
    assert khronos_neutral(torch.tensor([0.5, 0.3, 0.2])).tolist() == pytest.approx([0.46, 0.26, 0.16])
    bright = khronos_neutral(torch.tensor([2.04, 0.04, 0.04]))
    # Peak 2.01 after the toe → 1 − 0.24² / (2.01 + 0.24 − 0.76); saturation falls by 1 − 1 / (0.15 (2.01 − 0.961) + 1).
    assert bright.tolist() == pytest.approx([0.961342, 0.134798, 0.134798], abs=1e-5)
