"""Edges of environment_shading: poles, grazing angles, ends of the ranges, environments with a gradient."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.ops.cases_shading import SHADING_CASES, SURFACE, small_environment
from tests.ops.emulation.shading_inputs import awkward_directions
from torch_utils.ops.environment_shading import environment_shading, environment_shading_reference

pytestmark = pytest.mark.usefixtures("kernels_required")


def surface(normals: Tensor, eyes: Tensor, metallic: float, roughness: float) -> dict[str, Tensor]:
    ends = (torch.full((len(normals), 1), value, dtype=normals.dtype) for value in (metallic, roughness))
    return dict(zip(SURFACE, (normals, eyes, torch.full_like(normals, 0.6), *ends), strict=True))


@pytest.mark.parametrize("roughness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("metallic", [0.0, 1.0])
def test_poles_axes_and_ends_of_the_ranges(metallic: float, roughness: float) -> None:
    every = awkward_directions()
    normals, eyes = (part.reshape(-1, 3) for part in torch.broadcast_tensors(every[:, None], every[None]))
    environment = small_environment(torch.Generator().manual_seed(0), torch.float64)
    values = surface(normals, eyes, metallic, roughness)
    for found, wanted in zip(
        environment_shading(**values, **environment),
        environment_shading_reference(**values, **environment),
        strict=True,
    ):
        assert torch.allclose(found, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("function", [environment_shading, environment_shading_reference])
def test_straight_up_the_azimuth_has_no_gradient(function) -> None:
    environment = small_environment(torch.Generator().manual_seed(0), torch.float64)
    for height in (1.0, -1.0):
        normal = torch.tensor([[0.0, height, 0.0]], dtype=torch.float64, requires_grad=True)
        eye = functional.normalize(torch.tensor([[0.3, height, 0.2]], dtype=torch.float64), dim=1)
        total = sum(part.sum() for part in function(**surface(normal, eye, 0.0, 0.5), **environment))
        (gradient,) = torch.autograd.grad(total, normal)
        assert float(gradient.abs().max()) < 100


def test_grazing_and_hidden_surfaces_are_finite() -> None:
    environment = small_environment(torch.Generator().manual_seed(0), torch.float32)
    angles = torch.tensor([1.5, 1.57, 1.5707, 1.5708, 1.5709, 1.6, 3.1])
    eyes = torch.stack([angles.cos(), angles.sin(), torch.zeros(7)], 1)
    normals = torch.tensor([[1.0, 0, 0]]).repeat(7, 1).requires_grad_()
    for roughness in (0.0, 1.0):
        values = surface(normals, eyes, 0.0, roughness)
        parts = environment_shading(**values, **environment)
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in parts), normals)
        assert all(torch.isfinite(part).all() for part in (*parts, gradient))
        assert all((part >= 0).all() for part in parts)


def test_an_environment_can_be_learned() -> None:
    (case,) = SHADING_CASES
    arguments = case.make(1, 5, torch.float64)
    mirror = arguments["mirror"].requires_grad_()
    (gradient,) = torch.autograd.grad(environment_shading(**arguments)[0].sum(), mirror)
    assert gradient.any()


def test_one_part_alone_has_a_gradient() -> None:
    (case,) = SHADING_CASES
    arguments = case.make(2, 5, torch.float64)
    leaves = [arguments[name].requires_grad_() for name in SURFACE]
    for part in (0, 1):
        found = torch.autograd.grad(environment_shading(**arguments)[part].sum(), leaves)
        wanted = torch.autograd.grad(environment_shading_reference(**arguments)[part].sum(), leaves, allow_unused=True)
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, torch.zeros_like(a) if b is None else b, atol=1e-10)
