"""From a mesh file, and posed images or words, to a GLB with textures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.posed_images import read_images
from dataset_tool.render.lights import check_light, environments_of
from mesh_io.write import write_glb
from mesh_io.writers.retexture import MaterialTextures, retextured_glb
from torch_utils.errors import UserError
from torch_utils.files import printable, write_bytes
from training.adapt.prior import open_prior
from training.mesh_texture.fit import FitSettings, fit_textures
from training.mesh_texture.memory import check_fit
from training.mesh_texture.prompt import PromptSettings, synthesize_textures
from training.mesh_texture.target import TextureTarget, read_target


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
    size = (len(target.mesh.faces), len(views.rgb), views.rgb.shape[-1], len(target.materials), settings.size_px)
    check_fit(printable(path), *size)
    fitted = fit_textures(target.transformed(views.source_to_world), views, settings, lights, progress)
    if fitted.seen < 0.01:
        where = f"the cameras of {printable(images)} do not see it"
        said = "".join(f" (note: {note})" for note in target.notes[:1])
        raise UserError(f"{printable(path)}: {where}; both must be in one frame of reference{said}")
    write_with_textures(path, out, target, fitted.textures)
    return TextureResult(target.notes, fitted.psnr, fitted.seen)


def texture_mesh_by_prompt(
    path: Path, prior: str, out: Path, settings: PromptSettings, *, progress: Callable[[], None] = lambda: None
) -> tuple[str, ...]:
    """Write the mesh at `path` with textures that a diffusion prior sees as the prompt; notes for the user.

    prior: a folder in the form of diffusers, or the name of an included prior. What is kept of the file: as for
    `texture_mesh`.
    """
    denoiser = open_prior(prior, torch.device("cpu"), None)
    target = read_target(path, settings.size_px)
    write_with_textures(path, out, target, synthesize_textures(target, denoiser, settings, progress))
    return (*target.notes, *denoiser.notes)


def write_with_textures(path: Path, out: Path, target: TextureTarget, textures: list[Tensor]) -> None:
    """Write the mesh at `path` with textures [S, S, 3 or 5] in [0, 1], one for each of the target's, as a GLB."""
    if target.materials[0] is not None:
        own = {
            number: MaterialTextures(_bytes(image[..., :3]), _bytes(image[..., 3:]) if image.shape[2] > 3 else None)
            for number, image in zip(target.materials, textures, strict=True)
            if number is not None
        }
        write_bytes(out, retextured_glb(path, own))
        return
    images = {"base_color": textures[0][..., :3]}
    if textures[0].shape[2] > 3:
        images["metallic_roughness"] = textures[0][..., 3:]
    write_glb(out, target.mesh.replace(textures=images))


def _bytes(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
