"""Which views an epoch shows, where some kinds of shape are rare."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from dataset_tool.image_bank import ImageBank
from torch_utils.errors import UserError


def repeats(kinds: Sequence[Hashable]) -> list[int]:
    """How often each shape comes in an epoch for its kind to be seen about as often as the most frequent one; ≥ 1.

    kinds: of each shape.
    """
    counts = Counter(kinds)
    most = max(counts.values())
    return [round(most / counts[kind]) for kind in kinds]


def kinds_of(dataset: ViewDataset, shape_ids: Sequence[str], attributes: Sequence[str]) -> list[tuple[str, ...]]:
    """The kind of every shape: its values of some attributes of `meta.json`, as text. UserError where none has one."""
    known = [dataset.meta(shape_id).get("attributes") or {} for shape_id in shape_ids]
    for name in attributes:
        if not any(name in each for each in known):
            names = ", ".join(sorted({key for each in known for key in each})) or "none at all"
            raise UserError(f"{dataset.path}: no shape has an attribute {name!r}; they have {names}")
    return [tuple(str(each.get(name)) for name in attributes) for each in known]


def balanced_views(bank: ImageBank, attributes: Sequence[str]) -> Tensor:
    """Views of a bank that one epoch shows [E] int64, ascending; those of rare shapes stand in it several times.

    attributes: what tells the kinds apart (`kinds_of`). A generator seldom finds a kind that is a few in a hundred of
    what the discriminators see.
    """
    often = torch.tensor(repeats(kinds_of(bank.dataset, bank.shape_ids, attributes)))
    return torch.repeat_interleave(torch.arange(len(bank)), often[bank.shape_of])
