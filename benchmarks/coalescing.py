"""How well the lanes of a warp share memory accesses, without a GPU: a column of `python -m benchmarks.sass`.

Memory moves in sectors of 32 bytes. An access of a warp touches some sectors; the bytes that it needs would fit into
so many at least. The ratio of both is 1 if neighboring lanes take neighboring values, and 8 if each lane takes a float
somewhere else. Each kernel runs in the emulation (tests/ops/emulation/accesses.cpp) on a small input of the usual kind,
and its global accesses are counted as the source has them. What a cache keeps of a sector for the next access does not
count: if x, y and z of a point are read one after the other, each read touches three times the fewest sectors.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.rows_networks import FILTER, image
from benchmarks.rows_raster import bumpy_sphere, raster_inputs
from rendering.brdf import ShadingPoints
from rendering.procedural_light import preview_environment
from tests.ops.emulation.library import ACCESSES, Emulation, build_library
from torch_utils.ops.antialias import antialias
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.face_neighbors import face_neighbors
from torch_utils.ops.lattice_mlp import lattice_mlp
from torch_utils.ops.lfd_distance import VIEW_BYTES, lfd_distance
from torch_utils.ops.loading import use_mode
from torch_utils.ops.point_mlp import point_mlp
from torch_utils.ops.rasterize import rasterize
from torch_utils.ops.triplane_sample import triplane_sample
from torch_utils.ops.upfirdn2d import upfirdn2d
from torch_utils.ops.weighted_normals import weighted_normals

CPU = torch.device("cpu")
VIEWS, SIDE, FACES = 2, 64, 2000
UP, DOWN, BLUR = {"up": 2, "padding": (2, 1, 2, 1)}, {"down": 2, "padding": (1, 1, 1, 1)}, {"padding": (2, 1, 2, 1)}


@dataclass(frozen=True)
class Accesses:
    """Requests of warps to global memory, the sectors of 32 bytes that they touch, and the fewest that could do."""

    requests: int
    sectors: int
    fewest: int

    @property
    def ratio(self) -> float:
        """Sectors touched over the fewest possible: 1 is best."""
        return self.sectors / self.fewest


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    torch.autograd.grad(outputs, leaves, [torch.ones_like(output) for output in outputs])


def _filtered(channels: int, dtype: torch.dtype, **options) -> None:
    side = 32 if channels > 1 else 128
    upfirdn2d(image((1, channels, side, side), dtype, channels > 1, CPU), FILTER, **options)


def _biased(dtype: torch.dtype, channels_last: bool = True) -> None:
    x, bias = image((2, 64, 32, 32), dtype, channels_last, CPU), torch.zeros(64, requires_grad=True)
    _gradients([bias_act(x, bias)], [x, bias])


def _looked_up() -> None:
    planes = torch.randn(1, 3, 64, 64, 32, requires_grad=True)
    points = (torch.rand(1000, 3) * 2 - 1).requires_grad_()
    _gradients([triplane_sample(planes, points, torch.tensor([0, 1000]))], [planes, points])


def _described() -> None:
    lfd_distance(*(torch.randint(80, (2, 10, 10, VIEW_BYTES), dtype=torch.uint8) for _ in range(2)))


def _layers() -> None:
    x = torch.randn(512, 64, requires_grad=True)
    weights = [torch.randn(2, 64, 64, requires_grad=True) for _ in range(2)]
    biases = [torch.zeros(64, requires_grad=True) for _ in range(2)]
    _gradients([point_mlp(x, weights, biases, torch.tensor([0, 256, 512]))], [x, *weights, *biases])


def _grid_of_points() -> None:
    planes = torch.randn(1, 16, 16, 3, 16).permute(0, 3, 1, 2, 4)
    lattice_mlp(planes, torch.randn(1, 16, 32), torch.randn(32), torch.randn(1, 32), torch.linspace(-1, 1, 16))


def _shaded() -> None:
    values = [torch.rand(2000, width).requires_grad_() for width in (3, 3, 3, 1, 1)]
    leaves = [values[0] - 0.5, values[1] - 0.5, *values[2:]]
    light = preview_environment().reflected(ShadingPoints(torch.zeros(2000, 3), *leaves))
    _gradients([light], values)


def _normals() -> None:
    vertices, faces = bumpy_sphere(FACES)
    leaf = vertices.requires_grad_()
    _gradients([weighted_normals(leaf, faces)], [leaf])


def _drawn(derivatives: bool) -> None:
    inputs = raster_inputs(VIEWS, SIDE, FACES, CPU)
    leaf = inputs.positions.requires_grad_()
    found = rasterize(leaf, inputs.faces, inputs.face_offsets, (SIDE, SIDE), derivatives=derivatives)
    _gradients([part for part in found if part is not None], [leaf])


def _silhouettes() -> None:
    inputs = raster_inputs(VIEWS, SIDE, FACES, CPU)
    rast = rasterize(inputs.positions, inputs.faces, inputs.face_offsets, (SIDE, SIDE))[0]
    antialias(torch.rand(VIEWS, SIDE, SIDE, 4), rast, inputs.positions, inputs.faces, face_neighbors(inputs.faces))


# What runs the kernels of an op, by the words of a case; the first that is part of the case counts.
CALLS: dict[str, dict[str, Callable[[], None]]] = {
    "upfirdn2d": {
        f"{name}{channels}{dtype}": partial(_filtered, 1 if channels != ", " else 64, getattr(torch, dtype), **options)
        for name, options in (("up 2", UP), ("down 2", DOWN), ("blur", BLUR))
        for channels in (", one channel, ", ", ")
        for dtype in ("float32", "bfloat16")
    },
    "bias_act": {
        "planar": partial(_biased, torch.float32, False),
        "float32": partial(_biased, torch.float32),
        "bfloat16": partial(_biased, torch.bfloat16),
    },
    "triplane_sample": {"": _looked_up},
    "lfd_distance": {"": _described},
    "point_mlp": {"": _layers},
    "lattice_mlp": {"": _grid_of_points},
    "environment_shading": {"": _shaded},
    "weighted_normals": {"": _normals},
    "rasterize": {"derivatives": partial(_drawn, True), "": partial(_drawn, False)},
    "antialias": {"": _silhouettes},
}
# Ops that prepare the inputs of others.
NEEDED = {"rasterize", "face_neighbors"}


def _short(kernel: str) -> str:
    return kernel.partition("<")[0].removesuffix("_kernel")


class Counter:
    """Runs calls on the emulated kernels of some ops, or of all, and counts their accesses. One a process."""

    def __init__(self, ops: Sequence[str] = ()) -> None:
        library = build_library(ACCESSES, only=ops)
        self._emulation, self._take = Emulation(library), ctypes.CDLL(str(library)).emulation_accesses
        self._take.restype = ctypes.c_char_p

    def count(self, call: Callable[[], object]) -> dict[str, Accesses]:
        """The accesses of each kernel that `call` launches, by name without "_kernel" and template arguments."""
        torch.manual_seed(0)
        self._take()
        with use_mode("require"), self._emulation.running("forward"):
            call()
        lines = [line.split() for line in self._take().decode().splitlines()]
        return {_short(name): Accesses(*map(int, numbers)) for name, *numbers in lines}


def measure(kernels: Sequence[tuple[str, str, str]]) -> list[Accesses]:
    """The accesses of each (op, kernel, case)."""
    counter = Counter(sorted({op for op, _, _ in kernels} | NEEDED))
    runs: dict[Callable[[], None], dict[str, Accesses]] = {}
    found = []
    for op, kernel, case in kernels:
        call = next(call for words, call in CALLS[op].items() if words in case)
        if call not in runs:
            runs[call] = counter.count(call)
        found.append(runs[call][_short(kernel)])
    return found
