"""Awkward inputs of the ops of networks and metrics: more than a block, odd sizes, broken and empty ones."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.ops.emulation.inputs import DTYPES, INF, NAN, Input, normal
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.chamfer import chamfer, chamfer_matrix
from torch_utils.ops.lattice_mlp import lattice_mlp
from torch_utils.ops.lfd_distance import VIEW_BYTES, lfd_distance
from torch_utils.ops.point_mlp import point_mlp
from torch_utils.ops.triplane_sample import triplane_sample
from torch_utils.ops.upfirdn2d import upfirdn2d


def bias_act_inputs() -> Iterator[Input]:
    # shape, dimension of the channels, channels last, with scale
    shapes: list[tuple[tuple[int, ...], int, bool, bool]] = [
        ((1, 1), 1, False, False), ((1000, 7), 1, False, True), ((5, 3), 0, False, False),
        ((2, 3, 33, 37), 1, True, True), ((2, 3, 33, 37), 1, False, True), ((3, 40, 2, 2), 1, True, True),
        ((3, 2, 64, 65), 1, True, True),
        ((2, 300, 5, 5), 1, True, False), ((2, 1, 9, 9), 1, True, True), ((2, 9, 1, 1), 1, True, True),
        ((2, 11, 5), 2, False, True), ((2, 3, 4, 5, 6), 2, False, False), ((7,), 0, False, False),
        ((1, 513), 1, False, True), ((513, 1), 1, False, True), ((2, 32, 32, 32), 1, True, True),
        ((2, 32, 16, 16), 1, False, True), ((2, 8, 64, 64), 1, False, False),
    ]  # fmt: skip
    for dtype in (*DTYPES, torch.bfloat16):
        sums = torch.float64 if dtype == torch.float64 else torch.float32
        for shape, dim, last, scaled in shapes:
            x = normal(*shape, seed=1, dtype=dtype)
            if last:
                x = x.contiguous(memory_format=torch.channels_last)
            for activation, clamp in (("lrelu", 1.0), ("linear", None)):
                arguments = {"x": x, "dim": dim, "activation": activation, "clamp": clamp}
                arguments["bias"] = normal(shape[dim], seed=2, dtype=sums)
                if scaled:
                    arguments["scale"] = normal(shape[0], shape[dim], seed=3, dtype=sums)
                gradients = ("x", "bias", "scale") if scaled else ("x", "bias")
                yield Input(f"{dtype} {shape} {dim} {activation}", bias_act, arguments, gradients)
    x = normal(3, 5, 7, 9)
    x[0, 0, 0, :4] = torch.tensor([NAN, INF, -INF, 0.0])
    yield Input("not finite", bias_act, {"x": x, "bias": normal(5), "clamp": 2.0}, ("x",))


def upfirdn2d_inputs() -> Iterator[Input]:
    generator = torch.Generator().manual_seed(0)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    for number in range(120):
        up, down, taps = pick(1, 4), pick(1, 4), pick(1, 8)
        if number % 4 == 0:  # what networks use, with whole groups of channels too
            up, down, taps = ((2, 1, 4), (1, 2, 4), (1, 1, 4), (2, 2, 4))[number // 4 % 4]
        batch, channels, height, width = (
            pick(1, 3),
            pick(1, 5) * (4 if number % 8 == 0 else 1),
            pick(1, 20),
            pick(1, 20),
        )
        padding = tuple(pick(-2, 6) for _ in range(4))
        out_height = height * up + padding[2] + padding[3] - taps
        out_width = width * up + padding[0] + padding[1] - taps
        if out_height < 0 or out_width < 0:
            continue
        dtype = (torch.float32, torch.float64, torch.bfloat16)[number % 3]
        x = normal(batch, channels, height, width, seed=number, dtype=dtype)
        arguments = {"x": x.contiguous(memory_format=torch.channels_last) if number % 2 == 0 else x}
        arguments |= {"filter": normal(taps, seed=1), "up": up, "down": down, "padding": padding, "gain": 1.3}
        add = normal(batch, channels, out_height // down + 1, out_width // down + 1, seed=3, dtype=dtype)
        with_add = {} if number % 5 < 2 else {"add": add if number % 5 < 4 else add.bfloat16()}
        label = f"{number} {dtype} up {up} down {down} taps {taps} {padding} {channels} channels"
        yield Input(label, upfirdn2d, {**arguments, **with_add}, ("x", *with_add))


def triplane_sample_inputs() -> Iterator[Input]:
    # samples, side, channels, points, channels adjacent to rows
    shapes = (
        (1, 1, 1, 7, False), (3, 2, 3, 300, True), (4, 6, 16, 700, True), (2, 33, 32, 500, False),
        (5, 8, 33, 300, True), (2, 4, 5, 0, False), (1, 16, 130, 50, True), (2, 5, 12, 257, True),
    )  # fmt: skip
    for dtype in DTYPES:
        for batch, side, channels, count, folded in shapes:
            planes = normal(batch, side, side, 3, channels, seed=1, dtype=dtype).permute(0, 3, 1, 2, 4)
            planes = planes if folded else planes.contiguous()
            points = normal(count, 3, seed=2, dtype=dtype) * 0.8
            if count > 8:
                points[0], points[1], points[2, 0], points[3], points[4, 1], points[5] = 1, -1, NAN, INF, -INF, 1e30
                points[7] = points[8]
            cuts = torch.randint(count + 1, (batch - 1,), generator=torch.Generator().manual_seed(count)).sort().values
            if batch > 3:
                cuts[1] = cuts[0]
            offsets = torch.cat([torch.tensor([0]), cuts, torch.tensor([count])])
            arguments = {"planes": planes, "points": points, "point_offsets": offsets}
            for gradients in (("planes", "points"), ("planes",), ("points",)):
                yield Input(
                    f"{dtype} {batch} {side} {channels} {count} {gradients}", triplane_sample, arguments, gradients
                )


def chamfer_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        for batch, p, q in ((0, 3, 4), (1, 1, 1), (2, 255, 256), (3, 257, 2), (1, 600, 513), (2, 1, 300)):
            x, y = normal(batch, p, 3, seed=1, dtype=dtype), normal(batch, q, 3, seed=2, dtype=dtype)
            if batch > 1:
                x[0, 0, 1], y[1, -1], y[1, 0] = NAN, INF, x[1, 0]
            yield Input(f"{dtype} {batch} {p} {q}", chamfer, {"x": x, "y": y}, ("x", "y"))
            yield Input(f"{dtype} {batch} {p} {q} matrix", chamfer_matrix, {"x": x, "y": y[: max(batch - 1, 1)]})


def lfd_distance_inputs() -> Iterator[Input]:
    generator = torch.Generator().manual_seed(0)
    for m, n in ((0, 2), (2, 0), (1, 1), (3, 2), (5, 4)):
        a, b = (torch.randint(256, (k, 10, 10, VIEW_BYTES), generator=generator, dtype=torch.uint8) for k in (m, n))
        if m and n:
            a[0], b[0] = 255, 0
        if m > 1 and n > 1:
            a[1] = b[1][torch.randperm(10, generator=generator)]
        yield Input(f"{m} {n}", lfd_distance, {"a": a, "b": b})


def point_mlp_inputs() -> Iterator[Input]:
    def function(x: Tensor, offsets: Tensor, **matrices: Tensor) -> Tensor:
        weights = [value for name, value in matrices.items() if name.startswith("weight")]
        return point_mlp(x, weights, [value for name, value in matrices.items() if name.startswith("bias")], offsets)

    for dtype in DTYPES:
        for widths, counts in (
            ((96, 64, 64, 3), (70, 0, 130)), ((5, 1), (1,)), ((1, 17, 16), (64, 64)), ((16, 65, 33, 20), (2500, 3)),
            ((7, 3), (0, 0)), ((3, 130), (200,)),
        ):  # fmt: skip
            arguments = {"x": normal(sum(counts), widths[0], seed=1, dtype=dtype)}
            arguments["offsets"] = torch.tensor([0, *counts]).cumsum(0)
            for k, (inner, outer) in enumerate(itertools.pairwise(widths)):
                arguments[f"weight{k}"] = normal(len(counts), inner, outer, seed=2 + k, dtype=dtype) / inner**0.5
                arguments[f"bias{k}"] = normal(outer, seed=9 + k, dtype=dtype)
            for gradients in (
                [n for n in arguments if n != "offsets"],
                [n for n in arguments if n.startswith("weight")],
            ):
                yield Input(f"{dtype} {widths} {counts} {len(gradients)} gradients", function, arguments, gradients)


def lattice_mlp_inputs() -> Iterator[Input]:
    for dtype in DTYPES:
        for batch, side, channels, hidden, count in (
            (1, 1, 1, 1, 1),
            (2, 9, 32, 32, 12),
            (3, 4, 5, 33, 7),
            (2, 5, 3, 64, 0),
        ):
            planes = normal(batch, side, side, 3, channels, seed=1, dtype=dtype).permute(0, 3, 1, 2, 4)
            arguments = {"planes": planes, "hidden": normal(batch, channels, hidden, seed=2, dtype=dtype) / channels}
            arguments |= {
                "bias": normal(hidden, seed=3, dtype=dtype),
                "output": normal(batch, hidden, seed=4, dtype=dtype),
            }
            arguments["coordinates"] = torch.linspace(-1.1, 1.05, count, dtype=dtype)
            yield Input(f"{dtype} {batch} {side} {channels} {hidden} {count}", lattice_mlp, arguments)
