"""The cases of dual marching cubes: which crossing edges of a cube share a dual vertex, computed rather than listed.

Corner k of a cube lies at offset (k & 1, k >> 1 & 1, k >> 2 & 1) along x, y, z. Edge 4·axis + o runs along an axis from
the corner with offsets o & 1 and o >> 1 along the other two axes, in ascending order. Face 2·axis + side.

On each face, crossing edges are connected in pairs; the loops of connected edges are the polygons of marching cubes,
and each has one dual vertex (Nielson 2004). A face with two inside corners on a diagonal is ambiguous: its four edges
are paired so that the two inside corners are apart. Where both pairs of such a face belong to one loop in each of the
two cubes that share it, two quadrilaterals would meet in the same two edges, and the mesh would not be manifold. This
happens only for Wenger's cases C16 and C19, which have no other ambiguous face; there both cubes pair the edges the
other way (Shen et al. 2023, FlexiCubes, supplement 1.3).
"""

from functools import lru_cache

import torch
from torch import Tensor

NUM_EDGES = 12


def edge_ends(edge: int) -> tuple[int, int]:
    """The corners of an edge, the lower one first."""
    axis = edge // 4
    first, second = (other for other in range(3) if other != axis)
    low = (edge & 1) << first | (edge >> 1 & 1) << second
    return low, low | 1 << axis


def _face_corners(face: int) -> list[int]:
    """The four corners of a face, in order around it."""
    axis, side = divmod(face, 2)
    first, second = (other for other in range(3) if other != axis)
    return [side << axis | a << first | b << second for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]


_EDGE_OF_ENDS = {frozenset(edge_ends(edge)): edge for edge in range(NUM_EDGES)}


def _is_ambiguous(code: int, face: int) -> bool:
    signs = [code >> corner & 1 for corner in _face_corners(face)]
    return signs in ([0, 1, 0, 1], [1, 0, 1, 0])


def _pairs(code: int, face: int, apart: bool) -> list[tuple[int, int]]:
    """Connected crossing edges of one face. apart: an ambiguous face keeps its inside corners apart."""
    corners = _face_corners(face)
    edges = [_EDGE_OF_ENDS[frozenset((corners[k], corners[(k + 1) % 4]))] for k in range(4)]
    crossing = [k for k in range(4) if (code >> corners[k] ^ code >> corners[(k + 1) % 4]) & 1]
    if len(crossing) == 2:
        return [(edges[crossing[0]], edges[crossing[1]])]
    # Edges k − 1 and k meet at corner k: around each inside corner, or around each outside one.
    around = [k for k in range(4) if (code >> corners[k] & 1) == apart] if crossing else []
    return [(edges[k - 1], edges[k]) for k in around]


def _loops(code: int, other_way: int | None = None) -> list[int]:
    """The loop of each edge [12], numbered by lowest edge; −1 where the edge does not cross.

    other_way: the ambiguous face that is resolved the other way.
    """
    loop = [-1] * NUM_EDGES
    links = [pair for face in range(6) for pair in _pairs(code, face, apart=face != other_way)]
    count = 0
    for start in range(NUM_EDGES):
        if loop[start] >= 0 or not any(start in pair for pair in links):
            continue
        waiting = [start]
        while waiting:
            edge = waiting.pop()
            loop[edge] = count
            waiting += [other for pair in links if edge in pair for other in pair if loop[other] < 0]
        count += 1
    return loop


def _shared_face(code: int) -> int:
    """The ambiguous face whose two pairs of edges belong to one loop; −1 for none."""
    loop = _loops(code)
    for face in range(6):
        if _is_ambiguous(code, face):
            (a, _), (b, _) = _pairs(code, face, apart=True)
            if loop[a] == loop[b]:
                return face
    return -1


@lru_cache(maxsize=8)
def case_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """(groups [512, 12], ambiguous [256]) int32.

    groups: the dual vertex of each edge, 0 … 3, −1 for none; by sign case (bit k: corner k is inside), and from row 256
    on with the face `ambiguous` resolved the other way. ambiguous: the face that needs this if the neighbor has it too;
    −1 for none. Cached: never write to them.
    """
    ambiguous = [_shared_face(code) for code in range(256)]
    groups = [_loops(code) for code in range(256)]
    groups += [_loops(code, face if face >= 0 else None) for code, face in enumerate(ambiguous)]
    return (
        torch.tensor(groups, dtype=torch.int32, device=device),
        torch.tensor(ambiguous, dtype=torch.int32, device=device),
    )
