"""`rasterize`: the visible triangle of each pixel, the position on it, and its depth.

    rasterize(positions [ΣV, 4], faces [ΣF, 3], face_offsets [N + 1], (H, W), derivatives=False, previous=None)
        → rast [N, H, W, 4] = (u, v, z/w, face id + 1),  rast_db [N, H, W, 4] = (du/dX, du/dY, dv/dX, dv/dY) or None

positions: clip space (x, y, z, w), float32 or float64 (half is computed in float32); the batch is packed, ids are
global. faces: int32. face_offsets: int64, on the CPU; image n shows faces face_offsets[n] : face_offsets[n + 1].
u, v: perspective-correct barycentric weights of vertices 0 and 1; vertex 2 has 1 − u − v. X, Y are pixels.
Row i lies at NDC y = (2i + 1)/H − 1, column j at x = (2j + 1)/W − 1. A pixel without a triangle is all zeros.

Points with −w ≤ z ≤ w are visible. Triangles that cross the near plane or lie partly behind the camera are clipped;
both windings are drawn; triangles without area, with NaN or infinite vertices are culled. Of equal depths the lowest
face id wins.
A pixel center on a shared edge belongs to exactly one of the two triangles (rows and columns are half-open intervals).
`previous`: the `rast` of the layer in front, of the same triangles; the result is the next layer (depth peeling).

Gradient: once, from u, v, z/w and rast_db to `positions`; none from the id, and none through visibility (see
`antialias`). The CPU kernel is bitwise repeatable for any number of threads; the CUDA kernel's forward is repeatable,
its backward adds with atomics and refuses under `torch.use_deterministic_algorithms(True)`. Errors: TypeError,
ValueError "rasterize(): expected …, got …"; face ids out of range raise on the CPU and are culled on CUDA.
"""

from itertools import pairwise

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once, refuse_atomics_when_deterministic
from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_offsets, check_tensor
from torch_utils.ops.loading import use_kernel

MAX_RESOLUTION = 16384
# As in csrc/rasterize/rasterize.h.
_MIN_W = 1e-8
_MAX_PIXEL = 1e9
# Faces that the reference processes together: bounds its memory to _CHUNK · H · W numbers.
_CHUNK = 64


