"""An `ExportMesh` as the bytes of a USDZ file, through usd-core."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mesh_io.writers.export_mesh import ExportMesh, png_bytes
from torch_utils.errors import UserError
from torch_utils.files import write_errors


def usdz_bytes(mesh: ExportMesh, name: str) -> bytes:
    """The file's bytes: /<name>/mesh with a UsdPreviewSurface, +Y up, meters. UserError without usd-core."""
    try:
        from pxr import Usd, UsdGeom, UsdUtils
    except ImportError:
        raise UserError("USDZ needs usd-core; install it: pip install -c constraints.txt usd-core") from None
    with write_errors(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / f"{name}.usdc"
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, f"/{name}")
        stage.SetDefaultPrim(root.GetPrim())
        prim = _define_mesh(stage, f"/{name}/mesh", mesh)
        _define_material(stage, f"/{name}/material", mesh, Path(folder), prim)
        stage.GetRootLayer().Save()
        package = Path(folder) / f"{name}.usdz"
        if not UsdUtils.CreateNewUsdzPackage(str(layer), str(package)):
            raise UserError("USDZ: the package could not be written")
        return package.read_bytes()


def _define_mesh(stage: Any, path: str, mesh: ExportMesh) -> Any:
    from pxr import Sdf, UsdGeom, Vt

    prim = UsdGeom.Mesh.Define(stage, path)
    prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.reshape(-1).astype(np.int32)))
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    prim.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([low, high])))
    if mesh.normals is not None:
        prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals))
        prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    if mesh.uvs is not None:
        flipped = np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], axis=1).astype(np.float32)  # USD: v is upward
        primvar = UsdGeom.PrimvarsAPI(prim).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
        )
        primvar.Set(Vt.Vec2fArray.FromNumpy(flipped))
    return prim


def _define_material(stage: Any, path: str, mesh: ExportMesh, folder: Path, prim: Any) -> None:
    """A UsdPreviewSurface at `path`, bound to `prim`. Its textures become PNG files in `folder`."""
    from pxr import Sdf, UsdShade

    material = UsdShade.Material.Define(stage, path)
    shader = UsdShade.Shader.Define(stage, f"{path}/surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(material)
    if mesh.base_color is None and mesh.metallic_roughness is None:
        return
    reader = UsdShade.Shader.Define(stage, f"{path}/uv")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    uv = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)

    def texture(name: str, image: np.ndarray, space: str) -> Any:
        (folder / f"{name}.png").write_bytes(png_bytes(image))
        sampler = UsdShade.Shader.Define(stage, f"{path}/{name}")
        sampler.CreateIdAttr("UsdUVTexture")
        sampler.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(f"./{name}.png"))
        sampler.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
        for side in ("wrapS", "wrapT"):
            sampler.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
        sampler.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(uv)
        return sampler

    if mesh.base_color is not None:
        sampler = texture("base_color", mesh.base_color, "sRGB")
        color = sampler.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(color)
        if mesh.transparent:
            alpha = sampler.CreateOutput("a", Sdf.ValueTypeNames.Float)
            shader.CreateInput("opacity", Sdf.ValueTypeNames.Float).ConnectToSource(alpha)
    if mesh.normal_map is not None:
        sampler = texture("normal", mesh.normal_map, "raw")
        sampler.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set((2.0, 2.0, 2.0, 1.0))
        sampler.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set((-1.0, -1.0, -1.0, 0.0))
        vector = sampler.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        shader.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(vector)
    if mesh.metallic_roughness is not None:
        packed = np.concatenate([mesh.metallic_roughness, mesh.metallic_roughness[..., :1]], axis=2)
        sampler = texture("metallic_roughness", packed, "raw")
        for channel, name in (("r", "metallic"), ("g", "roughness")):
            output = sampler.CreateOutput(channel, Sdf.ValueTypeNames.Float)
            shader.GetInput(name).ConnectToSource(output)
