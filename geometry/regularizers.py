"""Losses on the SDF of a tetrahedral grid."""

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.mesh import Mesh
from geometry.topology import vertex_components


def sdf_sign_loss(sdf_a: Tensor, sdf_b: Tensor) -> Tensor:
    """Cross-entropy of σ(s) at each end of the crossing edges with the sign of the other end: removes floaters.

    sdf_a, sdf_b [K]: SDF at the two ends of every crossing edge, K ≥ 0. Mean over edges, both directions summed; 0 for
    none. (Shen et al. 2021; GET3D, eq. 7.)
    """
    count = max(sdf_a.shape[0], 1)
    loss = F.binary_cross_entropy_with_logits(sdf_a, (sdf_b >= 0).to(sdf_a.dtype), reduction="sum")
    loss = loss + F.binary_cross_entropy_with_logits(sdf_b, (sdf_a >= 0).to(sdf_b.dtype), reduction="sum")
    return loss / count


def floater_loss(mesh: Mesh, sdf_a: Tensor, sdf_b: Tensor) -> Tensor:
    """How deep the loose parts of a mesh are, each part counting alike: summed over parts, mean over samples.

    Every part of a mesh but its largest (by vertices) is loose. Its depth is the mean |s| at those ends of its crossing
    edges that would have to change sign for it to vanish: the inner ends of a solid, the outer ends of a cavity. mesh:
    packed, of B samples. sdf_a, sdf_b [ΣV]: SDF at the two ends of each vertex's grid edge, in any unit. 0 where every
    sample is of one part. It shrinks crumbs until they are gone; a bar that hangs in the air it makes dear, and the
    discriminators, who miss the bar, leave it one way: to be joined.
    """
    share, solid = loose_share(mesh)
    inner, outer = torch.minimum(sdf_a, sdf_b), torch.maximum(sdf_a, sdf_b)
    return (torch.where(solid, -inner, outer) * share).sum() / len(mesh)


@torch.no_grad()
def loose_share(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Each vertex's share of its part's vertices, 0 in the largest part of its mesh, and whether its part is solid.

    mesh: packed. Both [ΣV]; a part is solid where it winds outward, else it is a cavity.
    """
    count = mesh.vertices.shape[0]
    labels = vertex_components(mesh)
    sizes = torch.zeros(count, dtype=torch.int64, device=labels.device).index_add_(0, labels, torch.ones_like(labels))
    sample = torch.repeat_interleave(mesh.vertex_offsets.diff().to(labels.device), output_size=count)
    largest = torch.zeros(len(mesh), dtype=torch.int64, device=labels.device)
    largest = largest.scatter_reduce(0, sample, sizes, "amax")
    loose = (sizes < largest[sample])[labels]
    a, b, c = mesh.vertices.detach()[mesh.faces.long()].unbind(1)
    volumes = torch.zeros(count, dtype=a.dtype, device=labels.device)
    volumes.index_add_(0, labels[mesh.faces[:, 0].long()], (a * torch.linalg.cross(b, c)).sum(-1))
    return loose / sizes[labels], volumes[labels] > 0


def repair_loss(sdf_active: Tensor, values: Tensor, replaced: Tensor) -> Tensor:
    """Mean |s − value| over the vertices whose SDF was replaced (repaired or sealed), in world units; 0 for none.

    sdf_active [ΣA]: what the network says, with gradient. values, replaced [ΣA]: of `extraction.FoundSurface`.
    It leads an empty sample, or a surface that leaves the box, back without a surface gradient.
    """
    weight = replaced.to(sdf_active.dtype)
    return ((sdf_active - values).abs() * weight).sum() / weight.sum().clamp(min=1)
