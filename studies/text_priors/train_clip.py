"""Train a CLIP on captioned images (Radford et al. 2021)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from dataset_tool.procedural.captions import caption
from studies.one_cycle import train_one_cycle
from studies.text_priors.data import Captioned, Shot, over

BATCH = 96
LEARNING_RATE = 1e-3
SHIFT_PX = 2


def plain_caption(shot: Shot) -> str:
    """A shot's caption in the plain words."""
    return caption(shot.category, shot.kind, shot.finish)


def tokens(tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Token ids and mask [B, L] of texts."""
    found = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def augmented(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """rgba uint8 [B, 4, S, S] over random gray, shifted and mirrored: [B, 3, S, S] in [−1, 1]."""
    count = len(rgba)
    down, across = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,), generator=generator).tolist()
    rgba = torch.roll(rgba, (down, across), (2, 3))
    mirrored = torch.rand(count, generator=generator) < 0.5
    rgba = torch.where(mirrored[:, None, None, None], rgba.flip(3), rgba)
    return over(rgba, torch.rand(count, 1, generator=generator).expand(-1, 3))


def same_caption(shots: Sequence[Shot]) -> Tensor:
    """Which texts fit which images [B, B]: rows sum to one over the shots of the same plain caption."""
    words = [plain_caption(shot) for shot in shots]
    numbers = torch.tensor([words.index(word) for word in words])
    same = (numbers[:, None] == numbers[None]).float()
    return same / same.sum(1, keepdim=True)


def contrastive_loss(model: Any, images: Tensor, texts: dict[str, Tensor], target: Tensor) -> Tensor:
    """Cross entropy between similarities and `target` [B, B], both ways."""
    logits = model(pixel_values=images, **texts).logits_per_image
    return -(target * (log_softmax(logits, 1) + log_softmax(logits, 0).t())).sum(1).mean() / 2


def train_clip(model: Any, tokenizer: Any, data: Captioned, steps: int, seed: int) -> list[float]:
    """Train on `steps` minibatches; returns the losses."""
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

    def draw_loss() -> Tensor:
        rows = torch.randint(len(data.shots), (BATCH,), generator=generator)
        shots = [data.shots[row] for row in rows.tolist()]
        texts = tokens(tokenizer, [caption(s.category, s.kind, s.finish, rng) for s in shots])
        return contrastive_loss(model, augmented(data.rgba[rows], generator), texts, same_caption(shots))

    return train_one_cycle(model, draw_loss, "training CLIP", steps, rate=LEARNING_RATE, weight_decay=0.05)


@torch.no_grad()
def retrieval(model: Any, tokenizer: Any, data: Captioned, background: float) -> dict[str, float]:
    """How often the nearest of all plain captions of `data` has an image's finish, and its category."""
    texts = sorted({plain_caption(shot) for shot in data.shots})
    by_text = {plain_caption(shot): shot for shot in data.shots}
    encoded = model.get_text_features(**tokens(tokenizer, texts)).pooler_output
    images = torch.cat([model.get_image_features(part).pooler_output for part in data.on(background).split(256)])
    found = [by_text[texts[i]] for i in (images @ (encoded / encoded.norm(dim=1, keepdim=True)).t()).argmax(1).tolist()]
    finishes = [(a.finish, b.finish) for a, b in zip(found, data.shots, strict=True) if b.finish is not None]
    right = [a is not None and (a.color or a.material) == (b.color or b.material) for a, b in finishes]
    patterned = [(a, b) for a, b in finishes if b.pattern != "plain"]
    return {
        "finish": float(np.mean(right)),
        "pattern": float(np.mean([a is not None and a.pattern == b.pattern for a, b in patterned])),
        "category": float(np.mean([a.category == b.category for a, b in zip(found, data.shots, strict=True)])),
    }
