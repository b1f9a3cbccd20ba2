"""`antialias`: blend colors at silhouettes, so that the image is a smooth function of the vertices' positions.

    antialias(color [N, H, W, C], rast [N, H, W, 4], positions [ΣV, 4], faces [ΣF, 3], neighbors=None) → [N, H, W, C]

color: float32 or float64 (the type of `rast` and `positions`; half is computed in their type and returned as half).
rast: the result of `rasterize` for these positions (clip space) and faces (int32). neighbors [ΣF, 3] int32: of
`face_neighbors(faces)`, computed here unless given. Faces must share vertices by id: a seam of duplicate vertices
counts as a silhouette.

For each two adjacent pixels with different triangles, the surface at the nearer one is followed towards the other
pixel, across edges, to the silhouette where it ends: an edge that is open or whose next triangle folds back. It lies d
∈ [0, 1] pixels from the nearer center; (d − ½)·(nearer − farther) is added to the farther color if d > ½, else to the
nearer. Steep edges blend pixels of a row, flat ones pixels of a column. Nothing is blended if the surface continues to
the other pixel, or near vertices behind the camera.

Gradient: once, to `color` and, through d, to x, y, w of `positions` (none to z, none to `rast`); the derivative of a
shape's total coverage is that of its area. The CPU kernel is bitwise repeatable for any number of threads; the CUDA
kernel's gradient to `positions` adds with atomics and refuses under `torch.use_deterministic_algorithms(True)`.
Errors: TypeError, ValueError "antialias(): expected …, got …".
"""

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once, refuse_atomics_when_deterministic
from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.face_neighbors import face_neighbors
from torch_utils.ops.loading import use_kernel

__all__ = ["antialias", "antialias_reference", "face_neighbors"]

# As in csrc/antialias/antialias.h and csrc/rasterize/rasterize.h.
_MAX_STEPS = 64
_MIN_W = 1e-8
_MAX_PIXEL = 1e9


def antialias(color: Tensor, rast: Tensor, positions: Tensor, faces: Tensor, neighbors: Tensor | None = None) -> Tensor:
    """See the module's text."""
    op = "antialias"
    check_tensor(op, "rast", rast, ("N", "H", "W", 4), FLOATING)
    check_tensor(op, "color", color, (*rast.shape[:3], "C"), (rast.dtype, *HALF), rast.device)
    check_tensor(op, "positions", positions, ("V", 4), (rast.dtype, *HALF), rast.device)
    check_tensor(op, "faces", faces, ("F", 3), (torch.int32,), rast.device)
    check_index_range(op, "faces", faces, positions.shape[0])
    if neighbors is None:
        neighbors = face_neighbors(faces)
    check_tensor(op, "neighbors", neighbors, (faces.shape[0], 3), (torch.int32,), rast.device)
    dtype = color.dtype
    color, positions = color.to(rast.dtype), positions.to(rast.dtype)
    if use_kernel(rast.device.type, op):
        tensors = (color, rast.detach(), positions, faces, neighbors)
        out, _, _ = _antialias(*(t.contiguous() for t in tensors))
    else:
        out = antialias_reference(color, rast, positions, faces, neighbors)
    return out.to(dtype)


# ---------------------------------------------------------------------------------------------------------- reference


def antialias_reference(
    color: Tensor, rast: Tensor, positions: Tensor, faces: Tensor, neighbors: Tensor | None = None
) -> Tensor:
    """The same in plain PyTorch, any device, differentiable through autograd."""
    if neighbors is None:
        neighbors = face_neighbors(faces)
    out = color
    height, width = rast.shape[1:3]
    for vertical in (False, True):
        near, far, pair = _pairs(rast, faces.shape[0], vertical)
        with torch.no_grad():
            points = _screen(positions.double(), height, width, vertical)
            kept, ends = _walk(points, faces.long(), neighbors.long(), pair)
        near, far = (tuple(index[kept] for index in pixel) for pixel in (near, far))
        start, end = _screen(positions.double()[ends], height, width, vertical).unbind(1)
        d = pair["sign"][kept] * (_crossing(start, end, pair["center"][kept]) - pair["start"][kept])
        blend = (d.clamp(min=0).detach() + (d - d.detach()) - 0.5).to(color.dtype)[:, None]
        change = blend * (color[near] - color[far])
        target = tuple(torch.where(blend[:, 0] > 0, f, n) for f, n in zip(far, near, strict=True))
        out = out.index_put(target, change, accumulate=True)
    return out


