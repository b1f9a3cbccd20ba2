"""What extraction and its corrections need of a grid, whether its cells are tetrahedra or cubes."""

from typing import Protocol

from torch import Tensor


class Vertices(Protocol):
    """The vertices of a grid: positions [V, 3], world units; free [V, 3] bool, axes along which one may be moved."""

    @property
    def positions(self) -> Tensor: ...

    @property
    def free(self) -> Tensor: ...

    @property
    def num_vertices(self) -> int: ...

    @property
    def cell(self) -> float: ...


class Grid(Vertices, Protocol):
    """A grid that fills a box: also its edges [E, 2] int32, boundary [V] bool, and the vertex at the origin."""

    @property
    def edges(self) -> Tensor: ...

    @property
    def boundary(self) -> Tensor: ...

    @property
    def center(self) -> int: ...
