"""PLY meshes: polygons or strips, colors of vertices or faces, texture coordinates of vertices or corners."""

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.corners import rgba_float, split_vertices
from mesh_io.readers.ply_container import Element, parse_ply
from mesh_io.readers.source_files import SourceFiles, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.source_mesh import SourceMaterial, SourcePart

COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


def read_ply(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part. Colors are sRGB values; a texture (`comment TextureFile`) replaces them, as in MeshLab."""
    elements, comments = parse_ply(files, read_bytes(files.path))
    vertex = elements.get("vertex")
    positions = None if vertex is None else _columns(vertex, ("x", "y", "z"))
    if vertex is None or positions is None:
        raise files.error("has no vertex element with x, y and z")
    corners, owner, triangles = _triangles(files, elements, positions.astype(np.float64))
    faces = corners[triangles].reshape(-1, 3)
    if not len(faces):
        return [SourcePart(positions.astype(np.float64), np.zeros((0, 3), np.int32))]
    image, image_name = None, ""
    for comment in comments:
        keyword, _, name = comment.partition(" ")
        if keyword.lower() == "texturefile":
            image_name = name.strip()
            image = textures.file(image_name, "PLY")
            break
    part = SourcePart(
        vertices=positions.astype(np.float64),
        faces=faces.astype(np.int32),
        material=SourceMaterial("PLY", image=image, image_name=image_name),
        uvs=_flip(_first(vertex, UVS)),
        vertex_colors=None if image is not None else _colors(vertex),
        normals=_columns(vertex, ("nx", "ny", "nz")),
    )
    return [_with_corner_values(part, elements.get("face"), owner, triangles)]


def _triangles(
    files: SourceFiles, elements: dict[str, Element], positions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Corners' vertex ids, and each triangle's polygon and positions among the corners (see `triangulate`)."""
    face = elements.get("face")
    if face is None or not face.count:
        strips = elements.get("tristrips")
        corners = _strip_corners(next(iter(strips.lists.values()))[1]) if strips and strips.lists else np.zeros(0)
        corners = corners.astype(np.int64)
        triangles = np.arange(len(corners)).reshape(-1, 3)
        _check(files, corners, len(positions))
        return corners, np.zeros(len(triangles), np.int64), triangles
    lists = [face.lists[name] for name in ("vertex_indices", "vertex_index") if name in face.lists]
    if not lists:
        raise files.error("its faces have no vertex_indices")
    counts, corners = lists[0][0], lists[0][1].astype(np.int64)
    _check(files, corners, len(positions))
    triangles, owner = triangulate(positions, corners, counts)
    return corners, owner, triangles


def _check(files: SourceFiles, corners: NDArray[np.int64], count: int) -> None:
    if len(corners) and (corners.min() < 0 or corners.max() >= count):
        wrong = int(corners[(corners < 0) | (corners >= count)][0])
        raise files.error(f"face index {wrong} is out of range: there are {count} vertices")


def _strip_corners(indices: NDArray) -> NDArray[np.int64]:
    """Corners of the triangles of strips; −1 separates the strips."""
    strips = np.split(indices.astype(np.int64), np.flatnonzero(indices.astype(np.int64) < 0))
    result = []
    for strip in strips:
        ids = strip[strip >= 0]
        if len(ids) >= 3:
            faces = np.stack([ids[:-2], ids[1:-1], ids[2:]], axis=1)
            faces[1::2] = faces[1::2, [0, 2, 1]]
            result.append(faces.reshape(-1))
    return np.concatenate(result) if result else np.zeros(0, np.int64)


def _with_corner_values(
    part: SourcePart, face: Element | None, owner: NDArray[np.int64], triangles: NDArray[np.int64]
) -> SourcePart:
    """`part` with texture coordinates of corners, or else colors of faces, if the file has them."""
    if face is None:
        return part
    wedge = face.lists.get("texcoord")
    lengths = next((face.lists[name][0] for name in ("vertex_indices", "vertex_index") if name in face.lists), None)
    if wedge is not None and lengths is not None and (wedge[0] == 2 * lengths).all():
        values = wedge[1].reshape(-1, 2)[triangles]
        old, faces, (uvs,) = split_vertices(part.faces.astype(np.int64), [values])
        return _taken(part, old, faces, _flip(uvs), part.vertex_colors)
    colors = _colors(face)
    if colors is not None and part.vertex_colors is None and part.material.image is None:
        spread = np.repeat(colors[owner][:, None], 3, axis=1)
        old, faces, (vertex_colors,) = split_vertices(part.faces.astype(np.int64), [spread])
        return _taken(part, old, faces, part.uvs, vertex_colors, colors_are_new=True)
    return part


def _taken(
    part: SourcePart,
    old: NDArray[np.int64],
    faces: NDArray[np.int32],
    uvs: NDArray[np.float32] | None,
    colors: NDArray[np.float32] | None,
    colors_are_new: bool = False,
) -> SourcePart:
    """`part` on split vertices: `old` is the former vertex of each."""
    if colors_are_new:
        uvs = None if uvs is None else uvs[old]
    elif colors is not None:
        colors = colors[old]
    normals = None if part.normals is None else part.normals[old]
    return SourcePart(part.vertices[old], faces, part.material, uvs, colors, normals, part.name)


def _columns(element: Element, names: tuple[str, ...]) -> NDArray | None:
    if not all(name in element.scalars for name in names):
        return None
    return np.stack([element.scalars[name] for name in names], axis=1)


def _first(element: Element, choices: tuple[tuple[str, ...], ...]) -> NDArray | None:
    return next((table for names in choices if (table := _columns(element, names)) is not None), None)


def _colors(element: Element) -> NDArray[np.float32] | None:
    table = _first(element, COLORS)
    if table is None:
        return None
    if "alpha" in element.scalars:
        table = np.concatenate([table, element.scalars["alpha"][:, None].astype(table.dtype)], axis=1)
    return rgba_float(table)


def _flip(uvs: NDArray | None) -> NDArray[np.float32] | None:
    """PLY's v is upward."""
    return None if uvs is None else np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)
