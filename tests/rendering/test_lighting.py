import pytest
import torch

from rendering.lighting import SKY, STUDIO, facing, irradiance, reflected


def test_studio_light_is_bright_from_above_and_never_burns_out():
    directions = torch.nn.functional.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    light = irradiance(directions)
    assert light.max() < 1
    assert light.min() > 0.2
    up, down, front, back = irradiance(torch.tensor([[0.0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])).squeeze(1)
    assert up > front > back > down
    key = torch.nn.functional.normalize(torch.tensor([STUDIO.lights[0].towards]), dim=1)
    assert light.max() - irradiance(key) < 0.05


def test_soft_shading_scales_linear_light_and_albedo_keeps_it():
    base = torch.tensor([[0.2, 0.4, 0.8]])
    normal = torch.tensor([[0.0, 1.0, 0.0]])
    assert reflected(base, None, "albedo") is base
    torch.testing.assert_close(reflected(base, normal, "soft"), base * irradiance(normal))


def test_normals_are_turned_to_the_eye():
    normals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    towards_eye = torch.tensor([[0.5, 0.0, 2.0]]).expand(2, 3)
    assert (facing(normals, towards_eye) == torch.tensor([0.0, 0.0, 1.0])).all()


def test_the_sky_lights_by_height_alone_and_occlusion_dims_the_hemisphere_not_the_lamps():
    normals = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0], [0, -1, 0]])
    up, front, side, down = irradiance(normals, SKY).squeeze(1).tolist()
    assert (up, front, down) == pytest.approx((SKY.sky, (SKY.sky + SKY.ground) / 2, SKY.ground))
    assert front == side
    half = torch.full((4, 1), 0.5)
    torch.testing.assert_close(irradiance(normals, SKY, half), irradiance(normals, SKY) / 2)
    dark = irradiance(normals, STUDIO, 0 * half)
    assert (dark[:2] > 0.3).all(), "the key light still falls on the top and the front"
    gray = torch.full((4, 3), 0.5)
    torch.testing.assert_close(
        reflected(gray, normals, "soft", STUDIO, half), irradiance(normals, STUDIO, half).expand(4, 3) / 2
    )
