"""CLIP as a prior: images and texts in one space, with a gradient to the images."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from guidance.priors.folder import component_class, load_component, require_folder
from guidance.priors.included import prior_folder
from guidance.priors.text import unknown_words
from torch_utils.errors import UserError

# Prompts are embedded in several phrases and averaged: a direction then belongs to the thing, not to the wording.
TEMPLATES = ("{}", "a photo of {}", "a render of {}", "an image of {}", "a 3d model of {}")
# Texts that go through the model together.
_TEXT_BATCH = 64
# Files of which a folder needs one of each.
_PARTS = {"tokenizer": ("tokenizer.*", "vocab*", "spiece*"), "image processor": ("*processor_config.json",)}
# PIL's numbers of filters, as image processors name them.
_FILTERS = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP.

    embed_images(images [N, 3, H, H] in [0, 1]) → [N, D] of length 1, with gradient to the images.
    embed_texts(N texts) → [N, D] of length 1, without gradient. resolution: side of the images that it sees, px; others
    are resized. dimension: D. unknown_words(prompt): those that the text tower does not know.
    """

    embed_images: Callable[[Tensor], Tensor]
    embed_texts: Callable[[Sequence[str]], Tensor]
    resolution: int
    dimension: int
    unknown_words: Callable[[str], tuple[str, ...]] = lambda prompt: ()


def load_clip(folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Clip:
    """The CLIP, SigLIP or like model of a `transformers` folder, or an included one by name, from disk alone.

    UserError, one line, for a hub name, a folder that is not complete, pickled weights, and a model without both
    towers.
    """
    path, where = prior_folder(folder, "CLIP"), torch.device(device)
    model_class = component_class(path, "model", "transformers", _architecture(path))
    if not all(hasattr(model_class, name) for name in ("get_image_features", "get_text_features")):
        raise UserError(f"CLIP {path}: {model_class.__name__} does not embed both images and texts; expected a CLIP")
    for part, patterns in _PARTS.items():
        if not any(file for pattern in patterns for file in path.glob(pattern)):
            raise UserError(f"CLIP {path}: incomplete, it has no {part}; download or save the folder again")
    model = load_component(path, model_class, dtype, where)
    transformers = component_class(path, "tokenizer", "transformers", "AutoTokenizer")
    tokenizer = load_component(path, transformers, dtype, where)
    processor = load_component(
        path, component_class(path, "processor", "transformers", "AutoImageProcessor"), dtype, where
    )
    embed_images = build_image_encoder(model, processor, path)
    encode_texts = build_text_encoder(model, tokenizer, where)

    def embed_texts(texts: Sequence[str]) -> Tensor:
        if isinstance(texts, str) or not texts:
            raise ValueError("embed_texts(): expected a list of texts")
        return normalize(encode_texts(texts).float(), dim=1)

    side, dimension = int(model.config.vision_config.image_size), embed_texts([""]).shape[1]
    return Clip(embed_images, embed_texts, side, dimension, partial(unknown_words, [tokenizer]))


def build_image_encoder(model: Any, processor: Any, path: Path) -> Callable[[Tensor], Tensor]:
    """`Clip.embed_images` of a model: the processor's resizing and normalization on tensors, so that they have a
    gradient. UserError for a processor whose filter is not known.
    """
    side = int(model.config.vision_config.image_size)
    mean, std = (torch.tensor(list(value)).view(3, 1, 1) for value in (processor.image_mean, processor.image_std))
    mode = _FILTERS.get(int(processor.resample))
    if mode is None:
        raise UserError(f"CLIP {path}: its images are resized with filter {processor.resample}; expected 2 or 3")

    def embed_images(images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"embed_images(): expected square images [N, 3, H, H], got {list(images.shape)}")
        if images.shape[-1] != side:
            images = interpolate(images, (side, side), mode=mode, align_corners=False, antialias=True)
        pixels = (images - mean.to(images)) / std.to(images)
        return normalize(pooled(model.get_image_features(pixel_values=pixels.to(model.dtype))).float(), dim=1)

    return embed_images


def build_text_encoder(model: Any, tokenizer: Any, device: torch.device | str) -> Callable[[Sequence[str]], Tensor]:
    """encode(N texts) → features [N, D] as the model gives them, without gradient. Long texts are cut."""
    text_config = model.config.text_config
    # SigLIP was trained on texts padded to the full length, and attends to the padding.
    padded = str(text_config.model_type).startswith("siglip")

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(texts), _TEXT_BATCH):
            tokens = tokenizer(
                list(texts[start : start + _TEXT_BATCH]),
                padding="max_length" if padded else True,
                truncation=True,
                max_length=text_config.max_position_embeddings,
                return_tensors="pt",
            )
            names = ("input_ids",) if padded else ("input_ids", "attention_mask")
            parts.append(pooled(model.get_text_features(**{name: tokens[name].to(device) for name in names})))
        return torch.cat(parts)

    return encode


def pooled(output: Any) -> Tensor:
    """The features [N, D] in what a tower returns: a tensor in older versions of transformers."""
    return output if isinstance(output, Tensor) else output.pooler_output


def prompt_embedding(clip: Clip, prompt: str, templates: Sequence[str] = TEMPLATES) -> Tensor:
    """The prompt in every template, averaged: [D] of length 1."""
    return normalize(clip.embed_texts([template.format(prompt) for template in templates]).mean(0), dim=0)


def _architecture(path: Path) -> str:
    """The class that config.json names."""
    require_folder(path, "CLIP")
    try:
        return str(json.loads((path / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    except FileNotFoundError:
        raise UserError(f"CLIP {path}: has no config.json; expected a folder that save_pretrained wrote") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"CLIP {path}: config.json cannot be read ({type(error).__name__}: {error})") from None
