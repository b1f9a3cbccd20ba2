"""The prior of an adaptation: the images that it takes, and whether it fits into memory."""

from pathlib import Path
from typing import Any

import torch

from guidance.priors.folder import read_index
from guidance.priors.included import prior_folder
from guidance.priors.load import load_prior
from guidance.priors.prior import DiffusionPrior
from guidance.priors.text import TEXT_CLASSES
from torch_utils.errors import UserError
from torch_utils.files import parse_json, read_file
from torch_utils.process import available_memory


def prior_resolution(folder: Path) -> int:
    """Side of the images that a prior in a folder was trained on, px, from its configuration alone.

    UserError where the folder is no diffusers pipeline.
    """
    _, parts = read_index(folder, TEXT_CLASSES)
    denoiser = "transformer" if "transformer" in parts else "unet"
    side = _config(folder / denoiser).get("sample_size") or 128
    side = int(side if isinstance(side, int) else side[0])
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
    if not isinstance(side, int):
        raise UserError(f"--prior {folder}: its config.json names no vision_config.image_size; is it a CLIP?")
    return side


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    values = parse_json(read_file(path), str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected the configuration of a model")
    return values


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of all weights of a folder once they are loaded in `dtype`; reads the headers alone."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for part in {path.parent for path in folder.rglob("*.safetensors")}:
        if part.name in ("safety_checker", "feature_extractor"):
            continue
        files = list(part.glob("*.safetensors"))
        whole = [file for file in files if ".fp16." not in file.name] or files
        for file in whole:
            try:
                with safe_open(file, framework="pt") as tensors:
                    shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
            except (SafetensorError, OSError):
                continue  # `load_prior` says what is wrong with it
            total += sum(torch.Size(shape).numel() for shape in shapes)
    return total * dtype.itemsize


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def open_prior(name: str, device: torch.device, dtype: torch.dtype | None) -> DiffusionPrior:
    """The diffusion prior that `prior_folder(name)` names. dtype: None = bfloat16 on a GPU, float32 on the CPU.

    UserError as `load_prior`, and where its weights alone are larger than the free memory.
    """
    folder = prior_folder(name)
    loaded = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    if folder.is_dir():
        needed, free = weight_bytes(folder, loaded), available_memory(device)
        if free is not None and needed > free:
            half = "; --set precision=bf16 halves that" if loaded == torch.float32 else ""
            raise UserError(f"--prior {folder}: its weights take {_gib(needed)}, but {_gib(free)} are free{half}")
    return load_prior(folder, device, dtype)
