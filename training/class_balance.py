"""Which views an epoch shows, where some kinds of shape are rare."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from dataset_tool.attributes import attribute_classes
from dataset_tool.image_bank import ImageBank


def repeats(kinds: Sequence[Hashable]) -> list[int]:
    """How often each shape comes in an epoch for its kind to be seen about as often as the most frequent one; ≥ 1.

    kinds: of each shape.
    """
    counts = Counter(kinds)
    most = max(counts.values())
    return [round(most / counts[kind]) for kind in kinds]


def balanced_views(bank: ImageBank, attributes: Sequence[str]) -> Tensor:
    """Views of a bank that one epoch shows [E] int64, ascending; those of rare shapes stand in it several times.

    attributes: what makes a class (`attribute_classes`). A generator rarely learns a class that is only a few percent
    of what the discriminators see.
    """
    often = torch.tensor(repeats(attribute_classes(bank.dataset, bank.shape_ids, attributes)))
    return torch.repeat_interleave(torch.arange(len(bank)), often[bank.shape_of])