def _pairs(rast: Tensor, num_faces: int, vertical: bool) -> tuple[tuple, tuple, dict[str, Tensor]]:
    """Pixels (image, row, column) of the nearer and the farther side of each pair, and the pairs' geometry."""
    ids = rast[..., 3].detach().round().long()
    ids = torch.where((ids >= 1) & (ids <= num_faces), ids, 0) - 1
    depth = rast[..., 2].detach()
    size = ids.shape[1 if vertical else 2]
    axis = 1 if vertical else 2
    first, second = (ids.narrow(axis, k, max(size - 1, 0)) for k in (0, 1))
    depth_first, depth_second = (depth.narrow(axis, k, max(size - 1, 0)) for k in (0, 1))
    index = (first != second).nonzero()
    at = tuple(index.T)
    self_nearer = (second[at] < 0) | ((first[at] >= 0) & (depth_first[at] <= depth_second[at]))
    partner = index.clone()
    partner[:, axis] += 1
    near = tuple(torch.where(self_nearer[:, None], index, partner).T)
    far = tuple(torch.where(self_nearer[:, None], partner, index).T)
    along = index[:, axis].double()
    pair = {
        "start": along + torch.where(self_nearer, 0.5, 1.5),
        "center": index[:, 3 - axis].double() + 0.5,
        "sign": torch.where(self_nearer, 1.0, -1.0).double(),
        "face": ids[near],
        "target": ids[far],
        "vertical": torch.tensor(vertical),
    }
    return near, far, pair


def _screen(positions: Tensor, height: int, width: int, vertical: bool) -> Tensor:
    """(along, across) in pixels [..., 2]; NaN for points that cannot be used."""
    x = (positions[..., 0] / positions[..., 3] + 1) * (0.5 * width)
    y = (positions[..., 1] / positions[..., 3] + 1) * (0.5 * height)
    usable = (positions[..., 3] >= _MIN_W) & (x.abs() < _MAX_PIXEL) & (y.abs() < _MAX_PIXEL)
    points = torch.stack([y, x] if vertical else [x, y], -1)
    return torch.where(usable[..., None], points, torch.nan)


def _crossing(a: Tensor, b: Tensor, center: Tensor) -> Tensor:
    """Where the line across = center meets the edges a–b [K, 2], measured along."""
    ordered = (a[..., 1] < b[..., 1])[..., None]
    low, high = torch.where(ordered, a, b), torch.where(ordered, b, a)
    slope = (high[..., 0] - low[..., 0]) / (high[..., 1] - low[..., 1])
    return low[..., 0] + (center - low[..., 1]) * slope


