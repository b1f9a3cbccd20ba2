"""Tables of a source's shapes with their surface points, validity and light-field descriptors, stored on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key, mark_provisional
from metrics.protocols import Normalization
from metrics.shapes.mesh_validity import COLUMNS, Validity, mesh_validity
from metrics.shapes.normalization import normalize_point_clouds
from metrics.sources.processes import in_processes
from metrics.sources.shape_source import Shape, ShapeSource, sample_shape_points
from torch_utils.failures import note_failure
from torch_utils.workers import Failed

# Shapes per chunk on disk.
CHUNK = 32
# Shapes in memory at a time; as many as go through a generator together.
BATCH = 8
# Larger meshes are not measured, because that takes up to half a kilobyte a face.
MAX_FACES = 5_000_000
# Bytes of the reason why a shape has no surface.
REASON_BYTES = 160


@dataclass(frozen=True)
class ShapeTable:
    """N shapes.

    points [N, P, 3]: surface points, NaN without a usable surface. descriptors [N, 10, 10, 47] uint8, or None.
    validity: None for a shape without a mesh, and if it is not measured. problems: why a shape is unusable, or "".
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
        return normalize_point_clouds(self.points, how, references)


@dataclass(frozen=True)
class TableColumns:
    """What a table holds of each shape.

    points: number of surface points. meshes: also validity. light_fields: also descriptors. Both need the meshes.
    intersections: count self-intersections of the first so many shapes only, because they take longer than everything
    else. visible: sample points only where the surface can be seen from outside.
    """

    points: int
    meshes: bool = False
    light_fields: bool = False
    intersections: int = 0
    visible: bool = False

    def key(self) -> dict[str, Any]:
        """What tells stored tables apart."""
        known = {"points": self.points, "meshes": self.meshes, "lfd": self.light_fields, "cross": self.intersections}
        return known | ({"visible": True} if self.visible else {})


def shape_table(
    source: ShapeSource, store: ChunkStore, columns: TableColumns, progress: Callable[[], None] | None = None
) -> ShapeTable:
    """The table of a source. progress: called after each chunk."""
    key = content_key({"source": source.key, **columns.key()})

    def compute(rows: range) -> Tensors:
        return _chunk(source, rows, columns)

    rows = store.rows("shapes", key, len(source.ids), CHUNK, compute, progress)
    if not rows:
        return ShapeTable([], torch.empty(0, columns.points, 3), None, [], [])
    return ShapeTable(
        list(source.ids),
        rows["points"],
        rows.get("descriptors"),
        [Validity.from_row(row) if row[0] >= 0 else None for row in rows["validity"]],
        [_text(row) for row in rows["problem"]],
    )


def _chunk(source: ShapeSource, rows: range, columns: TableColumns) -> Tensors:
    """The columns of some rows. Mesh files are measured in processes of their own: one that dies costs its row."""

    def part(start: int, count: int) -> Tensors:
        return _batch(source, range(start, min(start + count, rows.stop)), columns)

    with_meshes = columns.meshes or columns.light_fields or source.stored_points(range(0), columns.points) is None
    if source.mesh_files and with_meshes:

        def packed(row: int) -> dict[str, NDArray]:
            return {name: tensor.numpy() for name, tensor in part(row, 1).items()}

        parts = [
            _lost(result.cause, columns)
            if isinstance(result, Failed)
            else {name: torch.from_numpy(values) for name, values in result.items()}
            for result in in_processes(packed, rows)
        ]
    else:
        parts = [part(start, BATCH) for start in range(rows.start, rows.stop, BATCH)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _batch(source: ShapeSource, rows: range, columns: TableColumns) -> Tensors:
    """The columns of some rows: points [R, P, 3], validity, the problem's bytes, and descriptors if there are any."""
    given = source.stored_points(rows, columns.points)
    shapes = source.shapes(rows) if given is None or columns.meshes or columns.light_fields else []
    if given is None:
        sampled = [
            sample_shape_points(shape, source.ids[row], columns.points, visible=columns.visible)
            for shape, row in zip(shapes, rows, strict=True)
        ]
        stored, problems = torch.stack(sampled), [shape.problem for shape in shapes]
    else:
        stored, problems = given
        problems = (
            [first or shape.problem for first, shape in zip(problems, shapes, strict=True)] if shapes else problems
        )
    validity = torch.full((len(rows), COLUMNS), -1)
    descriptors = []
    for i, (row, shape) in enumerate(zip(rows, shapes, strict=False)):
        measured = _measure(source.ids[row], shape, columns, intersections=row < columns.intersections)
        validity[i] = measured.validity
        descriptors.append(measured.descriptor)
        problems[i] = problems[i] or measured.problem
    for i, surface in enumerate(stored):
        if not problems[i] and not torch.isfinite(surface).all():
            problems[i] = "no surface points could be sampled"
    values = {"points": stored, "validity": validity, "problem": torch.stack([_bytes(text) for text in problems])}
    if columns.light_fields:
        values["descriptors"] = torch.stack(descriptors)
    return values


def _lost(cause: str, columns: TableColumns) -> Tensors:
    """The row of a shape whose process died."""
    from metrics.shapes.light_field import EMPTY_DESCRIPTOR

    row = {"points": torch.full((1, columns.points, 3), torch.nan), "validity": torch.full((1, COLUMNS), -1)}
    row["problem"] = _bytes(cause)[None]
    return row | {"descriptors": EMPTY_DESCRIPTOR[None]} if columns.light_fields else row


@dataclass(frozen=True)
class _Measured:
    """Measures of one mesh. validity [COLUMNS]: −1 where there is none. problem: why a measure failed, or ""."""

    validity: Tensor
    descriptor: Tensor
    problem: str = ""


def _measure(shape_id: str, shape: Shape, columns: TableColumns, *, intersections: bool) -> _Measured:
    """What the table holds of one mesh. A measure that fails is that shape's problem, whatever the cause."""
    from metrics.shapes.light_field import EMPTY_DESCRIPTOR, mesh_descriptor

    validity, descriptor = torch.full((COLUMNS,), -1), EMPTY_DESCRIPTOR
    if shape.mesh is None:
        return _Measured(validity, descriptor)
    if shape.mesh.faces.shape[0] > MAX_FACES:
        problem = f"not measured: {shape.mesh.faces.shape[0]:,} faces are too many (at most {MAX_FACES:,})"
        return _Measured(validity, descriptor, problem)
    try:
        if columns.meshes:
            validity = mesh_validity(shape.mesh, intersections=intersections).row()
        if columns.light_fields:
            descriptor = mesh_descriptor(shape.mesh)
    except Exception as error:  # noqa: BLE001
        mark_provisional()
        return _Measured(validity, descriptor, note_failure(shape_id, error))
    return _Measured(validity, descriptor)


def _bytes(text: str) -> Tensor:
    """A text as UTF-8, cut or padded with zeros to REASON_BYTES."""
    data = text.encode()[:REASON_BYTES].ljust(REASON_BYTES, b"\0")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _text(row: Tensor) -> str:
    return bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore")
