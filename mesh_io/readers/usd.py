"""USD and USDZ through usd-core: meshes, their UVs and UsdPreviewSurface colors."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb_rgba
from mesh_io.readers.corners import split_vertices
from mesh_io.readers.source_files import SourceFiles, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.readers.usd_materials import UsdMaterials
from mesh_io.source_mesh import SourcePart, instanced_part, transform_part

UNREAD_SURFACES = ("Cube", "Sphere", "Cylinder", "Cylinder_1", "Cone", "Capsule", "Capsule_1", "Plane", "NurbsPatch")
INSTALL = "needs usd-core to be read; install it: pip install -c constraints.txt usd-core"


def read_usd(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """All visible meshes of the stage, one part for each material of each; UserError without usd-core."""
    try:
        from pxr import Tf
    except ImportError:
        raise files.error(INSTALL) from None
    if read_bytes(files.path)[:4] == b"PK\x03\x04":
        _check_archive(files)
    try:
        return _parts_of_stage(files, textures)
    except Tf.ErrorException as error:
        raise files.error(f"USD cannot read it ({_first_cause(error, files.path)})") from None


def _parts_of_stage(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    from pxr import Usd, UsdGeom

    _check_layers(files)
    stage = Usd.Stage.Open(str(files.path))
    materials = UsdMaterials(files, textures)
    places = UsdGeom.XformCache(Usd.TimeCode.EarliestTime())
    parts = []
    prims = iter(Usd.PrimRange(stage.GetPseudoRoot(), Usd.TraverseInstanceProxies()))
    for prim in prims:
        if prim.IsA(UsdGeom.PointInstancer):
            prims.PruneChildren()  # its prototypes show where it places them, not where they stand
            if _is_shown(prim):
                parts += _instances(files, UsdGeom.PointInstancer(prim), materials, places)
        elif _is_shown(prim):
            matrix = np.array(places.GetLocalToWorldTransform(prim), dtype=np.float64).T
            parts += [transform_part(part, matrix) for part in _prim_parts(files, prim, materials)]
    return parts


def _first_cause(error: Any, path: Path) -> str:
    """What USD says of the first fault; of a text, from the number of the line on."""
    said = " ".join(str(getattr(each, "commentary", each)) for each in error.args[:1])
    said = said.removeprefix(f"{path.absolute()}:").replace(f"@{path.absolute()}@", "")
    said = re.sub(r"pxrInternal\w*::(?:\w+::)*", "", said)
    return " ".join(said.split())[:100]


def up_axis(path: Path) -> str:
    """The stage's up axis, "+Y" or "+Z"; call after `read_usd` has opened the file."""
    from pxr import Usd, UsdGeom

    return f"+{UsdGeom.GetStageUpAxis(Usd.Stage.Open(str(path)))}"


def _check_archive(files: SourceFiles) -> None:
    """A USDZ may only hold uncompressed entries, which bounds its size; no entry's path may leave the archive."""
    try:
        with zipfile.ZipFile(files.path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise files.error(f"damaged USDZ archive ({error})") from None
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise files.error(f"not USDZ: its entry {entry.filename!r} is compressed, USDZ entries are stored")
        if entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename.replace("\\", "/")).parts:
            raise files.error(f"its entry {entry.filename!r} leaves the archive")


def _check_layers(files: SourceFiles) -> None:
    """Check, before the stage is composed, that all its layers may be read."""
    from pxr import Sdf

    waiting, seen = [str(files.path)], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        place = Path(name.partition("[")[0])
        if not place.exists():
            raise files.error(f"refers to {name!r}, which is missing")
        if not files.allowed(place):
            raise files.outside(name)
        layer = Sdf.Layer.FindOrOpen(name)
        if layer:
            waiting += [layer.ComputeAbsolutePath(below) for below in layer.GetCompositionAssetDependencies()]


