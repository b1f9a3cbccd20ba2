"""The shapes that are compared, wherever they come from: a network, a folder of mesh files, or a dataset.

Every source gives meshes and surface points by index, so that all scores are computed by the same code. A shape that is
empty or cannot be used is never dropped: it stays in its place, marked, with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dataset_tool.sources.orientation import normalize
from geometry.mesh import Mesh
from geometry.surface_sampling import sample_surface
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMesh
from metrics.cache import content_key, file_hash
from torch_utils.errors import UserError

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


@dataclass(frozen=True)
class Shape:
    """One shape. mesh: a batch of one on the CPU, or None. problem: why there is no mesh ("" if there is one)."""

    mesh: Mesh | None
    problem: str = ""


class ShapeSource(Protocol):
    """A list of shapes."""

    @property
    def label(self) -> str:
        """What it is, for the report."""

    @property
    def ids(self) -> Sequence[str]:
        """One id a shape, in order."""

    @property
    def key(self) -> str:
        """A hash that changes when any shape does."""

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The shapes of some rows."""

    def stored_points(self, rows: Sequence[int], count: int) -> Tensor | None:
        """Points [len(rows), count, 3] that came with the shapes, or None where they are to be sampled."""


def usable(mesh: Mesh) -> Shape:
    """The mesh as a shape, unless it has no faces or a vertex that is not finite."""
    if mesh.faces.shape[0] == 0:
        return Shape(None, "no faces")
    if not torch.isfinite(mesh.vertices).all():
        return Shape(None, "vertices that are not finite")
    return Shape(mesh)


def single(source: SourceMesh) -> Shape:
    """All parts of a mesh file as one shape, in the file's units."""
    vertices, faces, _ = source.merged()
    return usable(Mesh.single(torch.from_numpy(vertices).float(), torch.from_numpy(faces)))


@dataclass
class FolderSource:
    """The mesh files of a folder and its subfolders, in the order of their paths.

    limit: only so many, from the first. found: how many there are.
    """

    folder: Path
    limit: int | None = None
    label: str = field(init=False)
    ids: list[str] = field(init=False)
    key: str = field(init=False)
    found: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; expected one with {', '.join(MESH_SUFFIXES)} files")
        files = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in MESH_SUFFIXES)
        if not files:
            raise UserError(f"{self.folder}: holds no mesh file; expected {', '.join(MESH_SUFFIXES)}")
        self._files = files[: self.limit]
        self.found = len(files)
        self.label = f"{self.folder.name}/ ({len(self._files)} mesh files)"
        self.ids = [str(path.relative_to(self.folder)) for path in self._files]
        self.key = content_key({"folder": [(i, file_hash(p)) for i, p in zip(self.ids, self._files, strict=True)]})

    @property
    def formats(self) -> list[str]:
        """The file types met, e.g. [".glb", ".obj"]."""
        return sorted({path.suffix.lower() for path in self._files})

    def path(self, row: int) -> Path:
        """The file of a shape."""
        return self._files[row]

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The meshes of these rows; a file that cannot be read gives a shape with the reason."""
        return [self._shape(self._files[row]) for row in rows]

    def _shape(self, path: Path) -> Shape:
        try:
            return single(read_mesh(path))
        except UserError as error:
            return Shape(None, str(error))

    def placed(self, row: int, scale: float | None) -> SourceMesh | None:
        """A file with its materials, for images; None where it has no usable surface.

        scale: center its box at the origin and make its longest side this long; None leaves it where it is.
        """
        try:
            mesh = read_mesh(self._files[row])
            if single(mesh).mesh is None:
                return None
            return mesh if scale is None else normalize(mesh, "+Y", "+Z", scale)[0]
        except UserError:
            return None

    def stored_points(self, rows: Sequence[int], count: int) -> Tensor | None:
        """None: points are drawn from the meshes."""
        return None


def seed_of(source_id: str) -> int:
    """The seed in which a shape's surface points are drawn: from its id, so that neither order nor ranks matter."""
    return int(content_key({"points of": source_id}), 16) % (1 << 62)


def surface_points(shape: Shape, source_id: str, count: int) -> Tensor:
    """Points [count, 3] on a shape's surface, uniform by area; NaN where there is no usable surface."""
    if shape.mesh is None:
        return torch.full((count, 3), torch.nan)
    generator = torch.Generator().manual_seed(seed_of(source_id))
    points = sample_surface(shape.mesh, count, generator)[0][0]
    return points if bool(torch.isfinite(points).all()) else torch.full((count, 3), torch.nan)
