"""Awkward inputs of weighted_normals: a fan of thousands of faces, sizes far apart, broken and absent vertices."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tests.ops.cases_raster import grid_faces
from tests.ops.emulation.inputs import DTYPES, INF, NAN, Input, normal
from torch_utils.ops.weighted_normals import weighted_normals


def _fan(count: int) -> Tensor:
    """Faces [count, 3] of a fan around vertex 0; count + 2 vertices."""
    around = torch.arange(1, count + 1)
    return torch.stack([torch.zeros_like(around), around, around + 1], 1).int()


def weighted_normals_inputs() -> Iterator[Input]:
    for dtype in DTYPES:

        def mesh(label: str, vertices: Tensor, faces: Tensor, dtype: torch.dtype = dtype) -> Input:
            arguments = {"vertices": vertices.to(dtype), "faces": faces.int()}
            return Input(f"{dtype} {label}", weighted_normals, arguments, ("vertices",))

        yield mesh("empty", torch.zeros(0, 3), torch.zeros(0, 3))
        yield mesh("no faces", normal(300, 3), torch.zeros(0, 3))
        yield mesh("grid", normal(21 * 31, 3, dtype=torch.float64), grid_faces(30, 20))
        yield mesh("fan", normal(3002, 3, seed=1, dtype=torch.float64), _fan(3000))
        scales = 10.0 ** torch.linspace(-12, 12, 402, dtype=torch.float64)[:, None]
        yield mesh("sizes", normal(402, 3, seed=2, dtype=torch.float64) * scales, _fan(400))
        yield mesh("tiny", normal(402, 3, seed=3, dtype=torch.float64) * 1e-30, _fan(400))
        canceled = torch.cat([_fan(20), _fan(20).flip(1)])
        yield mesh("canceled", normal(22, 3, seed=4, dtype=torch.float64), canceled)
        yield mesh("without area", normal(22, 3, seed=5), torch.arange(22)[:, None].expand(22, 3))
        broken = normal(12, 3, seed=6, dtype=torch.float64)
        broken[5, 1], broken[10, 0] = NAN, INF
        # Not its gradients: a component may be NaN on the CPU and all three on CUDA.
        yield Input(f"{dtype} broken", weighted_normals, {"vertices": broken.to(dtype), "faces": _fan(10)})
