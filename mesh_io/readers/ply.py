"""PLY meshes: polygons or strips, colors of vertices or faces, texture coordinates of vertices or corners."""

from dataclasses import replace

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
CORNERS = ("vertex_indices", "vertex_index")
NO_TEXTURE = -1


def read_ply(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part per texture (`comment TextureFile`, chosen by a face's texnumber), and one for faces without.

    Colors are sRGB values; a texture replaces them, as in MeshLab.
    """
    elements, comments = parse_ply(files, read_bytes(files.path))
    vertex = elements.get("vertex")
    table = None if vertex is None else _columns(vertex, ("x", "y", "z"))
    if vertex is None or table is None:
        raise files.error("has no vertex element with x, y and z")
    positions = table.astype(np.float64)
    corners, owner, triangles = _triangles(files, elements, positions)
    faces = corners[triangles].reshape(-1, 3)
    if not len(faces):
        return [SourcePart(positions, np.zeros((0, 3), np.int32))]
    face = elements.get("face")
    names = [name.strip() for keyword, _, name in (line.partition(" ") for line in comments)
             if keyword.lower() == "texturefile"]  # fmt: skip
    texture, wedge = _texture_numbers(files, face, names)
    colors = _colors(vertex)
    face_colors = None if face is None or colors is not None else _colors(face)
    normals, uvs = _columns(vertex, ("nx", "ny", "nz")), _flip(_first(vertex, UVS))
    parts = []
    for number in np.unique(texture[owner]).tolist():
        chosen = texture[owner] == number
        image_name = names[number] if 0 <= number < len(names) else ""
        image = textures.file(image_name, "PLY") if image_name else None
        part = SourcePart(
            vertices=positions,
            faces=faces[chosen].astype(np.int32),
            material=SourceMaterial("PLY", image=image, image_name=image_name),
            uvs=uvs,
            vertex_colors=None if image is not None else colors,
            normals=normals,
        )
        if wedge is not None and number != NO_TEXTURE:
            part = _split(part, wedge[triangles[chosen]], uvs_at_corners=True)
        if face_colors is not None and image is None:
            part = _split(part, np.repeat(face_colors[owner[chosen]][:, None], 3, axis=1), uvs_at_corners=False)
        parts.append(part)
    return parts


def _texture_numbers(
    files: SourceFiles, face: Element | None, names: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """The texture of each face [G], and the texture coordinates [ΣN, 2] of all corners, or None.

    A face has no texture if its number is not that of a file, or if other faces have coordinates and it has none.
    """
    if face is None or not face.count:
        return np.zeros(1, np.int64), None  # strips: as if they were one face
    numbers = np.zeros(face.count, np.int64)
    if len(names) > 1:
        if "texnumber" in face.scalars:
            numbers = np.nan_to_num(face.scalars["texnumber"], nan=NO_TEXTURE).astype(np.int64)
            outside = (numbers < NO_TEXTURE) | (numbers >= len(names))
            if outside.any():
                files.warn(f"{int(outside.sum())} faces have a texnumber that is none of {len(names)} textures")
                numbers[outside] = NO_TEXTURE
        else:
            files.warn(f"textures {', '.join(map(repr, names[1:]))} are not used: its faces have no texnumber")
    lengths, values = face.lists.get("texcoord", (None, None))
    corner_counts = next((face.lists[name][0] for name in CORNERS if name in face.lists), None)
    if lengths is None or values is None or corner_counts is None or not lengths.any():
        return numbers, None
    fits = lengths == 2 * corner_counts
    if not fits.all():
        if names:
            files.warn(f"{int((~fits).sum())} of {face.count} faces have no texture coordinates; they have no texture")
        numbers[~fits] = NO_TEXTURE
    wedge = np.zeros((int(corner_counts.sum()), 2))
    wedge[np.repeat(fits, corner_counts)] = values[np.repeat(fits, lengths)].reshape(-1, 2)
    return numbers, wedge


def _triangles(
    files: SourceFiles, elements: dict[str, Element], positions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Corners' vertex ids, and each triangle's polygon and positions among the corners (see `triangulate`)."""
    face = elements.get("face")
    if face is None or not face.count:
        strips = elements.get("tristrips")
        corners = _strip_corners(*next(iter(strips.lists.values()))) if strips and strips.lists else np.zeros(0)
        corners = corners.astype(np.int64)
        triangles = np.arange(len(corners)).reshape(-1, 3)
        _check(files, corners, len(positions))
        return corners, np.zeros(len(triangles), np.int64), triangles
    lists = [face.lists[name] for name in CORNERS if name in face.lists]
    if not lists:
        raise files.error("its faces have no vertex_indices")
    counts, corners = lists[0][0], lists[0][1]
    _check(files, corners, len(positions))
    corners = corners.astype(np.int64)
    triangles, owner = triangulate(positions, corners, counts, files.warn)
    return corners, owner, triangles


def _check(files: SourceFiles, corners: NDArray, count: int) -> None:
    wrong = corners[~((corners >= 0) & (corners < count))]
    if len(wrong):
        raise files.error(f"face index {wrong[0]} is out of range: there are {count} vertices")
    if not np.array_equal(corners, np.floor(corners)):
        raise files.error("a face index is not an integer")


def _strip_corners(lengths: NDArray[np.int64], indices: NDArray) -> NDArray[np.int64]:
    """Corners of the triangles of strips, which are separated by −1 or lists of their own."""
    ids = indices.astype(np.int64)
    strips = np.split(ids, np.union1d(np.flatnonzero(ids < 0), np.cumsum(lengths)[:-1]))
    result = []
    for strip in strips:
        ids = strip[strip >= 0]
        if len(ids) >= 3:
            faces = np.stack([ids[:-2], ids[1:-1], ids[2:]], axis=1)
            faces[1::2] = faces[1::2, [0, 2, 1]]
            result.append(faces.reshape(-1))
    return np.concatenate(result) if result else np.zeros(0, np.int64)


def _split(part: SourcePart, values: NDArray, uvs_at_corners: bool) -> SourcePart:
    """`part` with texture coordinates of its corners, or else with their colors [F, 3, C]."""
    old, faces, (split,) = split_vertices(part.faces.astype(np.int64), [values])

    def taken(attribute: NDArray | None) -> NDArray | None:
        return None if attribute is None else attribute[old]

    return replace(
        part,
        vertices=part.vertices[old],
        faces=faces,
        uvs=_flip(split) if uvs_at_corners else taken(part.uvs),
        vertex_colors=taken(part.vertex_colors) if uvs_at_corners else split,
        normals=taken(part.normals),
    )


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
