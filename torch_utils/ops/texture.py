"""`texture`: look up images at texture coordinates, with mip maps.

    texture(image [N or 1, H, W, C], uv [N, h, w, 2], uv_db=None, *, filter=None, boundary="wrap", levels=None)
        → [N, h, w, C]

image: float32 or float64, one image for all (1) or one each (N); half is computed in the type of `uv` and returned as
half. uv: (u, v), the image spans [0, 1]²; texel centers lie at half-integers, v = 0 is the upper border of row 0.
uv_db [N, h, w, 4] = (du/dX, du/dY, dv/dX, dv/dY): what `interpolate` returns for uv with `rast_db`.
filter: "nearest", "bilinear", or "trilinear" between the two mip levels around the footprint's longer axis (needs
`uv_db`); None: trilinear with `uv_db`, else bilinear. Level l has max(1, size >> l) texels, each the mean of those it
covers. boundary: "wrap" repeats the image, "clamp" extends its border texels. levels: `mip_levels(image)`, for callers
that look up the same image often.

Gradient: once, to `image`, `uv` (not for "nearest") and `uv_db`. NaN coordinates give NaN. The CPU kernel is bitwise
repeatable for any number of threads; the CUDA kernel's gradient to `image` adds with atomics and refuses under
`torch.use_deterministic_algorithms(True)`.
Errors: TypeError, ValueError "texture(): expected …, got …".
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable, differentiable_once, refuse_atomics_when_deterministic
from torch_utils.ops.checks import FLOATING, HALF, check_tensor
from torch_utils.ops.loading import use_kernel

Filter = Literal["nearest", "bilinear", "trilinear"]
Boundary = Literal["wrap", "clamp"]
FILTERS = ("nearest", "bilinear", "trilinear")
BOUNDARIES = ("wrap", "clamp")
MAX_SIZE = 2**15


def texture(
    image: Tensor,
    uv: Tensor,
    uv_db: Tensor | None = None,
    *,
    filter: Filter | None = None,
    boundary: Boundary = "wrap",
    levels: Sequence[Tensor] | None = None,
) -> Tensor:
    """See the module's text."""
    filter = filter or ("bilinear" if uv_db is None else "trilinear")
    _check(image, uv, uv_db, filter, boundary)
    dtype = image.dtype
    image = image.to(uv.dtype)
    if not use_kernel(uv.device.type, "texture"):
        return texture_reference(image, uv, uv_db, filter=filter, boundary=boundary).to(dtype)
    if filter != "trilinear":
        levels = [image]
    elif levels is None:
        levels = mip_levels(image)
    out = _texture(
        _packed([level.to(uv.dtype).flatten(1, 2) for level in levels]),
        uv.contiguous(),
        uv_db.contiguous() if uv_db is not None and filter == "trilinear" else None,
        *image.shape[1:3],
        len(levels),
        FILTERS.index(filter),
        BOUNDARIES.index(boundary),
    )
    return out.to(dtype)


