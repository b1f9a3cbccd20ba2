"""The metallic-roughness reflectance against numeric integration, and its energy."""

import math

import pytest
import torch
from torch import Tensor

from rendering.brdf import (
    ShadingPoints,
    ggx_alpha,
    ggx_distribution,
    reflectance,
    schlick_fresnel,
    smith_visibility,
    split_sum_table,
)
from torch_utils.ops.environment_shading import split_sum

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def eye_at(cosine: float) -> Tensor:
    return torch.tensor([math.sqrt(1 - cosine**2), 0.0, cosine], dtype=torch.float64)


def half_vectors(alpha: float, polar: int = 800, turns: int = 96) -> Tensor:
    """Facet normals [K, 3], distributed as D(h) n·h: exact quantiles, so their mean is a quadrature."""
    s = (torch.arange(polar, dtype=torch.float64) + 0.5) / polar
    cosine = ((1 - s) / (1 + (alpha**2 - 1) * s)).sqrt()[:, None]
    azimuth = (torch.arange(turns, dtype=torch.float64) + 0.5) * (2 * math.pi / turns)
    sine = (1 - cosine.square()).sqrt()
    return torch.stack(torch.broadcast_tensors(sine * azimuth.cos(), sine * azimuth.sin(), cosine), -1).reshape(-1, 3)


def points_of(count: int, eye: Tensor, base: float, metallic: float, roughness: float) -> ShadingPoints:
    def column(value: float, width: int) -> Tensor:
        return torch.full((count, width), value, dtype=torch.float64)

    normal = UP.expand(count, 3)
    return ShadingPoints(
        normal, normal, eye.expand(count, 3), column(base, 3), column(metallic, 1), column(roughness, 1)
    )


def reflected_of_white_room(eye: Tensor, base: float, metallic: float, roughness: float, diffuse="lambert") -> float:
    """∫ BRDF · n·l over the hemisphere: one half of the light directions from facets, the other from a cosine."""
    alpha = float(ggx_alpha(torch.tensor(roughness)))
    half = half_vectors(alpha)
    facing = half @ eye
    mirrored = 2 * facing[:, None] * half - eye
    u = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    angle = (torch.arange(96, dtype=torch.float64) + 0.5) * (2 * math.pi / 96)
    radius = u.sqrt()[:, None]
    cosine = torch.stack(
        torch.broadcast_tensors(radius * angle.cos(), radius * angle.sin(), (1 - radius.square()).sqrt()), -1
    ).reshape(-1, 3)

    def facet_density(light: Tensor) -> Tensor:
        h = torch.nn.functional.normalize(light + eye, dim=1)
        d = ggx_distribution(UP.expand_as(h), h, torch.tensor(alpha, dtype=torch.float64))
        return (d[:, 0] * h[:, 2] / (4 * (h @ eye).clamp(min=1e-9))).clamp(min=0)

    total = 0.0
    for light in (mirrored, cosine):  # the balance heuristic of two deterministic sample sets
        above = (light[:, 2] > 0) & ((facing > 0) if light is mirrored else True)
        density = facet_density(light) + light[:, 2].clamp(min=0) / math.pi
        value = reflectance(points_of(len(light), eye, base, metallic, roughness), light, diffuse)[:, 0]
        total += float((value / density.clamp(min=1e-12) * above).mean())
    return total


@pytest.mark.parametrize("roughness", [0.1, 0.3, 0.6, 1.0])
def test_the_table_is_the_integral_of_the_layer(roughness):
    for cosine in (0.1, 0.4, 0.95):
        eye, alpha = eye_at(cosine), roughness**2
        half = half_vectors(alpha)
        facing = half @ eye
        light = 2 * facing * half[:, 2] - cosine
        weight = smith_visibility(light.clamp(min=0), torch.tensor(cosine), torch.tensor(alpha)) * light.clamp(min=0)
        weight = weight * 4 * facing.clamp(min=0) / half[:, 2]
        for f0 in (0.04, 0.5, 1.0):
            numeric = float((weight * schlick_fresnel(torch.tensor(f0), facing)).mean())
            point = torch.tensor([cosine]), torch.tensor([roughness])
            scale, bias = split_sum(*point, split_sum_table()).tolist()
            assert f0 * scale + bias == pytest.approx(numeric, rel=0.01)


@pytest.mark.parametrize("diffuse", ["lambert", "disney"])
def test_white_surfaces_reflect_all_light_and_no_more(diffuse):
    for metallic, roughness in ((0.0, 0.2), (0.0, 0.8), (0.5, 0.4), (1.0, 0.3), (1.0, 1.0)):
        for cosine in (0.15, 0.6):
            total = reflected_of_white_room(eye_at(cosine), 1.0, metallic, roughness, diffuse)
            assert total <= 1.0005
            if diffuse == "lambert":
                assert total == pytest.approx(1, abs=0.004 if metallic in (0, 1) else 0.03)
            else:
                assert total > 0.7


def test_the_distribution_is_normalized():
    # ∫ D(h) n·h = 1, in the variable tan θ / α, where the lobes of all widths look alike.
    for alpha in (0.01, 0.2, 1.0):
        tangent = torch.linspace(0, 1, 4001, dtype=torch.float64)[1:-1]
        tangent, weight = alpha * tangent / (1 - tangent), alpha / (1 - tangent).square() / 4000
        cosine = 1 / (1 + tangent.square()).sqrt()
        half = torch.stack([tangent * cosine, 0 * cosine, cosine], 1)
        density = ggx_distribution(UP.expand_as(half), half, torch.tensor(alpha, dtype=torch.float64))[:, 0]
        # sin θ dθ = cos³ θ · tan θ · d(tan θ)
        total = (density * cosine * cosine**3 * tangent * weight).sum() * 2 * math.pi
        assert float(total) == pytest.approx(1, rel=0.01)


def test_gradients():
    generator = torch.Generator().manual_seed(0)

    def unit(rows: int) -> Tensor:
        v = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(v.abs() + 0.1, dim=1)

    def run(normal, eye, light, base, metallic, roughness, diffuse):
        return reflectance(ShadingPoints(normal, normal, eye, base, metallic, roughness), light, diffuse)

    base, metallic, roughness = (
        torch.rand(3, width, generator=generator, dtype=torch.float64) * 0.8 + 0.1 for width in (3, 1, 1)
    )
    inputs = [x.requires_grad_() for x in (unit(3), unit(3), unit(3), base, metallic, roughness)]
    for diffuse in ("lambert", "disney"):
        assert torch.autograd.gradcheck(lambda *x, d=diffuse: run(*x, d), inputs)