def _walk(points: Tensor, faces: Tensor, neighbors: Tensor, pair: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(the pairs that end at a silhouette [K], its two vertices [K, 2])."""
    device = points.device
    corner_a, corner_b = torch.tensor([1, 2, 0], device=device), torch.tensor([2, 0, 1], device=device)
    active = torch.arange(pair["face"].shape[0], device=device)
    face, entry = pair["face"].clone(), torch.full_like(pair["face"], -1)
    kept, ends = [], []
    for _ in range(_MAX_STEPS):
        if active.numel() == 0:
            break
        center, sign = pair["center"][active][:, None], pair["sign"][active]
        p = points[faces[face]]
        a, b = p[:, corner_a], p[:, corner_b]
        crosses = (a[..., 1] <= center) != (b[..., 1] <= center)
        crosses &= torch.arange(3, device=device) != entry[:, None]
        crosses &= p.isfinite().all(-1).all(-1)[:, None]
        at = torch.where(crosses, sign[:, None] * _crossing(a, b, center), -torch.inf)
        leave = at.argmax(1)
        row = torch.arange(active.shape[0], device=device)
        d = at[row, leave] - sign * pair["start"][active]
        alive = crosses.any(1) & (d <= 1)
        ids = torch.stack([faces[face, corner_a[leave]], faces[face, corner_b[leave]]], 1)
        following = neighbors[face, leave]
        inside = following.clamp(min=0)
        same = faces[inside][:, corner_a].eq(ids[:, :1]) & faces[inside][:, corner_b].eq(ids[:, 1:])
        turned = faces[inside][:, corner_a].eq(ids[:, 1:]) & faces[inside][:, corner_b].eq(ids[:, :1])
        enter = torch.where(same | turned, torch.arange(3, device=device), -1).amax(1)
        start, end = points[ids].unbind(1)
        apex = points[faces[inside, enter.clamp(min=0)]]
        alive &= (following < 0) | ((enter >= 0) & apex.isfinite().all(-1))
        run, rise = (end - start).unbind(1)
        side = rise * (apex[:, 0] - start[:, 0]) - run * (apex[:, 1] - start[:, 1])
        ahead = sign * torch.where(rise > 0, side, -side)
        silhouette = alive & ((following < 0) | (ahead < 0))
        # `points` holds (along, across): an edge counts for pairs across it, ties for pairs within a row.
        steep, lean = rise.abs(), run.abs()
        fits = torch.where(pair["vertical"].to(device), steep > lean, steep >= lean)
        kept.append(active[silhouette & fits])
        ends.append(ids[silhouette & fits])
        walk_on = alive & ~silhouette & (following != pair["target"][active])
        active, face, entry = active[walk_on], following[walk_on], enter[walk_on]
    if not kept:
        return active, faces.new_zeros(0, 2)
    return torch.cat(kept), torch.cat(ends)


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::antialias",
    "(Tensor color, Tensor rast, Tensor positions, Tensor faces, Tensor neighbors) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "tetragan::antialias_backward",
    "(Tensor grad, Tensor color, Tensor positions, Tensor faces, Tensor slots, Tensor blends, bool of_positions)"
    " -> (Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::antialias")
def _fake(color, rast, positions, faces, neighbors):
    shape = (*color.shape[:3], 2)
    return color.new_empty(color.shape), faces.new_empty(shape), color.new_empty(shape)


@torch.library.register_fake("tetragan::antialias_backward")
def _fake_backward(grad, color, positions, faces, slots, blends, of_positions):
    return color.new_empty(color.shape), positions.new_empty(positions.shape[0] if of_positions else 0, 4)


def _setup_context(ctx, inputs, output):
    color, _, positions, faces, _ = inputs
    _, slots, blends = output
    ctx.mark_non_differentiable(slots, blends)
    ctx.set_materialize_grads(False)  # otherwise autograd makes zeros for slots and blends in each backward pass
    ctx.save_for_backward(color, positions, faces, slots, blends)


def _backward(ctx, grad, grad_slots, grad_blends):
    if grad is None:
        return None, None, None, None, None
    of_positions = ctx.needs_input_grad[2]
    if of_positions:
        refuse_atomics_when_deterministic("antialias", ctx.saved_tensors[0].device)
    grad_color, grad_positions = _antialias_backward(grad.contiguous(), *ctx.saved_tensors, of_positions)
    return grad_color, None, grad_positions if of_positions else None, None, None


_antialias = differentiable("antialias", _backward, _setup_context)
_antialias_backward = differentiable_once("antialias_backward", "antialias")
