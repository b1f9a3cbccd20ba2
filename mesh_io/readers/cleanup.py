"""Clean-up of the parts that a reader returns: checked indices, finite numbers, no duplicate or collapsed faces."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from mesh_io.readers.source_files import SourceFiles
from mesh_io.source_mesh import SourcePart, unit_rows
from torch_utils.ops.connected_vertices import connected_vertices

GRID = 2.0**-20  # of the longest side: faces whose corners agree to this precision coincide


def clean_parts(files: SourceFiles, parts: list[SourcePart]) -> tuple[SourcePart, ...]:
    """Checked, compact parts; UserError if there are no faces or a used vertex is not finite."""
    cleaned = [_clean_part(files, part) for part in parts if len(part.faces)]
    kept = drop_duplicate_faces([part for part in cleaned if len(part.faces)])
    if not kept:
        has_points = any(len(part.vertices) for part in parts)
        raise files.error("has no faces" + (", only points or lines" if has_points else ""))
    return tuple(kept)


def _clean_part(files: SourceFiles, part: SourcePart) -> SourcePart:
    faces = part.faces
    if int(faces.min()) < 0 or int(faces.max()) >= len(part.vertices):
        wrong = int(faces.min()) if int(faces.min()) < 0 else int(faces.max())
        raise files.error(f"face index {wrong} is out of range: there are {len(part.vertices)} vertices")
    collapsed = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 2] == faces[:, 0])
    part = _compact(replace(part, faces=faces[~collapsed]))
    bad = np.logical_not(np.isfinite(part.vertices).all(1))
    if bad.any():
        raise files.error(f"{int(bad.sum())} of {bad.size} vertices have NaN or infinite coordinates")
    if part.vertices.size and np.abs(part.vertices).max() > 1e30:
        raise files.error("has coordinates beyond 1e30")
    return _clean_attributes(files, part)


def _clean_attributes(files: SourceFiles, part: SourcePart) -> SourcePart:
    uvs, colors, normals = part.uvs, part.vertex_colors, part.normals
    if uvs is not None and not np.isfinite(uvs).all():
        uvs = _finite_uvs(files, part, uvs)
    if colors is not None:
        if not np.isfinite(colors).all():
            files.warn(f"part {part.name!r} has NaN vertex colors; they count as white")
            colors = np.where(np.isfinite(colors).all(1, keepdims=True), colors, 1)
        colors = np.clip(colors, 0, 1).astype(np.float32)
    if normals is not None:
        normals = _whole_normals(files, part, normals)
    if part.material.image is not None and uvs is None:
        files.warn(
            f"texture {part.material.image_name!r} of material {part.material.name!r}: the mesh has no UVs for it"
        )
        part = replace(part, material=replace(part.material, image=None))
    return replace(part, uvs=uvs, vertex_colors=colors, normals=normals)


def _finite_uvs(files: SourceFiles, part: SourcePart, uvs: NDArray) -> NDArray[np.float32] | None:
    """UVs [V, 2]; those that are NaN or infinite become the mean of what the other corners of their faces have.

    So these faces stay near their place in the image, and do not stretch across it. Without such a corner they become
    0. None if all of them are bad.
    """
    bad = np.logical_not(np.isfinite(uvs).all(1))
    if bad.all():
        files.warn(f"part {part.name!r} has no usable texture coordinates (NaN or infinite)")
        return None
    count = f"{int(bad.sum())} of {bad.size}"
    files.warn(f"part {part.name!r}: {count} texture coordinates are NaN or infinite; taken from neighbors")
    faces = part.faces[bad[part.faces].any(1)]
    good = np.logical_not(bad[faces])
    known = np.where(good[..., None], uvs[faces], 0).sum(1, dtype=np.float64)
    of_faces = np.concatenate([known, good.sum(1)[:, None]], 1)
    sums = np.stack([np.bincount(faces.reshape(-1), np.repeat(column, 3), len(uvs)) for column in of_faces.T], 1)
    return np.where(bad[:, None], sums[:, :2] / np.maximum(sums[:, 2:], 1), uvs).astype(np.float32)


def _whole_normals(files: SourceFiles, part: SourcePart, normals: NDArray) -> NDArray[np.float32] | None:
    """Unit normals [V, 3]; those that are missing, NaN or zero are taken from the faces. None if all of them are."""
    bad = np.logical_not(np.isfinite(normals).all(1)) | np.logical_not(normals.any(1))
    if not bad.any():
        return unit_rows(normals)
    if bad.all():
        files.warn(f"part {part.name!r} has no usable normals (NaN or zero); its faces are shaded flat")
        return None
    mesh = Mesh.single(torch.from_numpy(part.vertices), torch.from_numpy(np.ascontiguousarray(part.faces)))
    files.warn(f"part {part.name!r}: {int(bad.sum())} of {bad.size} normals are missing, NaN or zero; taken from faces")
    return unit_rows(np.where(bad[:, None], vertex_normals(mesh).numpy(), normals))


def _compact(part: SourcePart) -> SourcePart:
    """Keep only the vertices that faces use, in their order."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return replace(part, faces=np.ascontiguousarray(part.faces, dtype=np.int32))
    new_id = np.cumsum(used, dtype=np.int64) - 1

    def take(values: NDArray | None) -> NDArray | None:
        return None if values is None else values[used]

    return replace(
        part,
        vertices=part.vertices[used],
        faces=new_id[part.faces].astype(np.int32),
        uvs=take(part.uvs),
        vertex_colors=take(part.vertex_colors),
        normals=take(part.normals),
    )


