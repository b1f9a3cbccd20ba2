"""The prior of an adaptation: the images that it takes, and whether it fits into memory."""

from pathlib import Path
from typing import Any

import torch

from guidance.priors.families import UNET
from guidance.priors.folder import as_gib, native_side, read_index, weight_bytes
from guidance.priors.included import prior_folder
from guidance.priors.load import load_prior
from guidance.priors.prior import DiffusionPrior
from guidance.priors.text import TEXT_CLASSES
from torch_utils.errors import UserError
from torch_utils.failures import is_out_of_memory
from torch_utils.files import parse_json, read_file
from torch_utils.process import available_memory


def prior_resolution(folder: Path) -> int:
    """Side of the images that a prior in a folder was trained on, px, from its configuration alone.

    UserError where the folder is no diffusers pipeline.
    """
    _, parts = read_index(folder, TEXT_CLASSES)
    denoiser = "transformer" if "transformer" in parts else "unet"
    side = native_side(folder / denoiser, _config(folder / denoiser))
    if "vae" not in parts or parts["vae"][0] is None:
        return side
    vae = _config(folder / "vae")
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or [0] * 4
    return side * 2 ** (len(blocks) - 1)


def is_clip(folder: Path) -> bool:
    """Whether a folder holds one model of transformers, as a CLIP is saved, and not a pipeline of diffusers."""
    return (folder / "config.json").is_file() and not (folder / "model_index.json").is_file()


def clip_resolution(folder: Path) -> int:
    """Side of the images that a CLIP sees, px, from its configuration alone. UserError where it names none."""
    side = (_config(folder).get("vision_config") or {}).get("image_size")
    if not isinstance(side, int) or side < 1:
        raise UserError(f"--prior {folder}: its config.json names no vision_config.image_size; is it a CLIP?")
    return side


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"prior {folder}: incomplete, it lacks config.json; download or save the folder again")
    values = parse_json(read_file(path), str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected the configuration of a model")
    return values


def open_prior(
    name: str, device: torch.device, dtype: torch.dtype | None, controlnet: Path | None = None
) -> DiffusionPrior:
    """The diffusion prior that `prior_folder(name)` names. dtype: None = bfloat16 on a GPU, float32 on the CPU.

    controlnet: folder of a ControlNet. UserError as `load_prior`, where the prior's weights alone are larger than the
    free memory, for a prior that takes more than a prompt, and for a ControlNet that does not fit the prior.
    """
    folder = prior_folder(name)
    loaded = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    if folder.is_dir():
        needed, free = weight_bytes(folder, loaded), available_memory(device)
        if free is not None and needed > free:
            half = "; --set precision=bf16 halves that" if loaded == torch.float32 else ""
            raise UserError(f"--prior {folder}: its weights take {as_gib(needed)}, but {as_gib(free)} are free{half}")
    prior = load_prior(folder, device, dtype, controlnet)
    _check_inputs(prior, folder)
    if controlnet is not None:
        _check_control(prior, controlnet)
    return prior


def _check_inputs(prior: DiffusionPrior, folder: Path) -> None:
    """UserError for a UNet that takes what nothing here gives it."""
    module: Any = prior.module
    if type(module).__name__ != UNET:
        return
    channels = int(module.config.in_channels)
    more = "" if module.class_embedding is None else "class labels, such as cameras"
    if channels != prior.channels:
        more = f"{channels} channels, {prior.channels} of them noisy, as for editing by instructions"
    if more:
        raise UserError(f"--prior {folder}: its UNet takes {more}; choose one that takes a prompt alone")


def _check_control(prior: DiffusionPrior, folder: Path) -> None:
    """UserError where a ControlNet does not fit the prior, found by one prediction."""
    side = prior.resolution
    x = torch.zeros(1, prior.channels, side // prior.factor, side // prior.factor, device=prior.device)
    control = torch.zeros(1, 3, side, side, device=prior.device)
    try:
        prior.predict(x, torch.full((1,), 0.5, device=prior.device), prior.embed([""]), control=control)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"--controlnet {folder}: does not fit the prior ({reason}); take one that was made for it"
        ) from None
