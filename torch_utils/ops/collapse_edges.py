"""`collapse_edges`: fewer faces for one mesh, by collapsing the edges of least quadric error; the topology stays.

    collapse_edges(vertices [V, 3], faces [F, 3] int32, max_faces) → [F', 3] int32

One end of an edge moves to the other, so the faces that are left use a subset of the same vertices; they keep their
order and winding. The cost of a collapse is the sum, over the faces merged into both ends, of the squared distance from
their planes times twice their areas (Garland and Heckbert 1997, "subset placement"), plus `LENGTH_WEIGHT` times the
edge's length to the fourth power, which prefers short edges where the surface is flat.

A collapse is done only if it keeps the topology (the link condition: the two ends have exactly two common neighbors,
the third corners of the edge's two faces, and each of these keeps at least three faces), if no face turns by more than
78° (`MIN_COSINE`), and if no face becomes a sliver (`MIN_SHAPE`). So Euler number, connected components and closedness
are those of the input. A vertex at an open edge, or at one of more than two faces, stays. The result has at most
max_faces faces if these rules allow it, else as few as they allow; max_faces or one less for a closed mesh.

float32 or float64, computed in double. No gradient. Deterministic, one thread. CPU kernel; other devices copy to it and
back. Errors: TypeError, ValueError "collapse_edges(): expected …, got …".
"""

import heapq
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from torch_utils.ops.checks import FLOATING, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel

# As in csrc/collapse_edges/collapse_edges_cpu.cpp.
LENGTH_WEIGHT, MIN_COSINE, MIN_SHAPE = 1e-3, 0.2, 1e-3

Point = tuple[float, float, float]


def collapse_edges(vertices: Tensor, faces: Tensor, max_faces: int) -> Tensor:
    """See the module's text."""
    check_tensor("collapse_edges", "vertices", vertices, ("V", 3), FLOATING)
    check_tensor("collapse_edges", "faces", faces, ("F", 3), (torch.int32,), vertices.device)
    check_index_range("collapse_edges", "faces", faces, vertices.shape[0])
    if max_faces < 0:
        raise ValueError(f"collapse_edges(): expected max_faces of at least 0, got {max_faces}")
    points, triangles = vertices.detach().cpu().contiguous(), faces.cpu().contiguous()
    if not use_kernel("cpu", "collapse_edges"):
        return collapse_edges_reference(points, triangles, max_faces).to(faces.device)
    return torch.ops.tetragan.collapse_edges(points, triangles, max_faces).to(faces.device)


def collapse_edges_reference(vertices: Tensor, faces: Tensor, max_faces: int) -> Tensor:
    """The same in plain Python; it makes the same decisions as the kernel."""
    points: list[Point] = [tuple(row) for row in vertices.double().tolist()]
    state = _Collapser(points, faces.tolist())
    state.run(max_faces)
    left = [face for face, alive in zip(state.faces, state.alive, strict=True) if alive]
    return torch.tensor(left, dtype=torch.int32).reshape(-1, 3)


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