def _check(image: Tensor, uv: Tensor, uv_db: Tensor | None, filter: str, boundary: str) -> None:
    op = "texture"
    check_tensor(op, "uv", uv, ("N", "h", "w", 2), FLOATING)
    check_tensor(op, "image", image, ("N", "H", "W", "C"), (uv.dtype, *HALF), uv.device)
    if image.shape[0] not in (1, uv.shape[0]):
        raise ValueError(f"{op}(): expected image of batch 1 or {uv.shape[0]}, got {image.shape[0]}")
    if not all(1 <= n <= MAX_SIZE for n in image.shape[1:3]):
        raise ValueError(f"{op}(): expected image sides in [1, {MAX_SIZE}], got {list(image.shape[1:3])}")
    if filter not in FILTERS:
        raise ValueError(f"{op}(): expected filter to be one of {', '.join(FILTERS)}, got {filter!r}")
    if boundary not in BOUNDARIES:
        raise ValueError(f"{op}(): expected boundary to be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if uv_db is not None:
        check_tensor(op, "uv_db", uv_db, (*uv.shape[:3], 4), (uv.dtype,), uv.device)
    if filter == "trilinear" and uv_db is None:
        raise ValueError(f'{op}(): expected uv_db for filter "trilinear", got None')


def _packed(levels: list[Tensor]) -> Tensor:
    """Texels [N, Σ texels, C] of all levels, contiguous; one level alone is not copied."""
    return torch.cat(levels, 1) if len(levels) > 1 else levels[0].contiguous()


def mip_levels(image: Tensor) -> list[Tensor]:
    """The image [N, H, W, C] and its mip levels down to one texel; differentiable."""
    levels = [image]
    while max(levels[-1].shape[1:3]) > 1:
        height, width = (max(1, n // 2) for n in levels[-1].shape[1:3])
        planes = functional.adaptive_avg_pool2d(levels[-1].permute(0, 3, 1, 2), (height, width))
        levels.append(planes.permute(0, 2, 3, 1))
    return levels


def texture_reference(
    image: Tensor,
    uv: Tensor,
    uv_db: Tensor | None = None,
    *,
    filter: Filter | None = None,
    boundary: Boundary = "wrap",
) -> Tensor:
    """The same in plain PyTorch, any device, differentiable through autograd."""
    filter = filter or ("bilinear" if uv_db is None else "trilinear")
    image = image.expand(uv.shape[0], -1, -1, -1)
    if filter != "trilinear":
        return _sample(image, uv, filter, boundary)
    assert uv_db is not None, "checked by texture()"
    levels = mip_levels(image)
    detail = _level_of_detail(uv_db, *image.shape[1:3]).clamp(0, len(levels) - 1)
    # A hat function of width one around each level: the two levels next to `detail` share its weight.
    return torch.stack(
        [
            (1 - (detail - k).abs()).clamp(min=0)[..., None] * _sample(level, uv, "bilinear", boundary)
            for k, level in enumerate(levels)
        ]
    ).sum(0)


def _level_of_detail(uv_db: Tensor, height: int, width: int) -> Tensor:
    ux, uy = uv_db[..., 0] * width, uv_db[..., 1] * width
    vx, vy = uv_db[..., 2] * height, uv_db[..., 3] * height
    a, b, c = ux * ux + vx * vx, uy * uy + vy * vy, ux * uy + vx * vy
    squared = ((a - b) / 2).square() + c.square()
    root = torch.where(squared > 0, torch.where(squared > 0, squared, torch.ones_like(squared)).sqrt(), 0 * squared)
    largest = (a + b) / 2 + root
    return torch.where(largest > 1, torch.where(largest > 1, largest, torch.ones_like(largest)).log2() / 2, 0 * largest)


def _sample(image: Tensor, uv: Tensor, filter: str, boundary: str) -> Tensor:
    """One level [N, H, W, C] at uv [N, h, w, 2]."""
    (x0, x1, fx), (y0, y1, fy) = (_taps(uv[..., axis], image.shape[2 - axis], filter, boundary) for axis in (0, 1))
    batch = torch.arange(uv.shape[0], device=uv.device)[:, None, None]
    fx, fy = fx[..., None], fy[..., None]
    upper = image[batch, y0, x0] * (1 - fx) + image[batch, y0, x1] * fx
    lower = image[batch, y1, x0] * (1 - fx) + image[batch, y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def _taps(coordinate: Tensor, size: int, filter: str, boundary: str) -> tuple[Tensor, Tensor, Tensor]:
    """The two texels around a coordinate and the weight of the second."""
    if boundary == "wrap":
        coordinate = coordinate - coordinate.detach().floor()
    position = coordinate * size
    if filter == "nearest":
        index = position.detach().nan_to_num().long().clamp(0, size - 1)
        return index, index, (position - position).detach()
    position = position - 0.5
    if boundary == "clamp":
        position = position.clamp(0, size - 1)
    whole = position.detach().floor()
    first = whole.nan_to_num().long().clamp(-1, size - 1)
    second = first + 1
    if boundary == "wrap":
        return first % size, second % size, position - whole
    return first.clamp(min=0), second.clamp(max=size - 1), position - whole


torch.library.define(
    "tetragan::texture",
    "(Tensor texels, Tensor uv, Tensor? uv_db, int height, int width, int levels, int filter, int boundary) -> Tensor",
)
torch.library.define(
    "tetragan::texture_backward",
    "(Tensor grad, Tensor texels, Tensor uv, Tensor? uv_db, int height, int width, int levels, int filter,"
    " int boundary, bool of_texels) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::texture")
def _fake(texels, uv, uv_db, height, width, levels, filter, boundary):
    return texels.new_empty(*uv.shape[:3], texels.shape[2])


@torch.library.register_fake("tetragan::texture_backward")
def _fake_backward(grad, texels, uv, uv_db, height, width, levels, filter, boundary, of_texels):
    return (
        texels.new_empty(texels.shape[0] if of_texels else 0, *texels.shape[1:]),
        uv.new_empty(uv.shape),
        uv.new_empty(0 if uv_db is None else uv.shape[0], *uv.shape[1:3], 4),
    )


def _setup_context(ctx, inputs, output):
    texels, uv, uv_db, *ctx.settings = inputs
    ctx.save_for_backward(texels, uv, uv_db)


def _backward(ctx, grad):
    texels, uv, uv_db = ctx.saved_tensors
    of_texels = ctx.needs_input_grad[0]
    if of_texels:
        refuse_atomics_when_deterministic("texture", ctx.saved_tensors[0].device)
    grad_texels, grad_uv, grad_db = _texture_backward(grad.contiguous(), texels, uv, uv_db, *ctx.settings, of_texels)
    grads = (grad_texels if of_texels else None, grad_uv, None if uv_db is None else grad_db)
    return *grads, None, None, None, None, None


_texture = differentiable("texture", _backward, _setup_context)
_texture_backward = differentiable_once("texture_backward", "texture")
