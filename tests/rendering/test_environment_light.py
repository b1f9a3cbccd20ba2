"""Environments: lookups, filters, files, and what surfaces reflect of them."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from rendering.brdf import ShadingPoints, reflectance
from rendering.environment_file import decode_radiance, read_environment, write_environment
from rendering.environment_light import environment_light, filtered_by_lobe, resized, solid_angles, texel_directions
from rendering.procedural_light import preview_environment, preview_light, random_light
from torch_utils.errors import UserError
from torch_utils.ops.environment_shading import radiance_from


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, 2 * rows, 3, generator=torch.Generator().manual_seed(seed)) ** 6 * 4


def unit(count: int, seed: int = 1) -> torch.Tensor:
    return functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=1)


def white(normal, eye, metallic: float, roughness: float) -> ShadingPoints:
    one = torch.ones(len(normal), 1)
    return ShadingPoints(normal, normal, eye, one.expand(-1, 3), one * metallic, one * roughness)


def test_lookups_return_the_texels_and_cross_the_poles():
    image = noise(16)
    light = environment_light(image)
    directions = texel_directions(16, image)
    torch.testing.assert_close(light.radiance(directions), image, atol=1e-4, rtol=0)
    # The three directions of the documentation: straight up, +X in the middle column, +Z a quarter to the right.
    marked = torch.zeros(16, 32, 3)
    marked[0] = 1
    marked[7:9, 15:17] = 2
    marked[7:9, 23:25] = 3
    marks = environment_light(marked).radiance(torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1], [0, -1, 0]]))
    assert marks[:, 0].tolist() == pytest.approx([1, 2, 3, 0], abs=1e-3)
    near = functional.normalize(torch.tensor([[0.01, 1, 0.02], [-0.01, 1, -0.02]]), dim=1)
    values = light.radiance(near)
    assert (values[0] - values[1]).abs().max() < 0.3 * image[0].std(0).max(), "continuous at the pole"


def test_filters_equal_sums_over_all_texels():
    image, normals = noise(64), unit(12)
    directions, area = texel_directions(64, image).reshape(-1, 3), solid_angles(64, image).reshape(-1, 1)
    cosines = normals @ directions.T
    irradiance = ((cosines.clamp(min=0)[..., None] * area) * image.reshape(-1, 3)).sum(1) / math.pi
    row = filtered_by_lobe(image, 0.5)
    center = texel_directions(64, image)[20, 7]
    half2 = (1 + directions @ center) / 2
    weight = (0.25 / (1 - half2 + 0.0625 * half2)).square() * (2 * half2 - 1).clamp(min=0) * area[:, 0]
    wanted = (weight[:, None] * image.reshape(-1, 3)).sum(0) / weight.sum()
    torch.testing.assert_close(row[20, 7], wanted, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        radiance_from(environment_light(image).irradiance[0], normals), irradiance, rtol=0.02, atol=1e-3
    )


def test_an_environment_keeps_its_image():
    image = noise(16)
    assert torch.equal(environment_light(image).image, image)


def test_an_environment_is_uploaded_without_waiting(monkeypatch):
    light, devices = environment_light(noise(16)), []
    monkeypatch.setattr("rendering.environment_light.upload", lambda image, device: devices.append(device) or image)
    light.to("cuda")
    assert devices == ["cuda"] * 3


def test_a_white_room_is_reflected_in_full():
    light = environment_light(torch.ones(32, 64, 3))
    normals = unit(200)
    eyes = functional.normalize(normals + 0.95 * unit(200, 2), dim=1)
    for metallic, roughness in ((0, 0), (0, 0.5), (0, 1), (1, 0.07), (1, 0.6), (1, 1)):
        shown = light.reflected(white(normals, eyes, metallic, roughness))
        assert shown.max() <= 1.0005
        assert shown.min() >= 0.9995


def test_rough_mirrors_approach_the_sum_over_the_hemisphere():
    image = resized(preview_light(), 64)
    light = environment_light(image)
    normals = unit(24)
    eyes = functional.normalize(normals + 0.5 * unit(24, 3), dim=1)
    directions, area = texel_directions(64, image).reshape(-1, 3), solid_angles(64, image).reshape(-1, 1)
    surfaces = white(normals, eyes, 1.0, 0.5)
    exact = []
    for index in range(24):
        one = ShadingPoints(*(getattr(surfaces, name)[index].expand(len(directions), -1) for name in FIELDS))
        exact.append((reflectance(one, directions) * area * image.reshape(-1, 3)).sum(0))
    error = (light.reflected(surfaces) - torch.stack(exact)).norm() / torch.stack(exact).norm()
    assert error < 0.12, "the split sum assumes the lobe of the normal direction"


FIELDS = ("position", "normal", "towards_eye", "base_color", "metallic", "roughness")


def test_gradients_reach_the_surface_and_the_environment():
    image = noise(4).double().requires_grad_()
    normals, eyes = unit(3).double(), unit(3, 5).double().abs()
    values = [torch.rand(3, w, generator=torch.Generator().manual_seed(w)).double() * 0.5 + 0.2 for w in (3, 1)]
    rough = torch.tensor([[0.05], [0.42], [0.9]], dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (functional.normalize(normals.abs() + 0.1, dim=1), *values, rough)]

    def run(image, normal, base, metallic, roughness):
        points = ShadingPoints(normal, normal, functional.normalize(eyes + 0.1, dim=1), base, metallic, roughness)
        return environment_light(image).reflected(points)

    assert torch.autograd.gradcheck(run, (image, *inputs), atol=1e-4, rtol=1e-3, fast_mode=True)


def test_environments_of_files(tmp_path):
    image = noise(8) * torch.tensor([1.0, 30.0, 0.01])
    path = tmp_path / "room.hdr"
    write_environment(path, image)
    read = read_environment(path)
    assert ((read - image).abs() <= image.amax(2, keepdim=True) / 128 + 1e-7).all()
    # The same texels, run-length encoded: one literal run of each channel and row.
    header, texels = path.read_bytes()[: -8 * 16 * 4], np.frombuffer(path.read_bytes()[-8 * 16 * 4 :], np.uint8)
    rows = [
        b"\x02\x02\x00\x10" + b"".join(b"\x10" + row[:, c].tobytes() for c in range(4))
        for row in texels.reshape(8, 16, 4)
    ]
    assert np.array_equal(decode_radiance(header + b"".join(rows)), read.numpy())
    runs = b"\x02\x02\x00\x10" + bytes([144, 128, 144, 64, 144, 0, 144, 129])
    constant = decode_radiance(b"#?RADIANCE\nEXPOSURE=2\n\n-Y 1 +X 16\n" + runs)
    assert constant.tolist() == [[[0.5, 0.25, 0.0]] * 16]


GRAY = b"\x80\x80\x80\x81" * 8


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.hdr", b"", "no Radiance header"),
        ("a.hdr", b"#?RADIANCE\n\n-Y 2 +X 4\n\x02", "damaged"),
        ("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 2 +X 4\n" + bytes(32), "XYZ"),
        ("a.hdr", b"#?RADIANCE\n\n-Y 2 +X 3\n" + bytes(24), "twice as wide"),
        ("a.hdr", b"#?RADIANCE\n\n-Y 2 +X 4\n" + bytes(32), "black everywhere"),
        ("a.hdr", b"#?RADIANCE\nEXPOSURE=-1\n\n-Y 2 +X 4\n" + GRAY, "negative or non-finite"),
        ("a.hdr", b"#?RADIANCE\nEXPOSURE=1e-300\n\n-Y 2 +X 4\n" + GRAY, "negative or non-finite"),
        ("a.hdr", b"#?RADIANCE\nEXPOSURE=0\n\n-Y 2 +X 4\n" + GRAY, "EXPOSURE is 0"),
        ("a.hdr", b"#?RADIANCE\n\n-Y 2 +X 4\n" + GRAY[:28] + b"\x80\x80\x80\xff", r"radiance of 8.5e\+37"),
        ("a.png", b"\x89PNG", "damaged"),
        ("a.exr", b"", "expected one of .hdr"),
    ],
)
def test_damaged_environments_are_refused(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=said):
        read_environment(tmp_path / name)


def test_the_room_of_previews_never_burns_white_surfaces_out():
    shown = radiance_from(preview_environment().irradiance[0], unit(500))
    assert 0.95 < shown.max() <= 1
    assert shown.min() > 0.1


def test_random_lights_differ_and_are_as_bright():
    means = []
    for index in range(6):
        image = random_light(index, 32)
        assert torch.equal(image, random_light(index, 32))
        assert torch.isfinite(image).all() and (image >= 0).all()
        means.append(float((image * solid_angles(32, image)[..., None]).sum() / (12 * math.pi)))
    assert min(means) > 0.3 and max(means) < 1
    assert len({round(mean, 6) for mean in means}) == 6
