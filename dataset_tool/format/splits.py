"""Split shapes into training, validation and test sets."""

import hashlib
from collections.abc import Iterable

from dataset_tool.format.dataset_json import SPLITS

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
SMALL = 30


def hash_splits(shape_ids: Iterable[str]) -> dict[str, list[str]]:
    """Split 70 / 10 / 20 % by a hash of the id, so the split of a shape depends on its id only.

    With fewer than `SMALL` shapes the proportions would be left to chance. Then the ids are sorted by hash and divided
    in these proportions, with at least one shape each for test and train if there are two.
    """
    ids = sorted(set(shape_ids))
    ordered = sorted(ids, key=_fraction)
    if len(ids) < SMALL:
        test = max(round(SHARES["test"] * len(ids)), 1) if len(ids) > 1 else 0
        val = round(SHARES["val"] * len(ids))
        train = len(ids) - test - val
        cuts = {"train": ordered[:train], "val": ordered[train : train + val], "test": ordered[train + val :]}
        return {name: sorted(part) for name, part in cuts.items()}
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for shape_id in ids:
        fraction = _fraction(shape_id)
        name = (
            "train" if fraction < SHARES["train"] else "val" if fraction < SHARES["train"] + SHARES["val"] else "test"
        )
        splits[name].append(shape_id)
    return splits


def _fraction(shape_id: str) -> float:
    """A number in [0, 1) that depends on the id only."""
    return int.from_bytes(hashlib.sha256(shape_id.encode()).digest()[:8], "big") / 2**64
