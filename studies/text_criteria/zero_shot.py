"""Zero-shot naming: a CLIP that guided nothing says which of several words fits an image best."""

from collections.abc import Sequence

import torch

from guidance.clip import Clip
from studies.text_criteria.figures import GRAY, Views
from studies.text_criteria.targets import Target, category_texts, choices, texts_of

_BATCH = 256


@torch.no_grad()
def nearest_texts(clip: Clip, views: Views, texts: Sequence[str]) -> list[int]:
    """The text that fits each of the N·V images best."""
    encoded = clip.embed_texts(texts)
    images = torch.cat([clip.embed_images(part) for part in views.over(GRAY).split(_BATCH)])
    return (images @ encoded.t()).argmax(1).tolist()


def named_values(clip: Clip, views: Views, target: Target) -> list[str]:
    """What each image shows, of the target's choices."""
    found = nearest_texts(clip, views, texts_of(target))
    return [choices(target)[index] for index in found]


def named_category(clip: Clip, views: Views) -> list[str]:
    """The category of each image, whatever its finish."""
    texts, categories = category_texts()
    return [categories[index] for index in nearest_texts(clip, views, texts)]


def share(found: Sequence[str], wanted: str) -> float:
    """How much of `found` is `wanted`, 0 to 1."""
    return sum(value == wanted for value in found) / len(found)