def _is_shown(prim: Any) -> bool:
    """Whether a prim is drawn: geometry that is visible and meant for rendering."""
    from pxr import UsdGeom

    shown = UsdGeom.Imageable(prim)
    hidden = (UsdGeom.Tokens.proxy, UsdGeom.Tokens.guide)
    return bool(
        prim.IsA(UsdGeom.Boundable)
        and shown.ComputeVisibility() != UsdGeom.Tokens.invisible
        and shown.ComputePurpose() not in hidden
    )


def _prim_parts(files: SourceFiles, prim: Any, materials: UsdMaterials) -> list[SourcePart]:
    """The parts of a mesh. UserError for another surface: without it the shape would not be whole."""
    from pxr import UsdGeom

    if prim.GetTypeName() in UNREAD_SURFACES:
        raise files.error(f"{prim.GetPath()} is a {prim.GetTypeName()}, which is not read; convert it to a mesh")
    mesh = UsdGeom.Mesh(prim)
    return _mesh_parts(files, mesh, materials) if mesh else []


def _instances(files: SourceFiles, instancer: Any, materials: UsdMaterials, places: Any) -> list[SourcePart]:
    """The parts of all prototypes of a PointInstancer, wherever it places them."""
    from pxr import Usd, UsdGeom

    time = Usd.TimeCode.EarliestTime()
    prim = instancer.GetPrim()
    found = instancer.ComputeInstanceTransformsAtTime(time, time)
    matrices = np.array([np.array(matrix) for matrix in found], dtype=np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    indices = np.array(instancer.GetProtoIndicesAttr().Get(time) or [], dtype=np.int64)
    mask = instancer.ComputeMaskAtTime(time)
    indices = indices[np.array(mask, dtype=bool)] if len(mask) else indices
    if len(indices) != len(matrices):
        raise files.error(f"{prim.GetPath()} has {len(indices)} instances and {len(matrices)} places")
    world = np.array(places.GetLocalToWorldTransform(prim), dtype=np.float64).T
    parts = []
    for number, path in enumerate(instancer.GetPrototypesRel().GetForwardedTargets()):
        prototype = prim.GetStage().GetPrimAtPath(path)
        chosen = matrices[indices == number]
        for below in Usd.PrimRange(prototype, Usd.TraverseInstanceProxies()):
            if below.IsA(UsdGeom.PointInstancer):
                raise files.error(f"{below.GetPath()} is an instancer below another, which is not read")
            if _is_shown(below):
                relative = np.array(places.ComputeRelativeTransform(below, prototype)[0], dtype=np.float64).T
                parts += [
                    instanced_part(part, world @ chosen @ relative) for part in _prim_parts(files, below, materials)
                ]
    return parts


def _mesh_parts(files: SourceFiles, mesh: Any, materials: UsdMaterials) -> list[SourcePart]:
    from pxr import Usd, UsdGeom

    earliest = Usd.TimeCode.EarliestTime()
    points = _array(mesh.GetPointsAttr().Get(earliest), 3)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get(earliest) or [], dtype=np.int64)
    corners = np.array(mesh.GetFaceVertexIndicesAttr().Get(earliest) or [], dtype=np.int64)
    if not len(counts) or not len(points):
        return []
    name = mesh.GetPath().pathString
    if counts.min() < 0 or counts.sum() != len(corners):
        raise files.error(f"{name}: its face counts do not add up to its {len(corners)} indices")
    if len(corners) and (corners.min() < 0 or corners.max() >= len(points)):
        raise files.error(f"{name}: face index {int(corners.max())} is out of range: there are {len(points)} vertices")
    triangles, owner = triangulate(points, corners, counts, files.warn)
    if mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded:
        triangles = triangles[:, ::-1]
    parts = []
    for bound, chosen in _bindings(mesh, owner):
        if chosen.any():
            parts.append(_part(mesh, bound, materials, points, corners, triangles[chosen], owner[chosen]))
    return parts


def _bindings(mesh: Any, owner: NDArray[np.int64]) -> list[tuple[Any, NDArray[np.bool_]]]:
    """(prim that binds a material, its triangles [T]) for each material subset and for the remaining triangles."""
    from pxr import UsdShade

    left = np.ones(len(owner), bool)
    result = []
    for subset in UsdShade.MaterialBindingAPI(mesh.GetPrim()).GetMaterialBindSubsets():
        chosen = np.isin(owner, np.array(subset.GetIndicesAttr().Get() or [], dtype=np.int64)) & left
        left &= ~chosen
        result.append((subset.GetPrim(), chosen))
    return [*result, (mesh.GetPrim(), left)]


