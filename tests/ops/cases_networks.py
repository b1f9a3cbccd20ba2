"""Sample inputs of bias_act, upfirdn2d, triplane_sample, point_mlp and lattice_mlp."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from tests.ops.case import Arguments, BadInput, Case, edit
from torch_utils.ops.bias_act import bias_act, bias_act_reference
from torch_utils.ops.lattice_mlp import lattice_mlp, lattice_mlp_reference
from torch_utils.ops.point_mlp import point_mlp, point_mlp_reference
from torch_utils.ops.triplane_sample import triplane_sample, triplane_sample_reference
from torch_utils.ops.upfirdn2d import upfirdn2d, upfirdn2d_reference


def _normal(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Standard normal numbers that float32 represents, in `dtype`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).float().to(dtype)


def _channels_last(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    return {
        "x": _normal(batch, width, 3, 4, dtype=dtype, seed=0).contiguous(memory_format=torch.channels_last),
        "bias": _normal(width, dtype=dtype, seed=1),
        "scale": _normal(batch, width, dtype=dtype, seed=2),
        "activation": "lrelu",
        "clamp": 1.5,
    }


def _planar(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    return {
        "x": _normal(batch, 5, width, dtype=dtype, seed=0),
        "bias": _normal(5, dtype=dtype, seed=1),
        "activation": "relu",
        "gain": 0.7,
    }


def _bias_act_overloads(arguments: Arguments) -> list:
    options = (1, 0.2, 1.4, arguments.get("clamp", float("inf")))
    x, bias, scale = arguments["x"], arguments["bias"], arguments.get("scale")
    backward = (x.detach(), None if scale is None else x.detach(), x.detach(), scale, *options, True, scale is not None)
    return [
        (torch.ops.tetragan.bias_act.default, (x, bias, scale, *options)),
        (torch.ops.tetragan.bias_act_backward.default, backward),
    ]


_BIAS_ACT_MISTAKES = (
    BadInput("bias size", edit("bias", lambda b: b[1:]), "expected bias of shape [5], got [4]"),
    BadInput("bias type", edit("bias", lambda b: b.float()), "expected bias of type float64, got float32", TypeError),
    BadInput("x type", edit("x", lambda x: x.long()), "expected x of type float32", TypeError),
    BadInput("activation", edit("activation", lambda a: "selu"), "expected activation of linear, relu, lrelu"),
    BadInput("gain", lambda a: a.update(gain=0.0), "expected gain above 0, got 0.0"),
    BadInput("clamp", lambda a: a.update(clamp=-1.0), "expected clamp above 0 or None, got -1.0"),
    BadInput("alpha", lambda a: a.update(alpha=-0.5), "expected alpha of at least 0, got -0.5"),
    BadInput("dim", lambda a: a.update(dim=4), "expected dim in [-"),
)


def _resample(up: int, down: int, taps: int, padding: tuple[int, int, int, int], channels_last: bool) -> Callable:
    def make(batch: int, width: int, dtype: torch.dtype) -> Arguments:
        x = _normal(batch, 3, 9, width, dtype=dtype, seed=0)
        return {
            "x": x.contiguous(memory_format=torch.channels_last) if channels_last else x,
            "filter": _normal(taps, dtype=torch.float32, seed=1),
            "up": up,
            "down": down,
            "padding": padding,
            "gain": 1.3,
        }

    return make


def _upfirdn2d_reference(filter: Tensor, x: Tensor, **options) -> Tensor:
    return upfirdn2d_reference(x, filter.to(x.dtype), **options)


def _upfirdn2d_overloads(arguments: Arguments) -> list:
    options = (arguments["up"], arguments["down"], *arguments["padding"], False, 1.3)
    add = arguments.get("add")
    return [(torch.ops.tetragan.upfirdn2d.default, (arguments["x"], arguments["filter"], add, *options))]


_UPFIRDN2D_MISTAKES = (
    BadInput("rank", edit("x", lambda x: x[0]), "expected x of shape [B, C, H, W], got [3, 9, 5]"),
    BadInput("filter rank", edit("filter", lambda f: f[None, None]), "expected filter of shape [T] or [T_y, T_x]"),
    BadInput("filter type", edit("filter", lambda f: f.long()), "expected filter of type float32", TypeError),
    BadInput("up", edit("up", lambda u: 0), "expected up to be an integer of at least 1, got 0"),
    BadInput("down", edit("down", lambda d: 1.5), "expected down to be an integer of at least 1, got 1.5"),
    BadInput("padding", edit("padding", lambda p: p[:2]), "expected padding (left, right, top, bottom)"),
    BadInput("too small", edit("padding", lambda p: (-9, -9, 0, 0)), "expected a padded image no smaller than"),
)


def _skip_sum(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Channels vary, and a image is added."""
    last = torch.channels_last
    return {
        "x": _normal(batch, width, 4, 5, dtype=dtype, seed=0).contiguous(memory_format=last),
        "filter": torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8,
        "up": 2,
        "down": 1,
        "padding": (2, 1, 2, 1),
        "gain": 4.0,
        "add": _normal(batch, width, 8, 10, dtype=dtype, seed=2).contiguous(memory_format=last),
    }


