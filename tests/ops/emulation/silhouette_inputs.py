"""Awkward inputs of silhouettes and lfd_descriptor: broken triangles; silhouettes of odd shapes and of many parts."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tests.ops.cases_metrics import METRIC_CASES
from tests.ops.cases_raster import triangle_soup
from tests.ops.emulation.inputs import DTYPES, INF, NAN, Input, normal
from torch_utils.ops.lfd_descriptor import lfd_descriptor
from torch_utils.ops.silhouettes import silhouettes


def silhouettes_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        for side, faces in ((64, 1), (128, 300), (64, 0)):
            p, f, _ = triangle_soup(1, faces, dtype, 7)
            points = p[:, :3].contiguous()
            if faces > 9:
                points[5, 0], points[17, 1], points[40] = NAN, INF, 1e20
                points[::7] *= 6
                f[8, 1] = f[8, 0]
            axes = torch.linalg.qr(normal(5, 3, 3, seed=6, dtype=torch.float64)).Q[:, :2].contiguous().to(dtype)
            yield Input(
                f"{dtype} {side} {faces}", silhouettes, {"vertices": points, "faces": f, "axes": axes, "side": side}
            )


def odd_shapes(side: int) -> Tensor:
    """Silhouettes [1, 14, side, side / 8]: of one part and of many, at the border, thin, winding and noisy."""
    images = np.zeros((14, side, side), bool)
    comb, spiral, two, near, far, valley, line, frame, corners, noise, sparse, ring, full, _ = images
    comb[2 : side - 1 : 2, 1 : side - 3] = comb[1 : side - 1, 1] = True  # its contour is longer than is kept at a time
    for k in range(0, side // 2 - 3, 4):  # a corridor that winds inwards
        spiral[k, max(0, k - 4) : side - k] = spiral[k : side - k, side - 1 - k] = True
        spiral[side - 1 - k, k : side - k] = spiral[k + 4 : side - k, k] = True
    two[10:20, 20:30] = two[10:20, 32:44] = True  # merged by one dilation
    near[10:20, 20:30] = near[25:40, 20:50] = True  # by two
    far[8:12, 40:60] = far[side - 9 :, :7] = far[40, 62] = True  # by a filled box
    for k in range(9):
        valley[30 + k, [30 - k, 30 + k]] = True  # two branches from the first pixel
    line[20:50, 25] = line[35, 3:60] = True
    frame[[0, -1]] = frame[:, [0, -1]] = True
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    generator = np.random.default_rng(5)
    noise[:] = generator.random((side, side)) < 0.5
    sparse[:] = generator.random((side, side)) < 0.002
    y, x = np.mgrid[:side, :side] - side / 2.2
    ring[:] = (np.hypot(x, y) < side / 3) & (np.hypot(x, y) > side / 4)
    full[:] = True
    return torch.from_numpy(np.packbits(images, axis=-1, bitorder="little"))[None]


def lfd_descriptor_inputs() -> Iterator[Input]:
    case = next(case for case in METRIC_CASES if case.name == "lfd_descriptor")
    yield Input("light fields of several sizes", lfd_descriptor, case.make(2, 61, torch.float32))
    for side in (64, 192):  # fewer words than lanes, and more
        yield Input(f"odd shapes {side}", lfd_descriptor, {"silhouettes": odd_shapes(side)})
    shapes = odd_shapes(64)
    for label, views in (("no view", shapes[:, :0]), ("no light field", shapes[:0]), ("nothing seen", shapes[:, -1:])):
        yield Input(label, lfd_descriptor, {"silhouettes": views})
    memory = torch.zeros(shapes.numel() + 3, dtype=torch.uint8)
    misaligned = memory[3:].view(shapes.shape)
    misaligned.copy_(shapes)
    yield Input("at an odd address", lfd_descriptor, {"silhouettes": misaligned})