def _part(
    mesh: Any,
    bound: Any,
    materials: UsdMaterials,
    points: NDArray[np.float64],
    corners: NDArray[np.int64],
    triangles: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> SourcePart:
    """The triangles of one material.

    points [P, 3]. corners [C]: the point of each corner. triangles [F, 3]: into corners. owner [F]: their polygons.
    """
    from pxr import UsdGeom

    read = materials.bound_to(bound)
    faces = corners[triangles]
    primvars = UsdGeom.PrimvarsAPI(mesh)
    uvs = _at_corners(primvars.FindPrimvarWithInheritance(read.uvs), 2, faces, triangles, owner)
    colors = None
    if read.colors:
        colors = _at_corners(primvars.FindPrimvarWithInheritance(read.colors), 3, faces, triangles, owner)
    normals = _normals(mesh, faces, triangles, owner)
    old, split, split_values = split_vertices(faces, [value for value in (uvs, colors, normals) if value is not None])
    part_uvs, part_colors, part_normals = (
        None if value is None else split_values.pop(0) for value in (uvs, colors, normals)
    )
    if part_uvs is not None:
        if read.transform is not None:
            part_uvs = part_uvs @ read.transform[:, :2].T + read.transform[:, 2]
        part_uvs = np.stack([part_uvs[:, 0], 1 - part_uvs[:, 1]], axis=1).astype(np.float32)  # USD: v is upward
    if part_colors is not None:
        opaque = np.concatenate([part_colors, np.ones((len(part_colors), 1))], axis=1)
        part_colors = encode_srgb_rgba(opaque).astype(np.float32)
    if part_normals is not None:
        part_normals = part_normals.astype(np.float32)
    name = mesh.GetPath().pathString
    return SourcePart(points[old], split, read.material, part_uvs, part_colors, part_normals, name)


def _normals(
    mesh: Any, faces: NDArray[np.int64], triangles: NDArray[np.int64], owner: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Normals at the corners [F, 3, 3]: those of the primvar, or else those of the attribute."""
    from pxr import Usd, UsdGeom

    primvar = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("normals")
    if primvar and primvar.HasValue():
        return _at_corners(primvar, 3, faces, triangles, owner)
    values = _array(mesh.GetNormalsAttr().Get(Usd.TimeCode.EarliestTime()), 3)
    return _spread(values, mesh.GetNormalsInterpolation(), faces, triangles, owner)


def _at_corners(
    primvar: Any, width: int, faces: NDArray[np.int64], triangles: NDArray[np.int64], owner: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Values [F, 3, width] of a primvar of any interpolation, or None if it is absent or does not fit."""
    from pxr import Usd

    if not primvar or not primvar.HasValue():
        return None
    values = _array(primvar.ComputeFlattened(Usd.TimeCode.EarliestTime()), width)
    return _spread(values, primvar.GetInterpolation(), faces, triangles, owner)


def _spread(
    values: NDArray[np.float64],
    interpolation: Any,
    faces: NDArray[np.int64],
    triangles: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """values [N, C] at the corners [F, 3, C], or None if there are too few."""
    index = {
        "vertex": faces,
        "varying": faces,
        "faceVarying": triangles,
        "uniform": np.repeat(owner[:, None], 3, axis=1),
        "constant": np.zeros_like(faces),
    }.get(str(interpolation))
    if index is None or not len(values) or index.max() >= len(values):
        return None
    return values[index]


def _array(values: Any, width: int) -> NDArray[np.float64]:
    """Rows of the first `width` numbers of each value, such as u and v of three; none if the values have fewer."""
    table = np.array([] if values is None else values, dtype=np.float64)
    return table[:, :width] if table.ndim == 2 and table.shape[1] >= width else np.zeros((0, width))
