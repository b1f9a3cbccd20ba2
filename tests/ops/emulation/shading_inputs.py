"""Awkward inputs of environment_shading: more than a block, poles, broken directions, ends of the ranges."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from tests.ops.cases_shading import SURFACE, small_environment
from tests.ops.emulation.inputs import DTYPES, INF, NAN, Input, normal
from torch_utils.ops.environment_shading import environment_shading


def awkward_directions() -> Tensor:
    """Unit vectors [14, 3]: along the axes, at the poles and close to them, and on the seam of the images."""
    rows = [[0, 1, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1], [1e-7, 1, 0], [0, 1, 1e-5]]
    rows += [[-1, 0.5, 1e-9], [-1, 0.5, -1e-9], [-1, -0.2, 0], [1e-6, -1, 1e-6], [1, 1, 1], [-1, 1e-8, -1]]
    return functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


def environment_shading_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        environment = small_environment(torch.Generator().manual_seed(2), dtype)
        for count in (0, 1, 31, 300, 1100):
            directions = functional.normalize(normal(count, 3, seed=count, dtype=torch.float64), dim=1)
            eyes = functional.normalize(directions + 0.8 * normal(count, 3, seed=1, dtype=torch.float64), dim=1)
            colors = torch.rand(count, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            surface = dict(zip(SURFACE, (directions, eyes, *colors.split((3, 1, 1), 1)), strict=True))
            arguments = {name: value.to(dtype) for name, value in surface.items()} | environment
            yield Input(f"{dtype} {count}", environment_shading, arguments, SURFACE)
        every = awkward_directions()
        normals, eyes = (part.reshape(-1, 3) for part in torch.broadcast_tensors(every[:, None], every[None]))
        for metallic, roughness in ((0.0, 0.0), (1.0, 0.4), (0.3, 1.0)):
            colors = torch.rand(len(normals), 3, generator=torch.Generator().manual_seed(4))
            ends = (torch.full((len(normals), 1), value) for value in (metallic, roughness))
            surface = dict(zip(SURFACE, (normals, eyes, colors, *ends), strict=True))
            arguments = {name: value.to(dtype) for name, value in surface.items()} | environment
            yield Input(f"{dtype} axes {roughness}", environment_shading, arguments, SURFACE)
        broken = {name: value.clone() for name, value in arguments.items()}
        broken["normal"][:4] = torch.tensor([[NAN, 0, 0], [INF, 0, 0], [0, 0, 0], [0, 1e30, 0]], dtype=dtype)
        broken["roughness"][4:8, 0] = torch.tensor([NAN, INF, -3, 7], dtype=dtype)
        yield Input(f"{dtype} broken", environment_shading, broken)
