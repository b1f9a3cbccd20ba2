"""Sources of shapes: what a network, a folder of mesh files and a split of a dataset all offer.

All scores go through this interface. A shape that is empty or cannot be read is never dropped: it keeps its row and
carries the reason.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from geometry.surface_sampling import sample_surface
from mesh_io.source_mesh import SourceMesh
from metrics.cache import content_key, mark_provisional
from metrics.sources.description import Description
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages
from metrics.sources.processes import in_processes
from metrics.sources.thumbnails import Thumbnail
from rendering.visible_points import visible_points
from torch_utils.distributed import Ranks
from torch_utils.failures import note_failure
from torch_utils.workers import Failed


@dataclass(frozen=True)
class Shape:
    """One shape. mesh: a batch of one on the CPU, or None. problem: why there is no mesh ("" if there is one)."""

    mesh: Mesh | None
    problem: str = ""


class ShapeSource(Protocol):
    """A list of shapes, addressed by row."""

    @property
    def label(self) -> str:
        """The name in the report."""

    @property
    def ids(self) -> Sequence[str]:
        """One id per shape, in order."""

    @property
    def key(self) -> str:
        """A hash that changes with any shape."""

    @property
    def mesh_files(self) -> bool:
        """Whether the meshes are read from files, which may exhaust the memory (`in_processes`)."""

    @property
    def visible_points(self) -> bool:
        """Whether its points lie only where the surface can be seen from outside, so that others must, too."""

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The meshes of these rows, in the source's own units."""

    def world_shapes(self, rows: Sequence[int], settings: ImageSettings) -> list[Shape]:
        """The meshes of these rows in world units, in the place in which `images` shows them."""

    def missing_mesh(self, rows: Sequence[int]) -> str:
        """The first of these shapes whose mesh is not at hand, and why; "" if there is none."""

    def stored_points(self, rows: Sequence[int], count: int) -> tuple[Tensor, list[str]] | None:
        """Surface points [len(rows), count, 3] that were stored with the shapes; None where they are to be sampled.

        With them, what is wrong with those of each shape, which are NaN then ("" where nothing is).
        """

    def images(
        self, count: int, settings: ImageSettings, *, camera_seed: int = 0, omit: Collection[int] = ()
    ) -> LazyImages:
        """`count` images, spread evenly over the shapes; fewer where a dataset has stored fewer.

        camera_seed: for cameras that are drawn. omit: rows to pass over, for sources of references. A shape without
        a usable surface that is not omitted gives images of the bare background.
        """

    def thumbnail(self, row: int, side_px: int) -> Thumbnail | None:
        """A small image of one shape; None if it has no surface. A dataset's is as large as its stored views."""

    def export(self, row: int, path: Path) -> bool:
        """Write one shape as a GLB file; False, and no file, if it has no mesh."""

    def description(self, row: int) -> Description:
        """The caption and attributes of one shape, as far as the source knows them."""

    def notes(self, ranks: Ranks) -> list[str]:
        """Remarks for the report, such as files that were passed over. All ranks call this together."""


def attempt_shape(shape_id: str, make: Callable[[], Shape]) -> Shape:
    """What make() gives, or a shape that says why it failed, whatever the cause; the log file has the traceback."""
    try:
        return make()
    # A foreign mesh may break any library in any way, and no shape may end the evaluation of all.
    except Exception as error:  # noqa: BLE001
        mark_provisional()
        return Shape(None, note_failure(shape_id, error))


def file_shapes(read: Callable[[int], Shape], rows: Sequence[int], ids: Sequence[str]) -> list[Shape]:
    """read(row) of each, in processes; a shape that fails says why. ids: of all rows of the source."""

    def packed(row: int) -> tuple[NDArray, NDArray, str]:
        shape = attempt_shape(ids[row], lambda: read(row))
        if shape.mesh is None:
            return np.empty((0, 3), np.float32), np.empty((0, 3), np.int32), shape.problem
        return shape.mesh.vertices.numpy(), shape.mesh.faces.numpy(), ""

    shapes = []
    for result in in_processes(packed, rows):
        if isinstance(result, Failed):
            shapes.append(Shape(None, result.cause))
            continue
        vertices, faces, problem = result
        mesh = None if problem else Mesh.single(torch.from_numpy(vertices), torch.from_numpy(faces))
        shapes.append(Shape(mesh, problem))
    return shapes


def usable_shape(mesh: Mesh) -> Shape:
    """The mesh as a shape, or the reason why it cannot be used: no faces, or a vertex that is not finite."""
    if mesh.faces.shape[0] == 0:
        return Shape(None, "no faces")
    if not torch.isfinite(mesh.vertices).all():
        return Shape(None, "vertices that are not finite")
    return Shape(mesh)


def merged_shape(source: SourceMesh) -> Shape:
    """All parts of a mesh file as one shape, in the file's units."""
    vertices, faces, _ = source.merged()
    return usable_shape(Mesh.single(torch.from_numpy(vertices).float(), torch.from_numpy(faces)))


def sampling_seed(shape_id: str) -> int:
    """The seed of a shape's surface points: a hash of its id, so that neither the order nor the rank matters."""
    return int(content_key({"points of": shape_id}), 16) % (1 << 62)


def sample_shape_points(shape: Shape, shape_id: str, count: int, *, visible: bool = False) -> Tensor:
    """Points [count, 3] on a shape's surface, uniform by area; NaN if there is no usable surface.

    visible: only where the surface can be seen from outside.
    """
    if shape.mesh is None:
        return torch.full((count, 3), torch.nan)
    generator = torch.Generator().manual_seed(sampling_seed(shape_id))
    mesh = shape.mesh
    points = visible_points(mesh, count, generator)[0] if visible else sample_surface(mesh, count, generator)[0][0]
    return points if bool(torch.isfinite(points).all()) else torch.full((count, 3), torch.nan)
