"""Rows of bias_act, upfirdn2d, modulated_conv2d, triplane_sample, point_mlp and lattice_mlp."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.row import Job, Row, tensor_bytes
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.lattice_mlp import lattice_mlp, lattice_mlp_reference
from torch_utils.ops.modulated_conv2d import modulated_conv2d, modulated_conv2d_reference
from torch_utils.ops.point_mlp import point_mlp, point_mlp_reference
from torch_utils.ops.triplane_sample import PLANE_AXES, triplane_sample
from torch_utils.ops.upfirdn2d import upfirdn2d, upfirdn2d_reference

FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def forward_and_backward(function: Callable[..., Tensor], leaves: list[Tensor]) -> Callable[[], object]:
    """One forward pass, and the gradients of all leaves from a fixed gradient of the output."""
    gradient = torch.randn_like(function(*leaves))
    return lambda: torch.autograd.grad(function(*leaves), leaves, gradient)


def image(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool, device: torch.device) -> Tensor:
    """Normally distributed [B, C, H, W] of a type and memory layout, with gradient."""
    x = torch.randn(shape, device=device).to(dtype)
    return (x.contiguous(memory_format=torch.channels_last) if channels_last else x).requires_grad_()


def triplane_job(device: torch.device) -> Job:
    """Forward and backward to planes and points. The peer's planes are channels-last too, its faster layout."""
    planes = torch.randn(1, 3, 256, 256, 32, device=device, requires_grad=True)
    for_peer = planes.detach().permute(0, 1, 4, 2, 3).requires_grad_()
    points = (torch.rand(100_000, 3, device=device) * 2 - 1).requires_grad_()
    offsets = torch.tensor([0, 100_000])

    def peer(planes: Tensor, points: Tensor) -> Tensor:
        grids = [points[None, None, :, list(axes)] for axes in PLANE_AXES]
        parts = [
            functional.grid_sample(planes[:, k], grid, padding_mode="border", align_corners=False)
            for k, grid in enumerate(grids)
        ]
        return parts[0] + parts[1] + parts[2]

    read = points.numel() * 4 + 100_000 * 12 * 32 * 4
    moved = 3 * read + 2 * 100_000 * 32 * 4 + 2 * tensor_bytes(planes)
    ours = forward_and_backward(lambda p, q: triplane_sample(p, q, offsets), [planes, points])
    return Job(ours, forward_and_backward(peer, [for_peer, points]), moved)


