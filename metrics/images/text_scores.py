"""Scores of images against their captions, for the text stage: CLIP score, R-precision, attribute accuracy.

Features come from a CLIP folder of the user (`metrics/images/detectors.py`); these functions take them as they are.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def caption_cosines(images: Tensor, captions: Tensor) -> Tensor:
    """max(0, cosine) of image features [N, D] and their captions' [N, D]: [N]; 100 · its mean is the CLIP score.

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

    images [N, D], pool [K, D]. own [N] int64: the row of each image's caption in the pool; the other rows are its
    distractors. The mean is the R-precision; state the pool with the number. A tie counts as a miss.
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
    """The share of samples for which a classifier found the wanted value, by attribute; unstated ones do not count."""
    if len(predicted) != len(wanted):
        raise ValueError(f"attribute_accuracy(): expected as many predictions as {len(wanted)}, got {len(predicted)}")
    hits: dict[str, list[bool]] = {}
    for found, target in zip(predicted, wanted, strict=True):
        for name, value in target.items():
            hits.setdefault(name, []).append(found.get(name) == value)
    return {name: sum(values) / len(values) for name, values in hits.items()}
