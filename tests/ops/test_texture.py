"""What `texture` promises beyond agreeing with its reference in the generic tests."""

import pytest
import torch
from torch import Tensor

from tests.compare import assert_close, assert_gradient_close
from tests.ops.cases import CASES
from torch_utils.ops.texture import mip_levels, texture, texture_reference

pytestmark = pytest.mark.usefixtures("kernels_required")
MAKE = next(case.make for case in CASES if case.name == "texture")


def points(*values: tuple[float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None]


def test_texel_centers_and_borders() -> None:
    image = torch.arange(6, dtype=torch.float64).reshape(1, 2, 3, 1)  # row 0: 0 1 2, row 1: 3 4 5
    center = points((0.5 / 3, 0.25), (2.5 / 3, 0.75), (1 / 3, 0.25), (0.5 / 3, 0.5))
    assert_close(texture(image, center)[0, 0, :, 0], torch.tensor([0, 5, 0.5, 1.5]).double(), 1e-12)
    border = points((0.0, 0.25), (1.0, 0.25), (-0.1, 0.25), (1 + 0.5 / 3, 1.25))
    wrapped = torch.tensor([1.0, 1.0, 1.6, 0.0], dtype=torch.float64)
    assert_close(texture(image, border)[0, 0, :, 0], wrapped, 1e-12)
    held = torch.tensor([0.0, 2.0, 0.0, 5.0]).double()
    assert_close(texture(image, border, boundary="clamp")[0, 0, :, 0], held, 1e-12)
    nearest = texture(image, points((0.32, 0.49), (0.34, 0.51), (-0.01, 0.0)), filter="nearest")
    assert_close(nearest[0, 0, :, 0], torch.tensor([0.0, 4.0, 2.0]).double(), 0)


@pytest.mark.parametrize("boundary", ["wrap", "clamp"])
@pytest.mark.parametrize("filter", ["nearest", "bilinear", "trilinear"])
@pytest.mark.parametrize("shared", [False, True])
def test_every_setting_matches_the_reference(filter: str, boundary: str, shared: bool) -> None:
    arguments = MAKE(3, 5, torch.float64)
    image = arguments["image"][:1] if shared else arguments["image"]
    results = []
    for function in (texture, texture_reference):
        leaves = [x.clone().requires_grad_() for x in (image, arguments["uv"], arguments["uv_db"])]
        out = function(*leaves, filter=filter, boundary=boundary)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        gradients = torch.autograd.grad((out * weight).sum(), leaves, allow_unused=True)
        results.append((out, [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, leaves, strict=True)]))
    assert_close(results[0][0], results[1][0], 1e-10)
    for name, a, e in zip(("image", "uv", "uv_db"), results[0][1], results[1][1], strict=True):
        assert_gradient_close(a, e, 1e-10, name=name)


def test_footprint_chooses_the_level() -> None:
    """A footprint of 2^k texels shows level k; isotropic or stretched, the longer axis decides."""
    image = torch.rand(1, 16, 32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uv = points((0.37, 0.61))
    levels = mip_levels(image)
    assert [tuple(level.shape[1:3]) for level in levels] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2), (1, 1)]
    for k, level in enumerate(levels):
        expected = texture(level, uv)
        for db in ((2**k / 32, 0, 0, 2**k / 16), (0, 2**k / 32, 0.1 / 16, 0), (0, 0, 2**k / 16, 0)):
            footprint = torch.tensor(db, dtype=torch.float64)[None, None, None]
            assert_close(texture(image, uv, footprint), expected, 1e-3 if k else 1e-9, name=f"level {k}")
    beyond = torch.full((1, 1, 1, 4), 1e6, dtype=torch.float64)
    assert_close(texture(image, uv, beyond)[0, 0, 0], image.mean((0, 1, 2)), 1e-12)


def test_odd_sizes_keep_the_mean() -> None:
    image = torch.rand(1, 1, 1, 1).expand(1, 7, 5, 3).double()
    for level in mip_levels(image):
        assert_close(level, image[:, : level.shape[1], : level.shape[2]], 1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("boundary", ["wrap", "clamp"])
def test_bad_coordinates_stay_in_bounds(value: float, boundary: str) -> None:
    image = torch.rand(1, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    uv = torch.tensor([[[[value, 0.5], [0.5, value], [0.4, 0.4]]]], requires_grad=True)
    uv_db = torch.full((1, 1, 3, 4), value)
    for footprint in (None, uv_db):
        out = texture(image, uv, footprint, boundary=boundary)
        out.sum().backward()
        if footprint is None:
            assert out[0, 0, 2].isfinite().all()
        if value != value:
            assert out[0, 0, :2].isnan().all()


def test_trilinear_needs_a_footprint() -> None:
    with pytest.raises(ValueError, match=r'texture\(\): expected uv_db for filter "trilinear", got None'):
        texture(torch.zeros(1, 2, 2, 1), torch.zeros(1, 1, 1, 2), filter="trilinear")
    with pytest.raises(ValueError, match=r"expected filter to be one of nearest, bilinear, trilinear, got 'cubic'"):
        texture(torch.zeros(1, 2, 2, 1), torch.zeros(1, 1, 1, 2), filter="cubic")
