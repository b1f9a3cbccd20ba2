"""Overhead of a call: every differentiable op at a tiny size, next to operators of PyTorch.

`python -m benchmarks.overhead` prints microseconds of CPU time on one thread, forward (recording the gradient) and
backward. "kernel" is the same forward called directly through PyTorch's dispatcher. The difference to "forward" is the
cost of argument checks, kernel selection and the autograd node. An empty backward pass of PyTorch takes about 13 µs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import click
import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.antialias import antialias, face_neighbors
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.environment_shading import environment_shading
from torch_utils.ops.interpolate import interpolate
from torch_utils.ops.marching_tets import edge_crossings, marching_tets_topology
from torch_utils.ops.modulated_conv2d import modulated_conv2d
from torch_utils.ops.point_mlp import point_mlp
from torch_utils.ops.rasterize import rasterize
from torch_utils.ops.texture import texture
from torch_utils.ops.triplane_sample import triplane_sample
from torch_utils.ops.upfirdn2d import upfirdn2d
from torch_utils.ops.weighted_normals import weighted_normals

CALLS = 200
ROUNDS = 15


@dataclass(frozen=True)
class Call:
    """forward: the op, recording gradients of `leaves`. kernel: its call through the dispatcher, or None."""

    name: str
    forward: Callable[[], Tensor]
    leaves: tuple[Tensor, ...]
    kernel: Callable[[], object] | None = None


def _random(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _leaf(*shape: int) -> Tensor:
    return _random(*shape).requires_grad_()


def _peers() -> list[Call]:
    x, image, uv = _leaf(1, 8, 4, 4), _leaf(1, 8, 4, 4), _leaf(1, 4, 4, 2)
    weight = _leaf(8, 1, 3, 3)
    matrix, bias = _leaf(8, 8), _leaf(8)
    return [
        Call("(leaky_relu)", lambda: functional.leaky_relu(x, 0.2), (x,)),
        Call("(linear)", lambda: functional.linear(x, matrix[:4, :4]), (x, matrix)),
        Call("(conv2d)", lambda: functional.conv2d(x, weight, bias, groups=8, padding=1), (x, weight, bias)),
        Call(
            "(grid_sample)",
            lambda: functional.grid_sample(image, uv, align_corners=False, padding_mode="border"),
            (image, uv),
        ),
    ]


def _network_calls() -> list[Call]:
    ops = torch.ops.tetragan
    x, bias, scale = _leaf(1, 8, 4, 4), _leaf(8), _leaf(1, 8)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    padding = (2, 1, 2, 1)
    weight, styles = _leaf(8, 8, 3, 3), _leaf(1, 8)
    planes, points, offsets = _leaf(1, 3, 4, 4, 8), _leaf(8, 3), torch.tensor([0, 8])
    matrices, biases = [_leaf(1, 8, 8), _leaf(1, 8, 3)], [_leaf(8), _leaf(3)]
    features = _leaf(8, 8)
    packed, joined = torch.cat([m.flatten(1) for m in matrices], 1).detach(), torch.cat(biases).detach()
    return [
        Call(
            "bias_act",
            lambda: bias_act(x, bias, scale=scale),
            (x, bias, scale),
            lambda: ops.bias_act(x, bias, scale, 1, 0.2, 1.4, 256.0),
        ),
        Call(
            "upfirdn2d",
            lambda: upfirdn2d(x, taps, padding=padding),
            (x,),
            lambda: ops.upfirdn2d(x, taps, None, 1, 1, *padding, False, 1.0),
        ),
        Call(
            "modulated_conv2d", lambda: modulated_conv2d(x, weight, styles, padding=1, bias=bias), (x, weight, styles)
        ),
        Call(
            "triplane_sample",
            lambda: triplane_sample(planes, points, offsets),
            (planes, points),
            lambda: ops.triplane_sample(planes, points, offsets),
        ),
        Call(
            "point_mlp",
            lambda: point_mlp(features, matrices, biases, offsets),
            (features, *matrices, *biases),
            lambda: ops.point_mlp(features, packed, joined, offsets, [8, 8, 3], 0.2, 1.4),
        ),
    ]


def _surface_calls() -> list[Call]:
    ops = torch.ops.tetragan
    positions = torch.tensor([[-0.9, -0.9, 0, 1], [0.9, -0.9, 0.1, 1], [0, 0.9, 0, 1]], dtype=torch.float32)
    positions.requires_grad_()
    faces, offsets = torch.tensor([[0, 1, 2]], dtype=torch.int32), torch.tensor([0, 1])
    rast = rasterize(positions, faces, offsets, (4, 4))[0].detach()
    neighbors = face_neighbors(faces)
    attributes, color, seen = _leaf(3, 3), _leaf(1, 4, 4, 3), rast.clone().requires_grad_()
    image, uv = _leaf(1, 4, 4, 3), _leaf(1, 4, 4, 2)
    texels = image.detach().flatten(1, 2)
    sdf, corners = torch.tensor([-0.5, 0.5, 0.4, 0.6]).requires_grad_(), _leaf(4, 3)
    pairs = torch.tensor([[0, 1], [0, 2], [0, 3]])
    return [
        Call(
            "rasterize",
            lambda: rasterize(positions, faces, offsets, (4, 4))[0],
            (positions,),
            lambda: ops.rasterize(positions, faces, offsets, 4, 4, False, None),
        ),
        Call(
            "interpolate",
            lambda: interpolate(attributes, seen, faces)[0],
            (attributes, seen),
            lambda: ops.interpolate(attributes, seen, faces, None),
        ),
        Call(
            "antialias",
            lambda: antialias(color, rast, positions, faces, neighbors),
            (color, positions),
            lambda: ops.antialias(color, rast, positions, faces, neighbors),
        ),
        Call(
            "texture",
            lambda: texture(image, uv),
            (image, uv),
            lambda: ops.texture(texels, uv, None, 4, 4, 1, 1, 0),
        ),
        Call(
            "edge_crossings",
            lambda: edge_crossings(sdf, corners, pairs),
            (sdf, corners),
            lambda: ops.edge_crossings(sdf, corners, pairs),
        ),
        *_shading_calls(faces),
    ]


def _shading_calls(faces: Tensor) -> list[Call]:
    ops = torch.ops.tetragan
    corners = _leaf(3, 3)
    surface = (_leaf(8, 3), _leaf(8, 3), _leaf(8, 3), _leaf(8, 1), _leaf(8, 1))
    light = (_random(6, 8, 3), _random(1, 6, 8, 3), _random(6, 8, 3), _random(4, 4, 2), torch.tensor([0.0, 1.0]))
    return [
        Call(
            "weighted_normals",
            lambda: weighted_normals(corners, faces),
            (corners,),
            lambda: ops.weighted_normals(corners, faces),
        ),
        Call(
            "environment_shading",
            lambda: environment_shading(*surface, *light)[0],
            surface,
            lambda: ops.environment_shading(*surface, *light),
        ),
    ]


def _topology_microseconds() -> tuple[float, float]:
    sdf = torch.tensor([[-0.5, 0.5, 0.4, 0.6]])
    tets, edges = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
    tables = [table.int() for table in (tets, edges, torch.arange(6)[None])]
    whole = _microseconds(lambda: marching_tets_topology(sdf, *tables))
    return whole, _microseconds(lambda: torch.ops.tetragan.marching_tets_topology(sdf, *tables))


def _microseconds(work: Callable[[], object]) -> float:
    """CPU time of one call: the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            work()
        best = min(best, time.process_time() - start)
    return best / CALLS * 1e6


def _row(call: Call) -> str:
    forward = _microseconds(call.forward)
    kernel = "–"
    if call.kernel is not None:
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            kernel = f"{_microseconds(call.kernel):.1f}"
    output = call.forward()
    gradient = torch.ones_like(output)
    backward = _microseconds(lambda: torch.autograd.grad(output, call.leaves, gradient, retain_graph=True))
    return f"| {call.name} | {forward:.1f} | {kernel} | {backward:.1f} |"


@click.command()
@click.option("--only", default="", help="Only ops whose name contains this text.")
def main(only: str) -> None:
    """Time a call of every op at a tiny size."""
    torch.set_num_threads(1)
    click.echo("| op | forward, µs | kernel, µs | backward, µs |\n|---|---|---|---|")
    for call in [*_peers(), *_network_calls(), *_surface_calls()]:
        if only in call.name:
            click.echo(_row(call))
    if only in "marching_tets_topology":
        click.echo("| marching_tets_topology | {:.1f} | {:.1f} | – |".format(*_topology_microseconds()))


if __name__ == "__main__":
    main()
