"""CLIP: features of images and of texts in one space, from a `transformers` folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from guidance.clip import build_text_encoder
from metrics.images.detectors import Detector, as_features, folder_features
from metrics.images.model_folder import import_transformers, load_model_folder
from torch_utils.errors import UserError


@dataclass(frozen=True)
class ClipDetector:
    """image_encoder: the image tower as a detector. texts(captions) → [N, D] float32 on the CPU, in the same space."""

    image_encoder: Detector
    texts: Callable[[Sequence[str]], Tensor]


def load_clip_detector(path: Path, device: torch.device | str = "cpu") -> ClipDetector:
    """The CLIP of a `transformers` folder with a tokenizer. UserError where it is none."""
    folder = load_model_folder("--clip", path, "AutoModel", device, may_lack="pooler.")
    model = folder.model
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise UserError(f"--clip {path}: {type(model).__name__} has no text tower; expected a CLIP")
    transformers = import_transformers("--clip", path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    # As in `load_model_folder`: a downloaded folder may be broken in any way.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--clip {path}: its tokenizer cannot be read ({reason})") from None
    encode = build_text_encoder(model, tokenizer, device)

    def texts(captions: Sequence[str]) -> Tensor:
        return as_features(encode(captions), path)

    return ClipDetector(Detector(path.name, folder.key, folder_features(folder), clip=True), texts)
