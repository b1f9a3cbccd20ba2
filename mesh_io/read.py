"""`read_mesh`: read any supported mesh file as a `SourceMesh`."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesh_io.readers.cleanup import clean_parts
from mesh_io.readers.source_files import MALFORMED, SourceFiles, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import ComplexPolygonsError
from mesh_io.source_mesh import SourceMesh, SourcePart
from torch_utils.errors import UserError
from torch_utils.files import printable

PartsReader = Callable[[SourceFiles, TextureCache], list[SourcePart]]


@dataclass(frozen=True)
class Format:
    """A file format: the function that reads it, its name in messages, and its up axis if it defines one."""

    module: str
    function: str
    name: str
    up: str | None


GLTF = Format("mesh_io.readers.gltf", "read_gltf", "glTF", "+Y")
USD = Format("mesh_io.readers.usd", "read_usd", "USD", None)
FORMATS = {
    ".glb": GLTF,
    ".gltf": GLTF,
    ".obj": Format("mesh_io.readers.obj", "read_obj", "OBJ", "+Y"),
    ".ply": Format("mesh_io.readers.ply", "read_ply", "PLY", None),
    ".stl": Format("mesh_io.readers.stl", "read_stl", "STL", "+Z"),
    ".off": Format("mesh_io.readers.off", "read_off", "OFF", None),
    ".usd": USD,
    ".usda": USD,
    ".usdc": USD,
    ".usdz": USD,
}
MAGICS = {
    b"glTF": ("glTF", "a GLB file"),
    b"ply": ("PLY", "a PLY file"),
    b"PXR-USDC": ("USD", "a USD file"),
    b"#usda": ("USD", "a USD file"),
    b"PK\x03\x04": ("USD", "a ZIP archive (USDZ or another)"),
    b"OFF": ("OFF", "an OFF file"),
    b"\x89PNG": ("", "a PNG image"),
    b"\xff\xd8\xff": ("", "a JPEG image"),
    b"\x1f\x8b": ("", "a gzip archive"),
}


def read_mesh(
    path: Path | str,
    *,
    root: Path | str | None = None,
    allow_outside: bool = False,
    textures: bool = True,
    surfaces: bool = False,
) -> SourceMesh:
    """Read a mesh file: GLB, glTF, OBJ with MTL, PLY, STL, OFF, and, with usd-core installed, USD or USDZ.

    path: the file; its suffix chooses the format. root: a tree that the file may read textures and buffers from,
    besides its own folder; `allow_outside` lifts this limit. textures=False does not decode images.
    surfaces=True also decodes the metallic-roughness textures of glTF files.

    The result has scene transforms applied, polygons triangulated, coincident copies of faces removed, all colors as
    sRGB values and UVs with the origin top left: see `SourceMesh`. A missing or damaged texture gives a line in
    `warnings`, and the material keeps its factor. Raises UserError, one line with the file and the cause, if the file
    is not a mesh, is damaged, has no faces, has NaN or indices out of range, or refers to files outside its tree.
    """
    path = Path(path)
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        known = " ".join(FORMATS)
        raise UserError(f"{printable(path)}: not a mesh format that is read; expected one of {known}")
    files = SourceFiles(path, None if root is None else Path(root), allow_outside)
    _check_magic(files, file_format)
    read: PartsReader = getattr(importlib.import_module(file_format.module), file_format.function)
    try:
        with np.errstate(all="ignore"):
            parts = clean_parts(files, read(files, TextureCache(files, textures, surfaces)))
    except UserError:
        raise
    except ComplexPolygonsError as error:
        raise files.error(str(error)) from None
    except MALFORMED as error:
        detail = str(error).splitlines()[0][:100] if str(error) else ""
        raise files.error(f"damaged or malformed {file_format.name} ({type(error).__name__}: {detail})") from error
    up = file_format.up
    if file_format is USD:
        from mesh_io.readers.usd import up_axis

        up = up_axis(path)
    return SourceMesh(path, parts, tuple(files.warnings), up)


def _check_magic(files: SourceFiles, file_format: Format) -> None:
    """UserError for a file that is missing, empty, an error page, or another format than its suffix says."""
    head = b""
    if files.path.is_file():
        with suppress(OSError), files.path.open("rb") as stream:
            head = stream.read(4096)
    if len(head) < 4096:
        head = read_bytes(files.path)
    for magic, (name, words) in MAGICS.items():
        if head.startswith(magic) and name != file_format.name:
            raise files.error(f"is {words}, not {file_format.name} as its name says")
