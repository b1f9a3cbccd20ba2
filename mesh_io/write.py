"""Writing one mesh as GLB, OBJ with MTL and PNG, USDZ, PLY or STL. A file appears whole or not at all."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.writers.export_mesh import ImageFormat, export_mesh, identifier, png_bytes
from mesh_io.writers.glb import glb_bytes
from mesh_io.writers.obj import hulls_text, material_stem, mtl_text, obj_text
from mesh_io.writers.ply import ply_bytes, splat_bytes
from mesh_io.writers.stl import stl_bytes
from mesh_io.writers.usdz import usdz_bytes
from torch_utils.errors import UserError
from torch_utils.files import write_bytes

About = Mapping[str, Any]


def write_mesh(path: Path, mesh: Mesh, *, unlit: bool = False, about: About | None = None) -> None:
    """Write one mesh in the format of the file's ending: .glb, .obj, .usdz, .ply or .stl.

    unlit: the textures hold shaded colors; only GLB can record that. about: JSON values that say what made the mesh;
    GLB and PLY hold them. Raises UserError for another ending.
    """
    if path.suffix == ".glb":
        write_glb(path, mesh, unlit=unlit, about=about)
    elif path.suffix == ".obj":
        write_obj(path, mesh)
    elif path.suffix == ".usdz":
        write_usdz(path, mesh)
    elif path.suffix == ".ply":
        write_ply(path, mesh, about=about)
    elif path.suffix == ".stl":
        write_stl(path, mesh)
    else:
        endings = ".glb, .obj, .usdz, .ply or .stl"
        raise UserError(f"{path}: cannot be written in this format; expected a name that ends in {endings}")


def write_glb(
    path: Path | str,
    mesh: Mesh,
    *,
    unlit: bool = False,
    name: str | None = None,
    image_format: ImageFormat = "png",
    draco: bool = False,
    about: About | None = None,
) -> None:
    """Write one mesh as a GLB (glTF 2.0) that Blender, Unreal and web pages open.

    mesh: a batch of one. `vertices` and `faces` are written, and if present `normals`, `tangents`, `uvs` and the
    textures "base_color" [H, W, 3 or 4] (sRGB values in [0, 1]), "metallic_roughness" [H, W, 2] (metallic, roughness in
    [0, 1]) and "normal" [H, W, 3] (tangent space, y upward in the image); textures need uvs. Without
    "metallic_roughness" the material is rough and not metallic.
    unlit: add KHR_materials_unlit, for textures that hold shaded colors. name: of the node, the mesh and the material;
    default the file's stem. image_format "webp" and `draco` make smaller files that fewer viewers open. about: see
    `write_mesh`.
    Raises ValueError for a batch or an empty mesh, UserError if the file cannot be written.
    """
    path = Path(path)
    data = glb_bytes(
        export_mesh(mesh, "write_glb"),
        unlit=unlit,
        name=name or path.stem,
        image_format=image_format,
        draco=draco,
        about=about,
    )
    _write_files([(path, data)])


def write_obj(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as OBJ and, if it has a base color, its MTL and PNG files next to it, named by `material_stem`.

    mesh, errors: as for `write_glb`. OBJ has its v axis upward, so v is flipped, and it has no metallic-roughness map.
    The OBJ is written last: once it exists, so do its material and texture.
    """
    path = Path(path)
    exported = export_mesh(mesh, "write_obj")
    stem = material_stem(path)
    files = []
    if exported.base_color is not None:
        files.append((path.with_name(f"{stem}.png"), png_bytes(exported.base_color)))
        if exported.normal_map is not None:
            files.append((path.with_name(f"{stem}_normal.png"), png_bytes(exported.normal_map)))
        files.append((path.with_name(f"{stem}.mtl"), mtl_text(stem, exported).encode()))
    files.append((path, obj_text(exported, identifier(name or path.stem), stem).encode()))
    _write_files(files)


def write_usdz(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as USDZ with a UsdPreviewSurface material; needs usd-core (UserError without it)."""
    path = Path(path)
    _write_files([(path, usdz_bytes(export_mesh(mesh, "write_usdz"), identifier(name or path.stem)))])


def write_ply(path: Path | str, mesh: Mesh, colors: Tensor | None = None, *, about: About | None = None) -> None:
    """Write one mesh as binary PLY. colors [V, 3]: sRGB in [0, 1] of the vertices, all of which faces must use."""
    path = Path(path)
    exported = export_mesh(mesh, "write_ply")
    bytes_of = None if colors is None else np.rint(colors.clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
    if bytes_of is not None and len(bytes_of) != len(exported.vertices):
        raise ValueError(f"write_ply(): expected {len(exported.vertices)} colors, got {len(bytes_of)}")
    _write_files([(path, ply_bytes(exported, bytes_of, about))])


def write_stl(path: Path | str, mesh: Mesh) -> None:
    """Write the triangles of one mesh as binary STL, in the mesh's axes and units."""
    path = Path(path)
    _write_files([(path, stl_bytes(export_mesh(mesh, "write_stl"), path.stem))])


def write_splats(
    path: Path | str, points: Tensor, normals: Tensor, colors: Tensor, radius: float, *, about: About | None = None
) -> None:
    """Write flat Gaussian splats as PLY; arguments as of `mesh_io.writers.ply.splat_bytes`."""
    p, n, c = (part.detach().cpu().float().numpy() for part in (points, normals, colors))
    _write_files([(Path(path), splat_bytes(p, n, c, radius, about))])


def write_hulls(path: Path | str, hulls: Iterable[Mesh], name: str) -> None:
    """Write convex hulls as one OBJ with objects UCX_<name>_00 …, the names of collision shapes in game engines."""
    exported = [export_mesh(hull, "write_hulls") for hull in hulls]
    _write_files([(Path(path), hulls_text(exported, identifier(name)).encode())])


def _write_files(files: Iterable[tuple[Path, bytes]]) -> None:
    for path, data in files:
        write_bytes(path, data)
