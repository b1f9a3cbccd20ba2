"""Losses on the SDF of a tetrahedral grid."""

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.mesh import Mesh
from geometry.topology import vertex_components
from torch_utils.devices import upload

# Differences of unit normals below it count by their squares: 6 degrees.
SMALL_DIFFERENCE = 0.1


def sdf_sign_loss(sdf_a: Tensor, sdf_b: Tensor) -> Tensor:
    """Cross-entropy of σ(s) at each end of the crossing edges with the sign of the other end: removes floaters.

    sdf_a, sdf_b [K]: SDF at the two ends of every crossing edge, K ≥ 0. Both directions are summed, then averaged over
    edges; 0 for none. Source: Shen et al. 2021; GET3D, eq. 7.
    """
    count = max(sdf_a.shape[0], 1)
    loss = F.binary_cross_entropy_with_logits(sdf_a, (sdf_b >= 0).to(sdf_a.dtype), reduction="sum")
    loss = loss + F.binary_cross_entropy_with_logits(sdf_b, (sdf_a >= 0).to(sdf_b.dtype), reduction="sum")
    return loss / count


def floater_loss(mesh: Mesh, sdf_a: Tensor, sdf_b: Tensor) -> Tensor:
    """Depth of the floaters of a mesh: summed over floaters, each with equal weight, averaged over samples.

    A floater is any connected component but the largest (by vertices). Its depth is the mean |s| at those ends of its
    crossing edges that would have to change sign for it to vanish: the inner ends of a solid, the outer ends of a
    cavity. mesh: packed, of B samples. sdf_a, sdf_b [ΣV]: SDF at the two ends of each vertex's grid edge, in any unit.
    0 if every sample is one component.

    Small floaters shrink until they vanish. A larger component, such as the rail of a chair, becomes expensive; without
    it the discriminators would object, so the generator connects it.
    """
    weights, solid = floater_weights(mesh)
    inner, outer = torch.minimum(sdf_a, sdf_b), torch.maximum(sdf_a, sdf_b)
    return (torch.where(solid, -inner, outer) * weights).sum() / len(mesh)


@torch.no_grad()
def floater_weights(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Weights that average over each floater, and which vertices belong to a solid rather than a cavity.

    mesh: packed. Returns weights [ΣV], 1 / (vertices of the component) in floaters and 0 in the largest component of
    each mesh, and solid [ΣV] bool: the component winds outward.
    """
    count = mesh.vertices.shape[0]
    labels = vertex_components(mesh)
    sizes = torch.zeros(count, dtype=torch.int64, device=labels.device).index_add_(0, labels, torch.ones_like(labels))
    sample = torch.repeat_interleave(upload(mesh.vertex_offsets.diff(), labels.device), output_size=count)
    largest = torch.zeros(len(mesh), dtype=torch.int64, device=labels.device)
    largest = largest.scatter_reduce(0, sample, sizes, "amax")
    floating = (sizes < largest[sample])[labels]
    a, b, c = mesh.vertices.detach()[mesh.faces.long()].unbind(1)
    volumes = torch.zeros(count, dtype=a.dtype, device=labels.device)
    volumes.index_add_(0, labels[mesh.faces[:, 0].long()], (a * torch.linalg.cross(b, c)).sum(-1))
    return floating / sizes[labels], volumes[labels] > 0


def normal_variation(mesh: Mesh) -> Tensor:
    """Mean difference |n₁ − n₂| of the unit normals of faces that share an edge, weighted by the smaller area: [].

    The mean of lengths rather than of squares leaves sharp edges as cheap as rounded ones, and flattens what is nearly
    flat (total variation of normals; Zhang et al. 2015). The weights pass no gradient. mesh: packed. 0 for no faces.
    """
    first, second, shared = adjacent_faces(mesh)
    cross = _cross_products(mesh)
    double_area = cross.norm(dim=1, keepdim=True).clamp(min=1e-12)
    normals, areas = cross / double_area, double_area.detach().squeeze(1)
    weights = torch.minimum(areas[first], areas[second]) * shared
    squared = (normals[first] - normals[second]).square().sum(1)
    difference = (squared + SMALL_DIFFERENCE**2).sqrt() - SMALL_DIFFERENCE
    return (difference * weights).sum() / weights.sum().clamp(min=1e-12)


@torch.no_grad()
def variation_weight(mesh: Mesh) -> Tensor:
    """The sum of the weights [] that `normal_variation` is a mean with."""
    first, second, shared = adjacent_faces(mesh)
    areas = _cross_products(mesh).norm(dim=1).clamp(min=1e-12)
    return (torch.minimum(areas[first], areas[second]) * shared).sum()


def _cross_products(mesh: Mesh) -> Tensor:
    """Normals of a packed batch's faces [F, 3], as long as twice their area."""
    corners = mesh.vertices[mesh.faces.long()]
    return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


@torch.no_grad()
def adjacent_faces(mesh: Mesh) -> tuple[Tensor, Tensor, Tensor]:
    """Faces of a packed batch that share an edge: first, second [3F − 1] int64, and shared [3F − 1], 1 for such a pair.

    The other rows, with 0, are pairs that share none: so nothing waits for the device. No faces give no rows.
    """
    faces, count = mesh.faces.long(), mesh.vertices.shape[0]
    ends = torch.stack([faces, faces.roll(-1, 1)], 2).view(-1, 2)
    keys, order = (ends.amin(1) * count + ends.amax(1)).sort()
    owner = order // 3
    return owner[:-1], owner[1:], (keys[:-1] == keys[1:]).to(mesh.vertices.dtype)


def fallback_surface_loss(sdf_active: Tensor, values: Tensor, replaced: Tensor) -> Tensor:
    """Mean |s − value| over the vertices whose SDF was replaced, world units; 0 for none.

    sdf_active [ΣA]: the network's SDF, with gradient. values, replaced [ΣA]: of `extraction.FoundSurface`.
    It pulls an empty sample, a surface that leaves the box, or disconnected components towards the SDF that was used
    instead; the surface itself passes no gradient there.
    """
    weight = replaced.to(sdf_active.dtype)
    return ((sdf_active - values).abs() * weight).sum() / weight.sum().clamp(min=1)
