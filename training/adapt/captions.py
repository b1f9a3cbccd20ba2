"""Prompts from the captions of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_tool.dataset import ViewDataset, open_dataset
from torch_utils.errors import UserError

# Captions in the pool of R-precision.
POOL = 12


@dataclass(frozen=True)
class Captions:
    """Distinct captions, in the order of the shapes. train: of the training split. held_out: of the others alone."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def dataset_captions(data: Path, source: str) -> Captions:
    """The captions of a dataset, without those that say the same as the source; at most `POOL` held-out ones.

    A shape whose meta.json cannot be read counts as one without a caption. UserError where no caption is left.
    """
    dataset = open_dataset(data)
    passed = {_words(source), ""}
    train = _distinct(dataset, dataset.splits["train"], passed)
    if not train:
        raise UserError(
            f"--data {data}: no shape of its training split has a caption besides {source!r}; name captions with "
            "dataset render --manifest, or write a --prompts-file"
        )
    seen = passed | {_words(caption) for caption in train}
    others = _distinct(dataset, [*dataset.splits["val"], *dataset.splits["test"]], seen)
    stride = max(1, len(others) // POOL)
    return Captions(train, others[::stride][:POOL])


def _distinct(dataset: ViewDataset, ids: Sequence[str], passed: set[str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for shape_id in ids:
        try:
            caption = " ".join(str(dataset.meta(shape_id).get("caption") or "").split())
        except UserError:
            continue
        if _words(caption) not in passed:
            found.setdefault(_words(caption), caption)
    return tuple(found.values())


def _words(text: str) -> str:
    return " ".join(text.lower().split())
