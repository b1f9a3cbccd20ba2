"""Split shapes into training, validation and test sets."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dataset_tool.fingerprint import copies
from dataset_tool.format.dataset_json import SPLITS
from torch_utils.errors import UserError
from torch_utils.text import counted

# The published proportions of train, val and test.
SHARES = (0.7, 0.1, 0.2)
# Expected size of the smallest split below which shapes are counted out instead of left to chance.
SMALLEST_SPLIT = 3
# Fewer training shapes than this are few for training, and fewer test shapes for COV and 1-NNA.
FEW_TRAINING, FEW_TEST = 200, 30

Shares = tuple[float, float, float]


def parse_shares(text: str) -> Shares:
    """Shares of train, val and test from percentages such as "90/5/5". UserError for any other text."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*", text)
    train, val, test = (float(part) / 100 for part in match.groups()) if match else (0.0, 0.0, 0.0)
    if abs(train + val + test - 1) > 1e-9 or not train > 0:
        raise UserError(f"--split {text}: expected percentages of train, val and test that sum to 100, e.g. 90/5/5")
    return train, val, test


def hash_splits(shape_ids: Iterable[str], shares: Shares = SHARES) -> dict[str, list[str]]:
    """Split by a hash of the id, so the split of a shape depends on its id and the shares only.

    shares: of train, val and test. Where a split would have fewer than three shapes on average, chance could leave it
    empty. Then the ids are sorted by hash and divided in these proportions, with at least one shape each for train and
    test if there are two and test has a share.
    """
    of_train, of_val, of_test = shares
    ids = sorted(set(shape_ids))
    ordered = sorted(ids, key=_fraction)
    if len(ids) * min(share for share in shares if share > 0) < SMALLEST_SPLIT:
        test = min(max(round(of_test * len(ids)), 1), len(ids) - 1) if len(ids) > 1 and of_test > 0 else 0
        val = min(round(of_val * len(ids)), len(ids) - test - 1) if ids else 0
        train = len(ids) - test - val
        cuts = {"train": ordered[:train], "val": ordered[train : train + val], "test": ordered[train + val :]}
        return {name: sorted(part) for name, part in cuts.items()}
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for shape_id in ids:
        fraction = _fraction(shape_id)
        name = "train" if fraction < of_train else "val" if fraction < of_train + of_val else "test"
        splits[name].append(shape_id)
    return splits


def _fraction(shape_id: str) -> float:
    """A number in [0, 1) that depends on the id only."""
    return int.from_bytes(hashlib.sha256(shape_id.encode()).digest()[:8], "big") / 2**64


def split_shapes(metas: Mapping[str, Mapping[str, Any]], shares: Shares = SHARES) -> dict[str, list[str]]:
    """Split by the hash of the ids, but copies of a shape together: all go where the first of them goes.

    metas: the shapes' meta.json by id, of which only the fingerprints matter.
    """
    first_of = {shape_id: group[0] for group in copies(metas) for shape_id in group}
    splits = hash_splits((first_of.get(shape_id, shape_id) for shape_id in metas), shares)
    split_of = {first: name for name, ids in splits.items() for first in ids}
    members: dict[str, list[str]] = {name: [] for name in SPLITS}
    for shape_id in sorted(metas):
        members[split_of[first_of.get(shape_id, shape_id)]].append(shape_id)
    return members


def split_counts(splits: Mapping[str, Sequence[str]]) -> str:
    """How many shapes train, validate and test, as text."""
    train, val, test = (len(splits.get(name, ())) for name in SPLITS)
    return f"{counted(train, 'shape')} {'trains' if train == 1 else 'train'}, {val} validate, {test} test"


def few_shapes_advice(splits: Mapping[str, Sequence[str]]) -> list[str]:
    """What helped where few shapes were measured: one line, none for many shapes."""
    train, test = len(splits.get("train", ())), len(splits.get("test", ()))
    if train == 0:
        return ["No shape trains; give shares of train, val and test: tetragan dataset split PATH --split 90/5/5"]
    advice = []
    if train < FEW_TRAINING:
        advice.append('train with --config chair --set augment.mode=ada (docs/training.md, "Small sets")')
    if test < FEW_TEST:
        advice.append(f"evaluate with --split train, too: COV and 1-NNA say little below {FEW_TEST} test shapes")
    return [f"Few shapes: {'; '.join(advice)}."] if advice else []
