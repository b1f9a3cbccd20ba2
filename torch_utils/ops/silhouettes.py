"""`silhouettes`: coverage of one mesh in orthographic views, one bit per pixel; fast, since there is no depth test.

    silhouettes(vertices [V, 3], faces [F, 3] int32, axes [N, 2, 3], side=256) -> [N, side, side / 8] uint8

axes[n, 0] and axes[n, 1] are the right and up axes of view n (unit vectors, same type as the vertices); it shows the
square of half-width 1 around the origin. Pixel i's center lies at −1 + (2i + 1) / side; row 0 is at the
bottom, bit k of byte j is column 8j + k. A pixel is covered if its center lies in a triangle, by the rule of
`rasterize`; triangles without area, with a coordinate that is not finite or a billion pixels away cover nothing.
side: a multiple of 64.
float32 or float64, computed in double; half precision is taken as float32. No gradient. Deterministic. Errors:
ValueError or TypeError for shape, type and device; face ids out of range raise on the CPU and are culled on CUDA.
"""

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel
from torch_utils.ops.rasterize import rasterize

# Views that the reference renders together.
_CHUNK = 10


def silhouettes(vertices: Tensor, faces: Tensor, axes: Tensor, side: int = 256) -> Tensor:
    """Packed silhouettes of one mesh; see the contract at the top of this file."""
    check_tensor("silhouettes", "vertices", vertices, ("V", 3), (*FLOATING, *HALF))
    check_tensor("silhouettes", "axes", axes, ("N", 2, 3), (vertices.dtype,), vertices.device)
    check_tensor("silhouettes", "faces", faces, ("F", 3), (torch.int32,), vertices.device)
    check_index_range("silhouettes", "faces", faces, vertices.shape[0])
    if side <= 0 or side % 64:
        raise ValueError(f"silhouettes(): expected side a positive multiple of 64, got {side}")
    if vertices.dtype in HALF:
        vertices, axes = vertices.float(), axes.float()
    vertices, axes = vertices.detach(), axes.detach()
    if not use_kernel(vertices.device.type, "silhouettes"):
        return silhouettes_reference(vertices, faces, axes, side)
    return torch.ops.tetragan.silhouettes(vertices.contiguous(), faces.contiguous(), axes.contiguous(), side)


def silhouettes_reference(vertices: Tensor, faces: Tensor, axes: Tensor, side: int = 256) -> Tensor:
    """`silhouettes` by `rasterize`, a few views at a time."""
    return (
        torch.cat([_draw(vertices, faces, part, side) for part in axes.split(_CHUNK)])
        if len(axes)
        else _none(axes, side)
    )


def _none(axes: Tensor, side: int) -> Tensor:
    return torch.empty(0, side, side // 8, dtype=torch.uint8, device=axes.device)


def _draw(vertices: Tensor, faces: Tensor, axes: Tensor, side: int) -> Tensor:
    views, count = axes.shape[0], vertices.shape[0]
    flat = torch.einsum("nav,pv->npa", axes.double(), vertices.double())
    # The depth is constant: a pixel is covered whichever triangle lies in front.
    clip = functional.pad(functional.pad(flat, (0, 1)), (0, 1), value=1.0).reshape(-1, 4)
    shifts = torch.arange(views, device=faces.device, dtype=torch.int32) * count
    every = (faces + shifts[:, None, None]).reshape(-1, 3)
    offsets = torch.arange(views + 1) * faces.shape[0]
    covered = rasterize(clip, every, offsets, (side, side))[0][..., 3] > 0
    weights = 2 ** torch.arange(8, device=faces.device, dtype=torch.int32)
    return (covered.view(views, side, side // 8, 8) * weights).sum(-1).to(torch.uint8)


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define("tetragan::silhouettes", "(Tensor vertices, Tensor faces, Tensor axes, int side) -> Tensor")


@torch.library.register_fake("tetragan::silhouettes")
def _fake(vertices, faces, axes, side):
    return vertices.new_empty(axes.shape[0], side, side // 8, dtype=torch.uint8)
