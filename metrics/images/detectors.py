"""Detectors: networks that map images to features, for FID and related scores. Nothing is downloaded here.

A detector is EfficientNet-Lite0, a TorchScript file, or a folder of a `transformers` image model (CLIP, DINOv2, …).
TorchScript is code, so a file is loaded only if its SHA-256 is the one that the user gave. Images are [B, 3, H, W]
uint8.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from metrics.images.lite0 import load_lite0
from metrics.images.model_folder import ModelFolder, load_model_folder
from torch_utils.errors import UserError
from torch_utils.files import file_hash

# Side of the images after "clean" resizing, for the Inception network (Parmar et al. 2022).
CLEAN_SIZE = 299
# The Inception network of 2015-12-05 as TorchScript, by NVIDIA for StyleGAN2-ADA. FID is defined by this file alone.
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


@dataclass(frozen=True)
class Detector:
    """features(images [B, 3, H, W] uint8) -> [B, D] float32 on the CPU.

    label: for the report. key: changes with the weights. inception: the file for which FID is defined. clip: the model
    also has a text tower.
    """

    label: str
    key: str
    features: Callable[[Tensor], Tensor]
    inception: bool = False
    clip: bool = False

    @property
    def identity(self) -> str:
        """The label and the start of the hash of the weights: two numbers compare only under the same identity."""
        return f"{self.label}, {self.key[:12]}"


def load_detector(
    path: Path,
    sha256: str | None,
    device: torch.device | str = "cpu",
    resize: Literal["get3d-2022", "clean"] = "get3d-2022",
) -> Detector:
    """A detector from a TorchScript file or a `transformers` folder. UserError for anything else."""
    if path.is_dir():
        return _load_transformers(path, device)
    if not path.is_file():
        raise UserError(f"--detector {path}: no such file; expected a TorchScript file or a transformers model folder")
    return _load_torchscript(path, sha256, device, resize)


def lite0_detector(device: torch.device | str = "cpu") -> Detector:
    """EfficientNet-Lite0. UserError with the fixing command where its packages are not installed."""
    key, features = load_lite0(device)
    return Detector("Lite0", key, features)


def _load_torchscript(
    path: Path, sha256: str | None, device: torch.device | str, resize: Literal["get3d-2022", "clean"]
) -> Detector:
    """A file of code, so it is loaded only if it has the given hash. UserError for another hash, or no TorchScript."""
    actual = file_hash(path)
    if sha256 is None:
        raise UserError(
            f"--detector {path}: a TorchScript file is code and needs --detector-hash; if you trust this file: "
            f"--detector-hash {actual}"
        )
    if actual != sha256.lower():
        raise UserError(f"--detector {path}: its SHA-256 is {actual}, not {sha256}; it is another file, or damaged")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--detector {path}: is not a TorchScript file ({str(error).splitlines()[0]})") from None

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        if resize == "clean":
            images = clean_resize(images, CLEAN_SIZE)
        try:
            output = _call(module, images.to(device))
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"--detector {path}: fails on images {list(images.shape)} uint8 ({reason})") from None
        return as_features(output, path)

    inception = actual == INCEPTION_SHA256
    label = f"{'Inception 2015' if inception else path.name}, {resize}"
    return Detector(label, f"{actual}/{resize}", features, inception=inception)


def _call(module: nn.Module, images: Tensor) -> Any:
    """Inception files of the StyleGAN line return class scores by default; other files take images alone."""
    schema = module.forward.schema if hasattr(module, "forward") and hasattr(module.forward, "schema") else None
    if schema is not None and any(argument.name == "return_features" for argument in schema.arguments):
        return module(images, return_features=True)
    return module(images)


def _load_transformers(path: Path, device: torch.device | str) -> Detector:
    folder = load_model_folder("--detector", path, "AutoModel", device, may_lack="pooler.")
    features = folder_features(folder)
    return Detector(path.name, folder.key, features, clip=hasattr(folder.model, "get_text_features"))


def folder_features(folder: ModelFolder) -> Callable[[Tensor], Tensor]:
    """The function images → features of a model folder: a CLIP's projection, the pooled output, or the class token."""
    model = folder.model

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        if hasattr(model, "get_image_features"):
            return as_features(model.get_image_features(**folder.inputs(images)), folder.path)
        output = model(**folder.inputs(images))
        # A pooling layer that is not in the folder would have random weights. The class token is used instead.
        pooled = None if folder.missing else getattr(output, "pooler_output", None)
        return as_features(output.last_hidden_state[:, 0] if pooled is None else pooled, folder.path)

    return features


def as_features(output: Any, path: Path) -> Tensor:
    """A model's output as features [B, D], float32 on the CPU; UserError unless it is a batch of floating values."""
    tensor = output[0] if isinstance(output, (tuple, list)) else getattr(output, "pooler_output", output)
    if not isinstance(tensor, Tensor) or tensor.ndim < 2 or not tensor.is_floating_point():
        raise UserError(f"--detector {path}: expected features [B, D] from images, got {type(output).__name__}")
    return tensor.reshape(tensor.shape[0], -1).float().cpu()


def clean_resize(images: Tensor, size: int) -> Tensor:
    """PIL's antialiased bicubic resize of each channel in float: uint8 [B, 3, H, W] → [B, 3, size, size].

    Source: Parmar et al. 2022 ("clean" resizing). Values are rounded and clipped back to 0–255.
    """
    if tuple(images.shape[2:]) == (size, size):
        return images
    out = np.empty((images.shape[0], 3, size, size), np.float32)
    for source, target in zip(images.cpu().numpy(), out, strict=True):
        for channel in range(3):
            plane = Image.fromarray(source[channel].astype(np.float32), mode=None)
            target[channel] = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC))
    return torch.from_numpy(out.round().clip(0, 255).astype(np.uint8))


def all_features(detector: Detector, batches: Iterable[Tensor]) -> Tensor:
    """Features [N, D] of batches of images; UserError for no images, different sizes, or values that are not finite."""
    parts = [detector.features(images) for images in batches]
    if not parts:
        raise UserError(f"{detector.label}: no images")
    same_size(detector.label, *parts)
    features = torch.cat(parts)
    if not torch.isfinite(features).all():
        raise UserError(f"{detector.label}: returned features that are not finite")
    return features


def same_size(label: str, *features: Tensor) -> None:
    """UserError unless all features [N, D] have the same D."""
    sizes = list(dict.fromkeys(part.shape[1] for part in features))
    if len(sizes) > 1:
        raise UserError(f"{label}: features of {sizes[1]} numbers, the others have {sizes[0]}; is the file a detector?")