def _resample_case(make: Callable) -> Case:
    return Case(
        name="upfirdn2d",
        function=upfirdn2d,
        reference=_upfirdn2d_reference,
        make=make,
        gradients=("x",),
        overloads=_upfirdn2d_overloads,
        half=("x",),
        half_tolerance=6e-2,
        twice_differentiable=True,
        bad_inputs=_UPFIRDN2D_MISTAKES,
    )


def _offsets(batch: int, points: int) -> Tensor:
    """Uneven ranges of `points` rows a sample on average; the second sample is empty."""
    bounds = torch.arange(batch + 1) * points
    if batch >= 3:
        bounds[2] = bounds[1]
    return bounds


def _triplane(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    planes = _normal(batch, 6, 6, 3, width, dtype=dtype, seed=0).permute(0, 3, 1, 2, 4)
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(batch * 40, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    return {"planes": planes, "points": points.float().to(dtype), "point_offsets": _offsets(batch, 40)}


def _triplane_overloads(arguments: Arguments) -> list:
    return [(torch.ops.tetragan.triplane_sample.default, tuple(arguments.values()))]


def _point_mlp(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    return {
        "x": _normal(batch * 70, 5, dtype=dtype, seed=0),
        "hidden": _normal(batch, 5, width, dtype=dtype, seed=1) / 2,
        "output": _normal(batch, width, 3, dtype=dtype, seed=2) / width**0.5,
        "hidden_bias": _normal(width, dtype=dtype, seed=3),
        "output_bias": _normal(3, dtype=dtype, seed=4),
        "point_offsets": _offsets(batch, 70),
    }


def _with_lists(function: Callable) -> Callable:
    def call(x, hidden, output, hidden_bias, output_bias, point_offsets) -> Tensor:
        return function(x, [hidden, output], [hidden_bias, output_bias], point_offsets)

    return call


def _point_mlp_overloads(arguments: Arguments) -> list:
    x, hidden, output = arguments["x"], arguments["hidden"], arguments["output"]
    weights = torch.cat([hidden.flatten(1), output.flatten(1)], 1).detach().requires_grad_()
    biases = torch.cat([arguments["hidden_bias"], arguments["output_bias"]]).detach().requires_grad_()
    widths = [x.shape[1], hidden.shape[2], output.shape[2]]
    return [
        (torch.ops.tetragan.point_mlp.default, (x, weights, biases, arguments["point_offsets"], widths, 0.2, 1.4)),
    ]


def _lattice(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    return {
        "planes": _normal(batch, 6, 6, 3, 4, dtype=dtype, seed=0).permute(0, 3, 1, 2, 4),
        "hidden": _normal(batch, 4, width, dtype=dtype, seed=1) / 2,
        "bias": _normal(width, dtype=dtype, seed=2),
        "output": _normal(batch, width, dtype=dtype, seed=3) / width**0.5,
        "coordinates": torch.linspace(-1.05, 1.0, 1 + width % 9, dtype=torch.float32).to(dtype),
    }


def _lattice_overloads(arguments: Arguments) -> list:
    return [(torch.ops.tetragan.lattice_mlp.default, (*arguments.values(), 0.2))]


NETWORK_CASES = [
    Case(
        name="bias_act",
        function=bias_act,
        reference=bias_act_reference,
        make=_channels_last,
        gradients=("x", "bias", "scale"),
        overloads=_bias_act_overloads,
        half=("x",),
        twice_differentiable=True,
        bad_inputs=(
            *_BIAS_ACT_MISTAKES,
            BadInput("scale size", edit("scale", lambda s: s[:1]), "expected scale of shape [2, 5], got [1, 5]"),
            BadInput("scale on dim 0", lambda a: a.update(dim=0, bias=None), "expected dim other than 0 with a scale"),
        ),
    ),
    Case(
        name="bias_act",
        function=bias_act,
        reference=bias_act_reference,
        make=_planar,
        gradients=("x", "bias"),
        overloads=_bias_act_overloads,
        half=("x",),
        twice_differentiable=True,
        bad_inputs=_BIAS_ACT_MISTAKES,
    ),
    _resample_case(_resample(1, 1, 4, (2, 2, 2, 2), channels_last=True)),
    _resample_case(_resample(3, 2, 5, (2, 3, 1, -1), channels_last=False)),
    _resample_case(_resample(1, 2, 4, (2, 2, 1, 1), channels_last=False)),
    dataclasses.replace(
        _resample_case(_skip_sum),
        gradients=("x", "add"),
        half=("x", "add"),
        bad_inputs=(BadInput("add", edit("add", lambda a: a[:, :, 1:]), "expected add of shape [2, 5, 8, 10], got"),),
    ),
    Case(
        name="triplane_sample",
        function=triplane_sample,
        reference=triplane_sample_reference,
        make=_triplane,
        gradients=("planes", "points"),
        overloads=_triplane_overloads,
        half=("planes",),
        bad_inputs=(
            BadInput(
                "planes", edit("planes", lambda p: p[:, :2]), "expected planes of shape [B, 3, R, R, C], got [2, 2,"
            ),
            BadInput("square", edit("planes", lambda p: p[:, :, 1:]), "expected square planes [B, 3, R, R, C]"),
            BadInput("points", edit("points", lambda p: p[:, :2]), "expected points of shape [P, 3], got [80, 2]"),
            BadInput("type", edit("planes", lambda p: p.long()), "expected planes of type float32", TypeError),
            BadInput("offsets end", edit("point_offsets", lambda o: o - o // 2), "expected point_offsets to end at 80"),
            BadInput("offsets count", edit("point_offsets", lambda o: o[[0, 2]]), "expected 3 point_offsets, got 2"),
        ),
    ),
    Case(
        name="point_mlp",
        function=_with_lists(point_mlp),
        reference=_with_lists(point_mlp_reference),
        make=_point_mlp,
        gradients=("x", "hidden", "output", "hidden_bias", "output_bias"),
        overloads=_point_mlp_overloads,
        gradcheck_size=(1, 3),
        bad_inputs=(
            BadInput("x", edit("x", lambda x: x[:, 1:]), "expected weights[0] of shape [2, 4, W], got [2, 5, 5]"),
            BadInput(
                "chain", edit("output", lambda w: w[:, 1:]), "expected weights[1] of shape [2, 5, W], got [2, 4, 3]"
            ),
            BadInput("bias", edit("output_bias", lambda b: b[1:]), "expected biases[1] of shape [3], got [2]"),
            BadInput("type", edit("hidden", lambda w: w.float()), "expected weights[0] of type float64", TypeError),
            BadInput(
                "offsets", edit("point_offsets", lambda o: o // 2), "expected point_offsets to end at 140, got 70"
            ),
        ),
    ),
    Case(
        name="lattice_mlp",
        function=lattice_mlp,
        reference=lattice_mlp_reference,
        make=_lattice,
        overloads=_lattice_overloads,
        bad_inputs=(
            BadInput("planes", edit("planes", lambda p: p[:, :2]), "expected planes of shape [B, 3, R, R, C]"),
            BadInput("square", edit("planes", lambda p: p[:, :, 1:]), "expected square planes"),
            BadInput("hidden", edit("hidden", lambda h: h[:, 1:]), "expected hidden of shape [2, 4, H], got [2, 3, 5]"),
            BadInput("bias", edit("bias", lambda b: b[1:]), "expected bias of shape [5], got [4]"),
            BadInput("output", edit("output", lambda o: o[:1]), "expected output of shape [2, 5], got [1, 5]"),
            BadInput(
                "type", edit("coordinates", lambda c: c.float()), "expected coordinates of type float64", TypeError
            ),
            BadInput("alpha", lambda a: a.update(alpha=1.5), "expected alpha in [0, 1], got 1.5"),
        ),
    ),
]
