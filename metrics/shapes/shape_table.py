"""Tables of shapes: surface points, validity and light-field descriptors of every shape of a source, kept on disk."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.protocols import Normalization
from metrics.shapes.mesh_validity import COLUMNS, Validity, mesh_validity
from metrics.shapes.normalization import normalize
from metrics.sources.shape_source import ShapeSource, sample_shape_points

# Shapes of one chunk on disk.
CHUNK = 32
# Bytes kept of the reason why a shape has no surface.
REASON_BYTES = 160


@dataclass(frozen=True)
class ShapeTable:
    """What is known of N shapes.

    points [N, P, 3]: surface points, NaN without a usable surface. descriptors uint8 or None [N, 10, 10, 47].
    validity: one a shape, None without a mesh or where none was looked at. problems: "" or the reason.
    """

    ids: list[str]
    points: Tensor
    descriptors: Tensor | None
    validity: list[Validity | None]
    problems: list[str]

    @property
    def usable(self) -> Tensor:
        """Shapes with a surface [N] bool."""
        return torch.isfinite(self.points).all(-1).all(-1)

    def normalized(self, how: Normalization, references: Tensor | None) -> Tensor:
        """The points in the protocol's units [N, P, 3]."""
        return normalize(self.points, how, references)


def shape_table(
    source: ShapeSource,
    store: ChunkStore,
    *,
    points: int,
    meshes: bool,
    light_fields: bool,
    intersections: int = 0,
    progress: Callable[[], None] | None = None,
) -> ShapeTable:
    """The table of a source. meshes: measure validity too; light_fields: descriptors too (both need the meshes).

    intersections: look for crossing faces in the first so many shapes, which takes longer than all else.
    """
    key = content_key(
        {"source": source.key, "points": points, "meshes": meshes, "lfd": light_fields, "cross": intersections}
    )

    def compute(rows: range) -> Tensors:
        return _chunk(source, rows, points, meshes, light_fields, intersections)

    rows = store.rows("shapes", key, len(source.ids), CHUNK, compute, progress)
    if not rows:
        return ShapeTable([], torch.empty(0, points, 3), None, [], [])
    return ShapeTable(
        list(source.ids),
        rows["points"],
        rows.get("descriptors"),
        [Validity.from_row(row) if row[0] >= 0 else None for row in rows["validity"]],
        [_text(row) for row in rows["problem"]],
    )


def _chunk(
    source: ShapeSource, rows: range, points: int, meshes: bool, light_fields: bool, intersections: int
) -> Tensors:
    stored = source.stored_points(rows, points)
    shapes = source.shapes(rows) if stored is None or meshes or light_fields else []
    if stored is None:
        stored = torch.stack(
            [sample_shape_points(shape, source.ids[row], points) for shape, row in zip(shapes, rows, strict=True)]
        )
    problems = [shape.problem for shape in shapes] or [""] * len(rows)
    validity = torch.full((len(rows), COLUMNS), -1)
    for i, shape in enumerate(shapes):
        if meshes and shape.mesh is not None:
            validity[i] = mesh_validity(shape.mesh, intersections=rows[i] < intersections).row()
    for i, cloud in enumerate(stored):
        if not problems[i] and not torch.isfinite(cloud).all():
            problems[i] = "no surface points could be drawn"
    found = {"points": stored, "validity": validity, "problem": torch.stack([_bytes(text) for text in problems])}
    if light_fields:
        from metrics.shapes.light_field import EMPTY_DESCRIPTOR, mesh_descriptor

        found["descriptors"] = torch.stack(
            [EMPTY_DESCRIPTOR if shape.mesh is None else mesh_descriptor(shape.mesh) for shape in shapes]
        )
    return found


def _bytes(text: str) -> Tensor:
    """A text as REASON_BYTES of UTF-8, cut off and padded with zeros."""
    data = text.encode()[:REASON_BYTES].ljust(REASON_BYTES, b"\0")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _text(row: Tensor) -> str:
    return bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore")
