"""Which views an epoch shows, where some kinds of shape are rare."""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from dataset_tool.image_bank import ImageBank
from torch_utils.errors import UserError


def repeats(kinds: Sequence[Hashable]) -> list[int]:
    """How often each shape comes in an epoch for its kind to be seen about as often as the most frequent one; ≥ 1.

    kinds: of each shape.
    """
    counts = Counter(kinds)
    most = max(counts.values())
    return [round(most / counts[kind]) for kind in kinds]


def balanced_views(bank: ImageBank, attributes: Sequence[str]) -> Tensor:
    """Views of a bank that one epoch shows [E] int64, ascending; those of rare shapes stand in it several times.

    attributes: names of `meta.json`; shapes with the same values are of one kind. A generator seldom finds a kind that
    is a few in a hundred of what the discriminators see. UserError where no shape has an attribute.
    """
    known = [bank.dataset.meta(shape_id).get("attributes") or {} for shape_id in bank.shape_ids]
    for name in attributes:
        if not any(name in each for each in known):
            names = ", ".join(sorted({key for each in known for key in each})) or "none at all"
            raise UserError(
                f"{bank.dataset.path}: no shape has an attribute {name!r}, which data.balance names; they have {names}"
            )
    # As text: a value may be of any JSON type, a list too.
    often = torch.tensor(repeats([tuple(str(each.get(name)) for name in attributes) for each in known]))
    return torch.repeat_interleave(torch.arange(len(bank)), often[bank.shape_of])