def rasterize(
    positions: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    resolution: tuple[int, int],
    *,
    derivatives: bool = False,
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """See the module's text."""
    _check(positions, faces, face_offsets, resolution, previous)
    if positions.dtype in HALF:
        positions = positions.float()
    if previous is not None:
        previous = previous.detach().to(positions.dtype).contiguous()
    if not use_kernel(positions.device.type, "rasterize"):
        return rasterize_reference(
            positions, faces, face_offsets, resolution, derivatives=derivatives, previous=previous
        )
    rast, rast_db = _rasterize(
        positions.contiguous(), faces.contiguous(), face_offsets.contiguous(), *resolution, derivatives, previous
    )
    return rast, rast_db if derivatives else None


def _check(
    positions: Tensor, faces: Tensor, face_offsets: Tensor, resolution: tuple[int, int], previous: Tensor | None
) -> None:
    op = "rasterize"
    check_tensor(op, "positions", positions, ("V", 4), (*FLOATING, *HALF))
    check_tensor(op, "faces", faces, ("F", 3), (torch.int32,), positions.device)
    check_offsets(op, "face_offsets", face_offsets, faces.shape[0])
    check_index_range(op, "faces", faces, positions.shape[0])
    if faces.shape[0] >= 2**24:
        raise ValueError(f"{op}(): expected fewer than 2^24 faces (ids are stored as floats), got {faces.shape[0]}")
    sizes = tuple(resolution)
    if len(sizes) != 2 or not all(isinstance(n, int) and 1 <= n <= MAX_RESOLUTION for n in sizes):
        raise ValueError(f"{op}(): expected resolution (H, W) of integers in [1, {MAX_RESOLUTION}], got {resolution}")
    if previous is not None:
        shape = (face_offsets.shape[0] - 1, *sizes, 4)
        check_tensor(op, "previous", previous, shape, (*FLOATING, *HALF), positions.device)


# ---------------------------------------------------------------------------------------------------------- reference


def rasterize_reference(
    positions: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    resolution: tuple[int, int],
    *,
    derivatives: bool = False,
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The same in plain PyTorch, any device, differentiable through autograd. Time grows with faces × pixels."""
    height, width = resolution
    offsets = face_offsets.tolist()
    with torch.no_grad():
        layers = [
            _visible(positions.detach(), faces, first, last, height, width, None if previous is None else previous[n])
            for n, (first, last) in enumerate(pairwise(offsets))
        ]
        empty = torch.zeros(0, height, width, dtype=torch.int64, device=positions.device)
        ids = torch.stack([ids for ids, _ in layers]) if layers else empty
        depth = torch.stack([depth for _, depth in layers]) if layers else empty.to(positions.dtype)
    index = ids.nonzero()
    at_pixel = ids[tuple(index.T)]
    u, v, z_over_w, db = pixel_weights(positions[faces[at_pixel - 1].long()], index[:, 1:], height, width)
    # The stored depth is the one that decided visibility; the formula gives the gradient.
    z_over_w = _with_value(z_over_w, depth[tuple(index.T)])
    values = torch.stack([u, v, z_over_w, at_pixel.to(u.dtype)], -1)
    rast = values.new_zeros(*ids.shape, 4).index_put(tuple(index.T), values)
    rast_db = values.new_zeros(*ids.shape, 4).index_put(tuple(index.T), db) if derivatives else None
    return rast, rast_db


def _with_value(formula: Tensor, value: Tensor) -> Tensor:
    """`value`, exactly, with the gradient of `formula`."""
    return value.detach() + (formula - formula.detach())


def pixel_weights(corners: Tensor, pixels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(u, v, z/w [P], their image-space derivatives [P, 4]) of triangles `corners` [P, 3, 4] at (row, column) [P,
    2].
    """
    p = corners.double() if corners.dtype in FLOATING else corners.float()
    ndc_x = ((2 * pixels[:, 1] + 1).to(p.dtype) / width - 1)[:, None]
    ndc_y = ((2 * pixels[:, 0] + 1).to(p.dtype) / height - 1)[:, None]
    w = p[..., 3]
    qx, qy = p[..., 0] - ndc_x * w, p[..., 1] - ndc_y * w
    following, third = [1, 2, 0], [2, 0, 1]
    e = qx[:, following] * qy[:, third] - qx[:, third] * qy[:, following]
    e_dx = (w[:, third] * qy[:, following] - w[:, following] * qy[:, third]) * (2 / width)
    e_dy = (w[:, following] * qx[:, third] - w[:, third] * qx[:, following]) * (2 / height)
    total = e.sum(1)
    inverse = torch.where(
        total == 0, torch.zeros_like(total), 1 / torch.where(total == 0, torch.ones_like(total), total)
    )
    exact = e[:, :2] * inverse[:, None]
    u, v = exact.unbind(1)
    # Only rounding can leave [0, 1]; the clamp has no part in the gradient.
    u = _with_value(u, u.clamp(0, 1))
    v = _with_value(v, torch.minimum(v.clamp(min=0), 1 - u))
    weights = torch.stack([u, v, 1 - u - v], 1)
    z_over_w = (weights * p[..., 2]).sum(1) / (weights * w).sum(1)
    slopes = [(step[:, k] - weight * step.sum(1)) * inverse for k, weight in ((0, u), (1, v)) for step in (e_dx, e_dy)]
    dtype = corners.dtype
    return u.to(dtype), v.to(dtype), z_over_w.to(dtype), torch.stack(slopes, 1).to(dtype)


def _visible(
    positions: Tensor, faces: Tensor, first: int, last: int, height: int, width: int, previous: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Visible face id + 1 [H, W] int64 (0: none) and its z/w [H, W] in one image."""
    screen, owner = _screen_triangles(positions, faces[first:last].long(), height, width)
    dtype, device = positions.dtype, positions.device
    best = torch.full((height, width), torch.inf, dtype=dtype, device=device)
    winner = torch.zeros(height, width, dtype=torch.int64, device=device)
    for start in range(0, screen.shape[0], _CHUNK):
        depth = _depths(screen[start : start + _CHUNK], height, width).to(dtype)
        ids = owner[start : start + _CHUNK, None, None] + first + 1
        depth = torch.where(depth > 1, torch.inf, depth)
        if previous is not None:
            front, front_id = previous[..., 2], previous[..., 3]
            behind = (depth > front) | ((depth == front) & (ids > front_id))
            depth = torch.where(behind & (front_id > 0), depth, torch.inf)
        nearest = depth.amin(0)
        lowest = torch.where(depth == nearest, ids, torch.iinfo(torch.int64).max).amin(0)
        wins = nearest < best
        best, winner = torch.where(wins, nearest, best), torch.where(wins, lowest, winner)
    return winner, torch.where(winner > 0, best, torch.zeros_like(best))


def _screen_triangles(positions: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Projected triangles [K, 3, 3] (x, y in pixels, z/w; float64) and the face [K] each comes from, in face order."""
    corners = positions.double()[faces]
    finite = corners.isfinite().all(-1).all(-1)
    clip = ((corners[..., 3] < _MIN_W) | (corners[..., 2] < -corners[..., 3])).any(-1)
    pieces = [(int(f), corners[f][None]) for f in (finite & ~clip).nonzero()[:, 0].tolist()] if clip.any() else None
    if pieces is None:
        kept = finite.nonzero()[:, 0]
        return _project(corners[kept], height, width), kept
    for f in (finite & clip).nonzero()[:, 0].tolist():
        polygon = _clip(corners[f])
        pieces += [(f, torch.stack([polygon[0], polygon[k - 1], polygon[k]])[None]) for k in range(2, len(polygon))]
    pieces.sort(key=lambda piece: piece[0])
    if not pieces:
        return corners.new_zeros(0, 3, 3), faces.new_zeros(0)
    owner = torch.tensor([f for f, _ in pieces], device=positions.device)
    return _project(torch.cat([piece for _, piece in pieces]), height, width), owner


def _project(corners: Tensor, height: int, width: int) -> Tensor:
    inverse = 1 / corners[..., 3:]
    half = torch.tensor([0.5 * width, 0.5 * height], dtype=corners.dtype, device=corners.device)
    return torch.cat([(corners[..., :2] * inverse + 1) * half, corners[..., 2:3] * inverse], -1)


def _clip(triangle: Tensor) -> list[Tensor]:
    """The part of a clip-space triangle [3, 4] with z + w ≥ 0 and w ≥ _MIN_W: up to five vertices."""
    polygon = list(triangle)
    for distance in (lambda p: float(p[2] + p[3]), lambda p: float(p[3]) - _MIN_W):
        kept = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            da, db = distance(a), distance(b)
            if da >= 0:
                kept.append(a)
            if (da >= 0) != (db >= 0):
                (inner, di), (outer, do) = ((a, da), (b, db)) if da >= 0 else ((b, db), (a, da))
                kept.append(inner + di / (di - do) * (outer - inner))
        polygon = kept
    return polygon


def _depths(triangles: Tensor, height: int, width: int) -> Tensor:
    """z/w [K, H, W] where triangle k covers the pixel's center, else infinity."""
    order = triangles[..., 1].argsort(dim=1, stable=True)
    a, b, c = triangles.gather(1, order[..., None].expand_as(triangles)).unbind(1)
    to_b, to_c = b - a, c - a
    area = to_b[:, 0] * to_c[:, 1] - to_c[:, 0] * to_b[:, 1]
    rows = torch.arange(height, dtype=a.dtype, device=a.device) + 0.5
    columns = torch.arange(width, dtype=a.dtype, device=a.device) + 0.5

    def crossing(start: Tensor, end: Tensor) -> Tensor:
        slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
        return start[:, :1] + (rows - start[:, 1:2]) * slope[:, None]

    on_long = crossing(a, c)
    on_short = torch.where(rows < b[:, 1:2], crossing(a, b), crossing(b, c))
    left = torch.where(area[:, None] > 0, on_long, on_short)[..., None]
    right = torch.where(area[:, None] > 0, on_short, on_long)[..., None]
    in_rows = ((rows >= a[:, 1:2]) & (rows < c[:, 1:2]))[..., None]
    small = (triangles[..., :2].abs() < _MAX_PIXEL).all(-1).all(-1)
    covered = in_rows & (columns >= left) & (columns < right) & ((area != 0) & small)[:, None, None]
    inverse = (1 / area)[:, None, None]
    dz_dx = (to_b[:, 2] * to_c[:, 1] - to_c[:, 2] * to_b[:, 1])[:, None, None] * inverse
    dz_dy = (to_b[:, 0] * to_c[:, 2] - to_c[:, 0] * to_b[:, 2])[:, None, None] * inverse
    a = a[:, None, None]
    of_row = a[..., 2] + (rows[:, None] - a[..., 1]) * dz_dy - a[..., 0] * dz_dx
    low, high = triangles[..., 2].amin(1)[:, None, None], triangles[..., 2].amax(1)[:, None, None]
    depth = torch.minimum(torch.maximum(torch.nan_to_num(of_row + columns * dz_dx, nan=-torch.inf), low), high)
    return torch.where(covered, depth, torch.inf)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::rasterize",
    "(Tensor positions, Tensor faces, Tensor face_offsets, int height, int width, bool derivatives, Tensor? previous)"
    " -> (Tensor, Tensor)",
)
torch.library.define(
    "tetragan::rasterize_backward",
    "(Tensor grad_rast, Tensor? grad_rast_db, Tensor positions, Tensor faces, Tensor rast) -> Tensor",
)


@torch.library.register_fake("tetragan::rasterize")
def _fake(positions, faces, face_offsets, height, width, derivatives, previous):
    images = face_offsets.shape[0] - 1
    return (
        positions.new_empty(images, height, width, 4),
        positions.new_empty(images if derivatives else 0, height, width, 4),
    )


@torch.library.register_fake("tetragan::rasterize_backward")
def _fake_backward(grad_rast, grad_rast_db, positions, faces, rast):
    return torch.empty_like(positions)


def _setup_context(ctx, inputs, output):
    positions, faces, _, _, _, derivatives, _ = inputs
    ctx.save_for_backward(positions, faces, output[0])
    ctx.derivatives = derivatives


def _backward(ctx, grad_rast, grad_rast_db):
    positions, faces, rast = ctx.saved_tensors
    refuse_atomics_when_deterministic("rasterize", positions.device)
    grad_db = grad_rast_db.contiguous() if ctx.derivatives else None
    grad = _rasterize_backward(grad_rast.contiguous(), grad_db, positions, faces, rast)
    return grad, None, None, None, None, None, None


_rasterize = differentiable("rasterize", _backward, _setup_context)
_rasterize_backward = differentiable_once("rasterize_backward", "rasterize")
