"""From a mesh file, and posed images or words, to a GLB with textures."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.posed_images import read_images
from dataset_tool.render.lights import check_light, environments_of
from guidance.prompts import check_understood, checked_prompt
from mesh_io.write import write_glb
from mesh_io.writers.retexture import MaterialTextures, retextured_glb
from torch_utils.errors import UserError
from torch_utils.files import printable, write_bytes
from training.adapt.prior import open_prior
from training.mesh_texture.estimate import UNWRAP_FACE_S, FitSize, check_fit, estimate_line
from training.mesh_texture.fit import FitSettings, fit_textures
from training.mesh_texture.prompt import PromptSettings, settings_for, synthesize_textures
from training.mesh_texture.target import TextureTarget, noted, read_target
from training.photos.learn import ProgressBar, learned_prior, tuning_for
from training.photos.read import read_photos
from training.run.run_log import duration
from training.step_time import SAID_FROM_S


@dataclass(frozen=True)
class TextureResult:
    """What was found. notes: a line each. psnr: dB, against the images. seen: share of the texels in some view."""

    notes: tuple[str, ...]
    psnr: float
    seen: float


@dataclass(frozen=True)
class Work:
    """A fit of `steps` steps to a mesh file. size: without what the file says. say: takes the estimate, one line."""

    path: Path
    size: FitSize
    steps: int
    say: Callable[[str], None]

    def check(self, faces: int, textures: int, has_uvs: bool) -> None:
        """UserError if it does not fit into memory. Says so if the making of UVs takes long."""
        check_fit(printable(self.path), replace(self.size, faces=faces, textures=textures, has_uvs=has_uvs))
        seconds = 0 if has_uvs else UNWRAP_FACE_S * faces
        if seconds >= SAID_FROM_S:
            self.say(f"{printable(self.path)}: making UVs for {faces:,} faces takes about {duration(seconds)}")

    def announce(self, target: TextureTarget, seconds: float) -> None:
        """Say how much time and memory it takes, if it is long."""
        size = replace(self.size, faces=len(target.mesh.faces), textures=len(target.materials))
        if seconds >= SAID_FROM_S:
            self.say(estimate_line(printable(self.path), size, self.steps, seconds))


def _work(
    path: Path, images: tuple[int, int], settings: FitSettings | PromptSettings, say: Callable[[str], None]
) -> Work:
    """images: how many are held at once, and their side, px."""
    width = settings.width if settings.parameterization == "deep-image-prior" else 0
    return Work(path, FitSize(0, *images, 0, settings.size_px, width), settings.steps, say)


def texture_mesh(
    path: Path,
    images: Path,
    out: Path,
    settings: FitSettings,
    *,
    light: str | None = None,
    progress: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> TextureResult:
    """Write the mesh at `path` with textures fitted to the images of a folder, as a GLB.

    A glTF file with UVs keeps everything but its materials, bit for bit; another file is written anew. light: as of
    `dataset render --shading pbr`; None where the images show base colors. say: called with a line about time and
    memory before a fit that takes long. UserError for unusable input.
    """
    views = read_images(images)
    lights = None
    if light is not None:
        if light == "random":
            raise UserError("--light random: expected the one light of the images, studio or an environment file")
        check_light(light, "pbr")
        lights = environments_of(light, [])
    work = _work(path, (len(views.rgb), views.rgb.shape[-1]), settings, say)
    target = read_target(path, settings.size_px, work.check)
    placed = target.transformed(views.source_to_world)
    fitted = fit_textures(placed, views, settings, lights, progress, estimated=lambda s: work.announce(target, s))
    if fitted.seen < 0.01:
        where = f"the cameras of {printable(images)} do not see it"
        raise UserError(f"{printable(path)}: {where}; both must be in one frame of reference{noted(target.notes)}")
    write_with_textures(path, out, target, fitted.textures)
    return TextureResult(target.notes, fitted.psnr, fitted.seen)


def texture_mesh_by_prompt(
    path: Path,
    prior: str,
    out: Path,
    settings: PromptSettings,
    *,
    controlnet: Path | None = None,
    progress: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[str, ...]:
    """Write the mesh at `path` with textures that a diffusion prior sees as the prompt; notes for the user.

    prior: a folder in the form of diffusers, or the name of an included prior. controlnet: a folder of a ControlNet
    that is shown the normals. What is kept of the file, and say: as for `texture_mesh`. The memory of the prior itself
    is not in the estimate. UserError also where the prompt and the source of dds are the same to the prior.
    """
    denoiser = open_prior(prior, torch.device("cpu"), None, controlnet)
    settings = replace(settings, controlled=controlnet is not None)
    if settings_for(denoiser, settings).method == "dds":
        words = checked_prompt(settings.prompt), settings.source
        check_understood(*words, *(denoiser.embed([each]) for each in words))
    work = _work(path, (settings.views, denoiser.resolution), settings, say)
    target = read_target(path, settings.size_px, work.check)
    textures = synthesize_textures(
        target, denoiser, settings, progress, estimated=lambda seconds: work.announce(target, seconds)
    )
    write_with_textures(path, out, target, textures)
    return (*target.notes, *denoiser.notes)


def texture_mesh_by_photos(
    path: Path,
    photos: Path,
    prior: str,
    out: Path,
    settings: PromptSettings,
    *,
    photo_steps: int | None = None,
    controlnet: Path | None = None,
    bar: ProgressBar = lambda what, total: nullcontext(lambda: None),
    say: Callable[[str], None] = lambda line: None,
) -> tuple[str, ...]:
    """Write the mesh at `path` with textures like those of an object of the same or another class; notes for the user.

    A copy of the prior learns the object from the images of a folder (`read_photos`), whose class is
    `settings.prompt`; that copy then guides the textures. What it learned stays in `adapter_file(out)`, so that an
    interrupted run, or one with other settings of the texture, need not learn again. photo_steps: of the learning.
    bar(what, total): a progress bar. The rest is as for `texture_mesh_by_prompt`.
    """
    seen = read_photos(photos)
    denoiser = open_prior(prior, torch.device("cpu"), None, controlnet)
    work = _work(path, (settings.views, denoiser.resolution), settings, say)
    target = read_target(path, settings.size_px, work.check)
    tuning = tuning_for(denoiser, settings.seed, photo_steps)
    tuned = learned_prior(denoiser, seen, settings.prompt, tuning, adapter_file(out), bar=bar, say=say)
    settings = replace(settings, prompt=tuned.words, controlled=controlnet is not None)
    with bar("texturing", settings.steps) as advance:
        textures = synthesize_textures(
            target, denoiser, settings, advance, tuned=tuned, estimated=lambda seconds: work.announce(target, seconds)
        )
    write_with_textures(path, out, target, textures)
    return (*seen.notes, *target.notes, *denoiser.notes)


def adapter_file(out: Path) -> Path:
    """Where what a prior learned from photos stays, beside the mesh that is written."""
    return out.with_suffix(".adapter.safetensors")


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