def bias_act_job(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> Callable[[torch.device], Job]:
    """Forward and backward to image and bias. The peer is the same formula in operators of PyTorch."""

    def make(device: torch.device) -> Job:
        x = image(shape, dtype, channels_last, device)
        bias = torch.randn(shape[1], device=device, requires_grad=True)

        def plain(x: Tensor, bias: Tensor) -> Tensor:
            return functional.leaky_relu(x + bias.to(x.dtype)[:, None, None], 0.2) * 2**0.5

        return Job(
            forward_and_backward(bias_act, [x, bias]), forward_and_backward(plain, [x, bias]), 5 * tensor_bytes(x)
        )

    return make


def upfirdn2d_job(
    shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool, **options
) -> Callable[[torch.device], Job]:
    """Forward and backward to the image, with options of `upfirdn2d`. The peer is the PyTorch reference."""

    def make(device: torch.device) -> Job:
        x, taps = image(shape, dtype, channels_last, device), FILTER.to(device)
        moved = 2 * tensor_bytes(x, upfirdn2d(x, taps, **options))
        return Job(
            forward_and_backward(lambda x: upfirdn2d(x, taps, **options), [x]),
            forward_and_backward(lambda x: upfirdn2d_reference(x, taps, **options), [x]),
            moved,
        )

    return make


def modulated_job(dtype: torch.dtype) -> Callable[[torch.device], Job]:
    """Forward and backward of a 3 × 3 layer of the backbone. The peer is the PyTorch reference."""

    def make(device: torch.device) -> Job:
        x = image((16, 64, 32, 32), dtype, True, device)
        weight = torch.randn(64, 64, 3, 3, device=device, requires_grad=True)
        styles = torch.randn(16, 64, device=device, requires_grad=True)
        bias = torch.zeros(64, device=device, requires_grad=True)

        def run(function: Callable[..., Tensor]) -> Callable[[], object]:
            def call(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
                return function(x, weight, styles, bias=bias, padding=1, activation="lrelu")

            return forward_and_backward(call, [x, weight, styles, bias])

        return Job(run(modulated_conv2d), run(modulated_conv2d_reference), 5 * tensor_bytes(x))

    return make


def point_mlp_job(device: torch.device) -> Job:
    """Forward and backward of the texture field's layers on the visible samples of 16 images."""
    widths, batch, count = (16, 32, 16, 3), 16, 4096
    x = torch.randn(batch * count, widths[0], device=device, requires_grad=True)
    pairs = list(pairwise(widths))
    weights = [torch.randn(batch, i, o, device=device, requires_grad=True) for i, o in pairs]
    biases = [torch.randn(o, device=device, requires_grad=True) for o in widths[1:]]
    offsets = torch.arange(batch + 1) * count

    def run(function: Callable[..., Tensor]) -> Callable[[], object]:
        return forward_and_backward(lambda x, *rest: function(x, rest[:3], rest[3:], offsets), [x, *weights, *biases])

    return Job(run(point_mlp), run(point_mlp_reference), 3 * tensor_bytes(x) + 3 * batch * count * widths[-1] * 4)


def lattice_job(device: torch.device) -> Job:
    """The SDF layers on a grid of 27³ points for 16 samples. The peer is the separable form in plain PyTorch."""
    planes = torch.randn(16, 32, 32, 3, 16, device=device).permute(0, 3, 1, 2, 4)
    rest = [torch.randn(16, 16, 32), torch.randn(32), torch.randn(16, 32), torch.linspace(-1, 1, 27)]
    rest = [tensor.to(device) for tensor in rest]
    return Job(
        lambda: lattice_mlp(planes, *rest),
        lambda: lattice_mlp_reference(planes, *rest),
        tensor_bytes(planes) + 16 * 27**3 * 4,
    )


FP32, BF16 = torch.float32, torch.bfloat16
DEPTHWISE = "depthwise conv2d, padded and strided"
PLAIN = "add, leaky_relu, mul"
UP = {"up": 2, "padding": (2, 1, 2, 1), "gain": 4.0}

NETWORK_ROWS = [
    Row("triplane_sample", "3 × 32 × 256², 100k points, fwd + bwd", "grid_sample × 3 + sum", triplane_job, 3.0),
    Row("bias_act", "16 × 64 × 32², nhwc, fwd + bwd", PLAIN, bias_act_job((16, 64, 32, 32), FP32, True), 1.5),
    Row("bias_act", "16 × 64 × 32², nchw, fwd + bwd", PLAIN, bias_act_job((16, 64, 32, 32), FP32, False), 1.0),
    Row("bias_act", "16 × 64 × 32², nhwc bf16, fwd + bwd", PLAIN, bias_act_job((16, 64, 32, 32), BF16, True), 1.5),
    Row("bias_act", "16 × 128 × 16², nhwc bf16, fwd + bwd", PLAIN, bias_act_job((16, 128, 16, 16), BF16, True), 1.0),
    *(
        Row("upfirdn2d", f"{name}, fwd + bwd", DEPTHWISE, upfirdn2d_job(shape, dtype, last, **options), 1.0)
        for name, shape, dtype, last, options in (
            ("16 × 32 × 32² pad 2, nhwc", (16, 32, 32, 32), FP32, True, {"padding": (2, 2, 2, 2)}),
            ("16 × 32 × 32² pad 2, nhwc bf16", (16, 32, 32, 32), BF16, True, {"padding": (2, 2, 2, 2)}),
            ("16 × 32 × 32² pad 2, nchw", (16, 32, 32, 32), FP32, False, {"padding": (2, 2, 2, 2)}),
            ("16 × 32 × 32² down 2, nhwc bf16", (16, 32, 32, 32), BF16, True, {"down": 2, "padding": (1, 1, 1, 1)}),
            ("16 × 32 × 32² down 2, nchw", (16, 32, 32, 32), FP32, False, {"down": 2, "padding": (1, 1, 1, 1)}),
            ("16 × 64 × 16² pad 2, nhwc bf16", (16, 64, 16, 16), BF16, True, {"padding": (2, 2, 2, 2)}),
            ("16 × 96 × 16² up 2, nhwc", (16, 96, 16, 16), FP32, True, UP),
            ("16 × 96 × 16² up 2, nchw", (16, 96, 16, 16), FP32, False, UP),
        )
    ),
    Row("modulated_conv2d", "16 × 64 → 64 × 32², k 3, fwd + bwd", "grouped conv2d", modulated_job(FP32), 1.0),
    Row("modulated_conv2d", "16 × 64 → 64 × 32², k 3, bf16, fwd + bwd", "grouped conv2d", modulated_job(BF16), 1.0),
    Row("point_mlp", "16 → 32 → 16 → 3, 65k points, fwd + bwd", "one matmul a sample and layer", point_mlp_job, 1.0),
    Row("lattice_mlp", "16 samples, 27³ points, 32 hidden", "separable PyTorch", lattice_job, 1.0),
]
