"""From a mesh file and posed images to a GLB with textures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from dataset_tool.render.lights import check_light, environments_of
from mesh_io.write import write_glb
from mesh_io.writers.retexture import MaterialTextures, retextured_glb
from torch_utils.errors import UserError
from torch_utils.files import printable, write_bytes
from training.mesh_texture.fit import FitSettings, fit_textures
from training.mesh_texture.target import read_target
from training.mesh_texture.views import read_images


@dataclass(frozen=True)
class TextureResult:
    """What was found. notes: a line each. psnr: dB, against the images. seen: share of the texels in some view."""

    notes: tuple[str, ...]
    psnr: float
    seen: float


def texture_mesh(
    path: Path,
    images: Path,
    out: Path,
    settings: FitSettings,
    *,
    light: str | None = None,
    progress: Callable[[], None] = lambda: None,
) -> TextureResult:
    """Write the mesh at `path` with textures fitted to the images of a folder, as a GLB.

    A glTF file with UVs keeps everything but its materials, bit for bit; another file is written anew. light: as of
    `dataset render --shading pbr`; None where the images show base colors. UserError for unusable input.
    """
    views = read_images(images)
    lights = None
    if light is not None:
        if light == "random":
            raise UserError("--light random: expected the one light of the images, studio or an environment file")
        check_light(light, "pbr")
        lights = environments_of(light, [])
    target = read_target(path, settings.size_px)
    fitted = fit_textures(target.transformed(views.source_to_world), views, settings, lights, progress)
    if fitted.seen < 0.01:
        where = f"the cameras of {printable(images)} do not see it"
        raise UserError(f"{printable(path)}: {where}; both must be in one frame of reference")
    if target.materials[0] is not None:
        own = {
            number: MaterialTextures(_bytes(image[..., :3]), None if lights is None else _bytes(image[..., 3:]))
            for number, image in zip(target.materials, fitted.textures, strict=True)
            if number is not None
        }
        write_bytes(out, retextured_glb(path, own))
    else:
        image = fitted.textures[0]
        textures = {"base_color": image[..., :3]}
        if lights is not None:
            textures["metallic_roughness"] = image[..., 3:]
        write_glb(out, target.mesh.replace(textures=textures))
    return TextureResult(target.notes, fitted.psnr, fitted.seen)


def _bytes(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