def drop_duplicate_faces(parts: list[SourcePart]) -> list[SourcePart]:
    """Remove coincident copies of faces, which would cause z-fighting.

    ShapeNet repeats its faces with opposite winding and a second material. Of each set of coincident faces one is kept:
    a textured one before an untextured one, then one that faces outward, then the first. Faces of MASK and BLEND
    materials (decals) are not touched.
    """
    opaque = [index for index, part in enumerate(parts) if part.material.alpha_mode == "OPAQUE"]
    if not opaque:
        return parts
    vertices, faces, owner = _merge([parts[index] for index in opaque])
    point = _point_ids(vertices).astype(np.int32)
    corners = point[faces]
    key = np.sort(corners, axis=1)
    order = np.lexsort((key[:, 2], key[:, 1], key[:, 0]))
    same = np.ones(len(order), bool)
    same[:1] = False
    for column in key.T:  # one at a time: a large mesh is not copied as a whole
        ordered = column[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    del key, ordered
    if not same.any():
        return parts
    textured = np.array([parts[index].material.image is not None for index in opaque])[owner]
    outward = _outward(vertices, faces, corners, order, same)
    group_of = np.empty(len(faces), np.int32)
    group_of[order] = np.cumsum(~same, dtype=np.int32) - 1
    ranked = np.lexsort((~outward, ~textured, group_of))  # the first of equals comes first
    ordered = group_of[ranked]
    keep = np.zeros(len(faces), bool)
    keep[ranked[np.concatenate([[True], ordered[1:] > ordered[:-1]])]] = True
    result = list(parts)
    for place, index in enumerate(opaque):
        kept = parts[index].faces[keep[owner == place]]
        if len(kept) < len(parts[index].faces):
            result[index] = _compact(replace(parts[index], faces=kept))
    return [part for part in result if len(part.faces)]


def _merge(parts: list[SourcePart]) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    owner = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.faces) for part in parts])
    if len(parts) == 1:
        return parts[0].vertices, parts[0].faces, owner
    bases = np.cumsum([0] + [len(part.vertices) for part in parts])
    faces = [part.faces + np.int32(base) for part, base in zip(parts, bases[:-1], strict=True)]
    return np.concatenate([part.vertices for part in parts]), np.concatenate(faces), owner


def _point_ids(vertices: NDArray[np.float64]) -> NDArray[np.int64]:
    """An id for each vertex [V]; ids are equal if positions are (rounded to `GRID` of the longest side)."""
    low = vertices.min(0)
    side = float((vertices.max(0) - low).max())
    if side == 0:
        return np.zeros(len(vertices), np.int64)
    cells = np.rint((vertices - low) / (side * GRID)).astype(np.int64)
    key = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    return np.unique(key, return_inverse=True)[1]


def _outward(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    corners: NDArray[np.int32],
    order: NDArray[np.int64],
    same: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Whether each face points out of its connected component [F].

    The first copies of all faces form a surface. The sign of a component's volume tells whether they point outward; a
    copy with the opposite winding does the reverse. A flat component has no volume: its first copies count as outward.
    """
    labels = connected_vertices(torch.from_numpy(corners).int(), int(corners.max()) + 1).numpy()
    component = np.unique(labels[corners[:, 0]], return_inverse=True)[1].astype(np.int32)
    components = int(component.max()) + 1
    center = np.zeros((components, 3))
    for part in _pieces(len(faces)):
        middle = vertices[faces[part]].mean(1)
        center += np.stack([np.bincount(component[part], middle[:, axis], components) for axis in range(3)], 1)
    center /= np.bincount(component, minlength=components)[:, None]
    volume = np.empty(len(faces))
    for part in _pieces(len(faces)):
        local = vertices[faces[part]] - center[component[part]][:, None]
        volume[part] = np.einsum("fi,fi->f", local[:, 0], np.cross(local[:, 1], local[:, 2])) / 6
    is_first = np.zeros(len(faces), bool)
    is_first[order[~same]] = True
    total = np.bincount(component[is_first], volume[is_first], components)
    size = np.bincount(component[is_first], np.abs(volume[is_first]), components)
    inward = total < -0.05 * size
    # Parity of a copy against the first of its group: even permutations of the corners keep the winding.
    lead = np.empty(len(faces), np.int32)
    lead[order] = order[~same][np.cumsum(~same, dtype=np.int32) - 1]
    outward = np.empty(len(faces), bool)
    for part in _pieces(len(faces)):
        rolled = np.stack([np.roll(corners[part], -shift, axis=1) for shift in range(3)])
        agrees = (rolled == corners[lead[part]]).all(2).any(0)
        outward[part] = agrees != inward[component[part]]
    return outward


def _pieces(count: int, size: int = 1 << 17) -> list[slice]:
    """Rows a few at a time, so that what is computed of a large mesh is not held as a whole."""
    return [slice(start, start + size) for start in range(0, count, size)]
