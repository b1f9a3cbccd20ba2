"""Writing one mesh as GLB, OBJ with MTL and PNG, or USDZ. A file appears whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

from geometry.mesh import Mesh
from mesh_io.writers.export_mesh import export_mesh, identifier, png_bytes
from mesh_io.writers.glb import glb_bytes
from mesh_io.writers.obj import mtl_text, obj_text
from mesh_io.writers.usdz import usdz_bytes
from torch_utils.errors import UserError
from torch_utils.files import write_bytes


def write_mesh(path: Path, mesh: Mesh, *, unlit: bool = False) -> None:
    """Write one mesh in the format of the file's ending: .glb, .obj or .usdz.

    unlit: the textures hold shaded colors; only GLB can record that. Raises UserError for another ending.
    """
    if path.suffix == ".glb":
        write_glb(path, mesh, unlit=unlit)
    elif path.suffix == ".obj":
        write_obj(path, mesh)
    elif path.suffix == ".usdz":
        write_usdz(path, mesh)
    else:
        raise UserError(f"{path}: cannot be written in this format; expected a name that ends in .glb, .obj or .usdz")


def write_glb(path: Path | str, mesh: Mesh, *, unlit: bool = False, name: str | None = None) -> None:
    """Write one mesh as a GLB (glTF 2.0) that Blender, Unreal and web pages open.

    mesh: a batch of one. `vertices` and `faces` are written, and if present `normals`, `uvs` and the textures
    "base_color" [H, W, 3 or 4] (sRGB values in [0, 1]) and "metallic_roughness" [H, W, 2] (metallic, roughness in
    [0, 1]); textures need uvs. Without "metallic_roughness" the material is rough and not metallic.
    unlit: add KHR_materials_unlit, for textures that hold shaded colors. name: of the node; default the file's stem.
    Raises ValueError for a batch or an empty mesh, UserError if the file cannot be written.
    """
    path = Path(path)
    _write_files([(path, glb_bytes(export_mesh(mesh, "write_glb"), unlit=unlit, name=name or path.stem))])


def write_obj(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as OBJ and, if it has a base color, `<stem>.mtl` and `<stem>.png` next to it.

    mesh, errors: as for `write_glb`. OBJ has its v axis upward, so v is flipped, and it has no metallic-roughness map.
    The OBJ is written last: once it exists, so do its material and texture.
    """
    path = Path(path)
    exported = export_mesh(mesh, "write_obj")
    stem = identifier(path.stem)
    files = []
    if exported.base_color is not None:
        # MTL separates words by spaces, so the names of these files must not contain any.
        files.append((path.with_name(f"{stem}.png"), png_bytes(exported.base_color)))
        files.append((path.with_name(f"{stem}.mtl"), mtl_text(stem, exported.transparent).encode()))
    files.append((path, obj_text(exported, identifier(name or path.stem), stem).encode()))
    _write_files(files)


def write_usdz(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as USDZ with a UsdPreviewSurface material; needs usd-core (UserError without it)."""
    path = Path(path)
    _write_files([(path, usdz_bytes(export_mesh(mesh, "write_usdz"), identifier(name or path.stem)))])


def _write_files(files: Iterable[tuple[Path, bytes]]) -> None:
    for path, data in files:
        write_bytes(path, data)
