"""Scores of pictures against their captions, for the text stage: CLIP score, R-precision, attribute accuracy.

Features come from a CLIP folder of the user (`metrics/features.py`); these functions take them as they are.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def clip_score(pictures: Tensor, captions: Tensor) -> float:
    """100 · the mean of max(0, cosine) of picture features [N, D] and their captions' [N, D] (Hessel et al. 2021)."""
    _check("clip_score", pictures, captions)
    cosine = (normalize(pictures.double(), dim=1) * normalize(captions.double(), dim=1)).sum(1)
    return 100 * float(cosine.clamp_min(0).mean())


def r_precision(pictures: Tensor, captions: Tensor, distractors: Tensor | None = None) -> float:
    """The share of pictures [N, D] whose own caption [N, D] has the highest cosine among all captions and distractors.

    distractors [K, D]: captions of other things; None takes only the other pictures' captions. State which with the
    number. A tie counts as a miss.
    """
    _check("r_precision", pictures, captions)
    pool = captions if distractors is None else torch.cat([captions, distractors])
    cosine = normalize(pictures.double(), dim=1) @ normalize(pool.double(), dim=1).T
    own = cosine.diagonal()[: pictures.shape[0]].clone()
    index = torch.arange(pictures.shape[0])
    cosine[index, index] = -torch.inf
    return float((own > cosine.max(1).values).double().mean())


def attribute_accuracy(predicted: Sequence[Mapping[str, str]], wanted: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The share of samples for which a classifier found the wanted value, by attribute; unstated ones do not count."""
    if len(predicted) != len(wanted):
        raise ValueError(f"attribute_accuracy(): expected as many predictions as {len(wanted)}, got {len(predicted)}")
    hits: dict[str, list[bool]] = {}
    for found, target in zip(predicted, wanted, strict=True):
        for name, value in target.items():
            hits.setdefault(name, []).append(found.get(name) == value)
    return {name: sum(values) / len(values) for name, values in hits.items()}


def _check(op: str, pictures: Tensor, captions: Tensor) -> None:
    if pictures.ndim != 2 or pictures.shape != captions.shape or pictures.shape[0] == 0:
        raise ValueError(
            f"{op}(): expected picture and caption features [N, D], got {list(pictures.shape)}, {list(captions.shape)}"
        )
