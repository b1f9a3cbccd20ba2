"""Sample inputs of environment_shading."""

import torch
from torch import Tensor
from torch.nn import functional

from tests.ops.case import Arguments, BadInput, Case, edit
from torch_utils.ops.environment_shading import environment_shading, environment_shading_reference

SURFACE = ("normal", "towards_eye", "base_color", "metallic", "roughness")


def small_environment(generator: torch.Generator, dtype: torch.dtype) -> Arguments:
    """Noise, with images of different sizes and three knots."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    return {
        "mirror": uniform(10, 17, 3).to(dtype),
        "filtered": uniform(2, 6, 7, 3).to(dtype),
        "irradiance": uniform(5, 6, 3).to(dtype),
        "table": (0.05 + 0.4 * uniform(9, 9, 2)).to(dtype),
        "knots": torch.tensor([0, 0.4, 1], dtype=dtype),
    }


def _environment_shading(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    generator = torch.Generator().manual_seed(5)
    count = batch * width

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    normal = functional.normalize(2 * uniform(count, 3) - 1, dim=1)
    # From all sides, some from behind.
    eye = functional.normalize(normal + 1.2 * functional.normalize(2 * uniform(count, 3) - 1, dim=1), dim=1)
    return {
        "normal": (normal * (0.5 + uniform(count, 1))).to(dtype),
        "towards_eye": (eye * (0.5 + uniform(count, 1))).to(dtype),
        "base_color": uniform(count, 3).to(dtype),
        "metallic": uniform(count, 1).to(dtype),
        "roughness": uniform(count, 1).to(dtype),
        **small_environment(generator, dtype),
    }


SHADING_CASES = [
    Case(
        name="environment_shading",
        function=environment_shading,
        reference=environment_shading_reference,
        make=_environment_shading,
        gradients=SURFACE,
        overloads=lambda a: [(torch.ops.tetragan.environment_shading.default, tuple(a.values()))],
        tolerance={torch.float32: 5e-5, torch.float64: 1e-10},
        bad_inputs=(
            BadInput("rank", edit("normal", lambda n: n[None]), "environment_shading(): expected normal of shape"),
            BadInput("points", edit("roughness", lambda r: r[1:]), "expected roughness of shape [10, 1]"),
            BadInput("type", edit("base_color", lambda b: b.half()), "expected base_color of type float64", TypeError),
            BadInput("mixed", edit("mirror", lambda m: m.float()), "expected mirror of type float64", TypeError),
            BadInput("no rows", edit("irradiance", lambda i: i[:2]), "expected irradiance of 3 rows or more"),
            BadInput("no levels", edit("filtered", lambda f: f[:0]), "expected knots of shape [1]"),
            BadInput("knots", edit("knots", lambda k: k[1:]), "expected knots of shape [3]"),
            BadInput("table", edit("table", lambda t: t[1:]), "expected table of shape [S, 8, 2]"),
        ),
    ),
]
