"""CLIP: features of images and of texts in one space, from a `transformers` folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metrics.images.detectors import Detector, as_features, folder_features
from metrics.images.model_folder import import_transformers, load_model_folder
from torch_utils.errors import UserError

# Texts that go through the model together.
BATCH = 64


@dataclass(frozen=True)
class Clip:
    """image_encoder: the image tower as a detector. texts(captions) → [N, D] float32 on the CPU, in the same space."""

    image_encoder: Detector
    texts: Callable[[Sequence[str]], Tensor]


def load_clip(path: Path, device: torch.device | str = "cpu") -> Clip:
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
    longest = model.config.text_config.max_position_embeddings

    @torch.no_grad()
    def texts(captions: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(captions), BATCH):
            tokens = tokenizer(
                list(captions[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            inputs = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")}
            parts.append(as_features(model.get_text_features(**inputs), path))
        return torch.cat(parts)

    return Clip(Detector(path.name, folder.key, folder_features(folder), clip=True), texts)