class _Collapser:
    """The mesh while it is simplified. fans: the faces of each vertex. versions: changes of each vertex."""

    def __init__(self, points: list[Point], faces: list[list[int]]) -> None:
        self.points, self.faces = points, faces
        self.alive = [True] * len(faces)
        self.left = len(faces)
        self.fans: list[list[int]] = [[] for _ in points]
        self.quadrics = [[0.0] * 10 for _ in points]
        self.versions = [0] * len(points)
        self.heap: list[tuple[float, int, int, int, int]] = []
        for number, face in enumerate(faces):
            self._add_plane(face)
            for vertex in face:
                self.fans[vertex].append(number)
        self.frozen = [not self._closed_around(vertex) for vertex in range(len(points))]

    def run(self, max_faces: int) -> None:
        for vertex in range(len(self.points)):
            for other in self._neighbors(vertex):
                if vertex < other:
                    self._push(vertex, other)
        while self.left > max_faces and self.heap:
            cost, start, end, version_start, version_end = heapq.heappop(self.heap)
            if self.versions[start] != version_start or self.versions[end] != version_end:
                continue
            if self._allowed(start, end):
                self._collapse(start, end)
            elif cost == self._cost(start, end) and self._first(start, end):
                self._push_one(end, start)

    def _normal(self, face: list[int]) -> Point:
        a, b, c = (self.points[vertex] for vertex in face)
        return _cross(_minus(b, a), _minus(c, a))

    def _add_plane(self, face: list[int]) -> None:
        normal = self._normal(face)
        length = _dot(normal, normal) ** 0.5
        if not length > 0:
            return
        unit: Point = (normal[0] / length, normal[1] / length, normal[2] / length)
        plane = (*unit, -_dot(unit, self.points[face[0]]))
        for vertex in face:
            for k, (i, j) in enumerate(combinations_with_replacement(range(4), 2)):
                self.quadrics[vertex][k] += length * plane[i] * plane[j]

    def _ends(self, vertex: int) -> list[int]:
        return [other for number in self.fans[vertex] for other in self.faces[number] if other != vertex]

    def _neighbors(self, vertex: int) -> list[int]:
        return sorted(set(self._ends(vertex)))

    def _closed_around(self, vertex: int) -> bool:
        ends = self._ends(vertex)
        return len(ends) == 2 * len(self.fans[vertex]) and all(ends.count(end) == 2 for end in ends)

    def _cost(self, start: int, end: int) -> float:
        q = [a + b for a, b in zip(self.quadrics[start], self.quadrics[end], strict=True)]
        x, y, z = self.points[end]
        edge = _minus(self.points[start], self.points[end])
        square = _dot(edge, edge)
        error = (
            x * (q[0] * x + 2 * (q[1] * y + q[2] * z + q[3]))
            + y * (q[4] * y + 2 * (q[5] * z + q[6]))
            + z * (q[7] * z + 2 * q[8])
            + q[9]
        )
        return error + LENGTH_WEIGHT * square * square

    def _first(self, start: int, end: int) -> bool:
        if self.frozen[end]:
            return True
        ahead, back = self._cost(start, end), self._cost(end, start)
        return ahead < back or (ahead == back and start < end)

    def _push_one(self, start: int, end: int) -> None:
        if not self.frozen[start]:
            entry = (self._cost(start, end), start, end, self.versions[start], self.versions[end])
            heapq.heappush(self.heap, entry)

    def _push(self, a: int, b: int) -> None:
        if self.frozen[a] and self.frozen[b]:
            return
        if self.frozen[a] or (not self.frozen[b] and not self._first(a, b)):
            a, b = b, a
        self._push_one(a, b)

    def _allowed(self, start: int, end: int) -> bool:
        around_end = {vertex for number in self.fans[end] for vertex in self.faces[number]}
        shared = [self.faces[number] for number in self.fans[start] if end in self.faces[number]]
        thirds = [vertex for face in shared for vertex in face if vertex not in (start, end)]
        if len(shared) != 2 or any(len(self.fans[vertex]) <= 3 for vertex in thirds):
            return False
        if sum(other != end and other in around_end for other in self._neighbors(start)) != 2:
            return False
        for number in self.fans[start]:
            face = self.faces[number]
            if end in face:
                continue
            moved = [end if vertex == start else vertex for vertex in face]
            before, after = self._normal(face), self._normal(moved)
            old_square, new_square, turned = _dot(before, before), _dot(after, after), _dot(before, after)
            if turned <= 0 or turned * turned < MIN_COSINE * MIN_COSINE * old_square * new_square:
                return False
            sides = [_minus(self.points[moved[(k + 1) % 3]], self.points[moved[k]]) for k in range(3)]
            longest = max(_dot(side, side) for side in sides)
            if new_square < MIN_SHAPE * longest * longest and new_square < old_square:
                return False
        return True

    def _collapse(self, start: int, end: int) -> None:
        for number in self.fans[start]:
            face = self.faces[number]
            if end in face:
                self.alive[number] = False
                self.left -= 1
                for vertex in face:
                    if vertex != start:
                        self.fans[vertex].remove(number)
            else:
                face[face.index(start)] = end
                self.fans[end].append(number)
        self.fans[start] = []
        self.quadrics[end] = [a + b for a, b in zip(self.quadrics[end], self.quadrics[start], strict=True)]
        self.versions[start] += 1
        self.versions[end] += 1
        for other in self._neighbors(end):
            self._push(end, other)


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define("tetragan::collapse_edges", "(Tensor vertices, Tensor faces, int max_faces) -> Tensor")


@torch.library.register_fake("tetragan::collapse_edges")
def _fake(vertices, faces, max_faces):
    return faces.new_empty(torch.library.get_ctx().new_dynamic_size(), 3)
