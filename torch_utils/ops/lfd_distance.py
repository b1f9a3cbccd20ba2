"""`lfd_distance`: light-field distance of all pairs of shapes, from their descriptors.

    lfd_distance(a [M, 10, 10, 47] uint8, b [N, 10, 10, 47] uint8) -> [M, N] int32

A descriptor (`lfd_descriptor`) holds 10 light fields of 10 views of 47 bytes: 35 region coefficients (R), 10 contour
coefficients (C), circularity (K), eccentricity (E). The distance is the least, over the 10 × 10 pairs of light fields
and the 60 rotations of the dodecahedron that the views lie on, of Σ over views of Σ|ΔR| + 2 Σ|ΔC| + 2 |ΔK| + |ΔE|
(Chen et al. 2003). Symmetric, zero between equal shapes. No gradient. Deterministic; exact integers, so the kernels
equal the reference. Errors: ValueError or TypeError for shape, type and device.
"""

from functools import cache
from itertools import product

import torch
from torch import Tensor

from torch_utils.ops.checks import check_tensor
from torch_utils.ops.loading import use_kernel

REGION, CONTOUR = 35, 10
VIEW_BYTES = REGION + CONTOUR + 2
# Directions of ten vertices of the dodecahedron, one of each antipodal pair, in the order of the original program.
DODECAHEDRON = (
    (0.52573, 0.38197, 0.85065),
    (-0.20081, 0.61803, 0.85065),
    (-0.64984, 0.0, 0.85065),
    (-0.20081, -0.61803, 0.85065),
    (0.52573, -0.38197, 0.85065),
    (0.85065, -0.61803, 0.20081),
    (1.0515, 0.0, -0.20081),
    (0.85065, 0.61803, 0.20081),
    (0.32492, 1.0, -0.20081),
    (-0.32492, 1.0, 0.20081),
)


@cache
def rotations_of_views() -> Tensor:
    """The 60 rotations of the dodecahedron as permutations of its antipodal pairs of vertices [60, 10] uint8.

    A rotation is determined by the images of two vertices at a given distance; it must map the ten directions to
    themselves.
    """
    points = torch.tensor(DODECAHEDRON, dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True)
    both = torch.cat([points, -points])

    def frame(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([a, b, torch.linalg.cross(a, b)], 1)

    # Two directions that are neighbors on the dodecahedron: those with the largest cosine between different ones.
    cosine = points @ points.T - 2 * torch.eye(10)
    first, second = divmod(int(cosine.argmax()), 10)
    start = torch.linalg.inv(frame(points[first], points[second]))
    found = set()
    for i, j in product(range(20), range(20)):
        if abs(float(both[i] @ both[j] - cosine[first, second])) > 1e-3:
            continue
        moved = points @ (frame(both[i], both[j]) @ start).T
        match = (moved @ both.T).max(dim=1)
        if bool((match.values > 1 - 1e-3).all()):
            found.add(tuple((match.indices % 10).tolist()))
    assert len(found) == 60, f"expected 60 rotations of the dodecahedron, found {len(found)}"
    return torch.tensor(sorted(found), dtype=torch.uint8)


def lfd_distance(a: Tensor, b: Tensor) -> Tensor:
    """Light-field distance of all pairs; see the contract at the top of this file."""
    check_tensor("lfd_distance", "a", a, ("M", 10, 10, VIEW_BYTES), (torch.uint8,))
    check_tensor("lfd_distance", "b", b, ("N", 10, 10, VIEW_BYTES), (torch.uint8,), a.device)
    if not use_kernel(a.device.type, "lfd_distance"):
        return lfd_distance_reference(a, b)
    alignments = rotations_of_views().to(a.device)
    return torch.ops.tetragan.lfd_distance(a.contiguous(), b.contiguous(), alignments)


def lfd_distance_reference(a: Tensor, b: Tensor) -> Tensor:
    """`lfd_distance` in plain PyTorch, one pair of shapes at a time."""
    weights = torch.ones(VIEW_BYTES, device=a.device)
    weights[REGION : REGION + CONTOUR + 1] = 2
    alignments = rotations_of_views().long().to(a.device)
    result = torch.empty(a.shape[0], b.shape[0], dtype=torch.int32, device=a.device)
    for m, n in product(range(a.shape[0]), range(b.shape[0])):
        one, two = (shape.reshape(100, VIEW_BYTES).float() * weights for shape in (a[m], b[n]))
        # costs[own field, other field, own view, other view]; sums of integers below 2²⁴ are exact in float32.
        costs = torch.cdist(one, two, p=1).reshape(10, 10, 10, 10).permute(0, 2, 1, 3)
        chosen = costs[:, :, torch.arange(10, device=a.device), alignments]
        result[m, n] = chosen.sum(-1).amin().round().int()
    return result


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define("tetragan::lfd_distance", "(Tensor a, Tensor b, Tensor alignments) -> Tensor")


@torch.library.register_fake("tetragan::lfd_distance")
def _fake(a, b, alignments):
    return a.new_empty(a.shape[0], b.shape[0], dtype=torch.int32)
