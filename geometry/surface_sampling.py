"""Points on surfaces."""

import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.normals import face_cross_products


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points spread uniformly over the area of each mesh of a packed batch, and their face normals.

    count: points a mesh. generator: on the CPU; the points of mesh b depend on its state and on b, not on the other
    meshes. Returns (points [B, count, 3], unit normals [B, count, 3]); NaN for a mesh without faces or without area.
    No gradient. The points are independent of one another, as in the published protocols.
    """
    if count < 1:
        raise ValueError(f"sample_surface(): expected at least one point, got {count}")
    mesh = mesh.detach()
    device = mesh.vertices.device
    uniform = torch.rand(len(mesh), count, 3, generator=generator, dtype=torch.float64).to(device)
    weighted = face_cross_products(mesh).double()
    faces = _pick_faces(weighted.norm(dim=-1), mesh.face_offsets.tolist(), uniform[..., 0])
    root = uniform[..., 1].sqrt()
    weights = torch.stack([1 - root, root * (1 - uniform[..., 2]), root * uniform[..., 2]], -1)
    known = faces >= 0
    if not mesh.faces.shape[0]:
        empty = torch.full((len(mesh), count, 3), torch.nan, dtype=mesh.vertices.dtype, device=device)
        return empty, empty.clone()
    faces = faces.clamp(min=0)
    corners = mesh.vertices[mesh.faces[faces]].double()
    points = (corners * weights[..., None]).sum(-2)
    normals = torch.nn.functional.normalize(weighted[faces], dim=-1, eps=1e-300)
    dtype = mesh.vertices.dtype
    missing = ~known[..., None]
    return points.masked_fill(missing, torch.nan).to(dtype), normals.masked_fill(missing, torch.nan).to(dtype)


def _pick_faces(areas: Tensor, face_offsets: list[int], uniform: Tensor) -> Tensor:
    """Faces [B, count] drawn by area; −1 where a mesh has no area. areas [ΣF], uniform [B, count] in [0, 1)."""
    batch, count = uniform.shape
    faces = torch.full((batch, count), -1, dtype=torch.int64, device=areas.device)
    for b in range(batch):
        first, last = face_offsets[b], face_offsets[b + 1]
        cumulative = areas[first:last].cumsum(0)
        total = cumulative[-1] if last > first else areas.new_zeros(())
        if not bool(torch.isfinite(total)) or not bool(total > 0):
            continue
        picked = torch.searchsorted(cumulative, uniform[b] * total, right=True)
        faces[b] = first + picked.clamp(max=last - first - 1)
    return faces
