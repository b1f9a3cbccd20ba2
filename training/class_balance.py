"""Class balance: an epoch that shows rare types of shape as often as frequent ones."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from dataset_tool.attributes import attribute_classes
from dataset_tool.image_bank import ImageBank


def repeats(classes: Sequence[Hashable]) -> list[int]:
    """How often to show each shape in an epoch, so that its class comes about as often as the most frequent one; ≥ 1.

    classes: the class of each shape.
    """
    counts = Counter(classes)
    most = max(counts.values())
    return [round(most / counts[name]) for name in classes]


def balanced_views(bank: ImageBank, attributes: Sequence[str]) -> Tensor:
    """Indices of the views of one epoch [E] int64, ascending. Views of shapes of a rare class are repeated.

    attributes: what makes a class (`attribute_classes`). A generator rarely learns a class that is only a few percent
    of what the discriminators see.
    """
    often = torch.tensor(repeats(attribute_classes(bank.dataset, bank.shape_ids, attributes)))
    return torch.repeat_interleave(torch.arange(len(bank)), often[bank.shape_of])
