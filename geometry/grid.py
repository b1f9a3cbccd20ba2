"""What extraction and its corrections need of a grid, whether its cells are tetrahedra or cubes."""

from typing import Protocol

from torch import Tensor


class Vertices(Protocol):
    """The vertices of a grid."""

    @property
    def positions(self) -> Tensor:
        """[V, 3], world units."""
        ...

    @property
    def free(self) -> Tensor:
        """[V, 3] bool: axes along which a vertex may be moved."""
        ...

    @property
    def num_vertices(self) -> int:
        """V."""
        ...

    @property
    def cell(self) -> float:
        """Side of a cell, world units."""
        ...


class Grid(Vertices, Protocol):
    """A grid that fills a box."""

    @property
    def edges(self) -> Tensor:
        """[E, 2] int32."""
        ...

    @property
    def boundary(self) -> Tensor:
        """[V] bool: on the box's surface."""
        ...

    @property
    def center(self) -> int:
        """The vertex at (or nearest to) the origin."""
        ...
