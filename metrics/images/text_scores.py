"""Scores of images against their captions and attributes: CLIP score, R-precision and attribute accuracy.

The features come from `metrics/images/clip.py`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def caption_cosines(images: Tensor, captions: Tensor) -> Tensor:
    """max(0, cosine) of the features of images [N, D] and their captions [N, D]: [N]. 100 · its mean is the CLIP score.

    Source: Hessel et al. 2021.
    """
    if images.ndim != 2 or images.shape != captions.shape or images.shape[0] == 0:
        raise ValueError(
            "caption_cosines(): expected image and caption features [N, D], got "
            f"{list(images.shape)}, {list(captions.shape)}"
        )
    cosine = (normalize(images.double(), dim=1) * normalize(captions.double(), dim=1)).sum(1)
    return cosine.clamp_min(0)


def retrieved(images: Tensor, pool: Tensor, own: Tensor) -> Tensor:
    """Whether each image's own caption has the highest cosine in a pool of different captions: [N] bool.

    images [N, D], pool [K, D]. own [N] int64: the row of each image's caption; the other rows are distractors. The mean
    is the R-precision, which depends on the pool. A tie counts as wrong.
    """
    if images.ndim != 2 or pool.ndim != 2 or images.shape[1] != pool.shape[1] or own.shape != images.shape[:1]:
        raise ValueError(
            "retrieved(): expected images [N, D], pool [K, D] and own [N], got "
            f"{list(images.shape)}, {list(pool.shape)}, {list(own.shape)}"
        )
    cosine = normalize(images.double(), dim=1) @ normalize(pool.double(), dim=1).T
    index = torch.arange(len(images))
    mine = cosine[index, own].clone()
    cosine[index, own] = -torch.inf
    return mine > cosine.max(1).values


def attribute_accuracy(predicted: Sequence[Mapping[str, str]], wanted: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The share of samples with the wanted value, by attribute; samples without a wanted value do not count."""
    if len(predicted) != len(wanted):
        raise ValueError(f"attribute_accuracy(): expected as many predictions as {len(wanted)}, got {len(predicted)}")
    correct: dict[str, list[bool]] = {}
    for guess, target in zip(predicted, wanted, strict=True):
        for name, value in target.items():
            correct.setdefault(name, []).append(guess.get(name) == value)
    return {name: sum(values) / len(values) for name, values in correct.items()}
