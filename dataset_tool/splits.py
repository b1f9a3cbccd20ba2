"""Which shapes are for training, validation and test."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataset_tool.header import SPLITS
from torch_utils.errors import UserError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
SMALL = 30


def hash_splits(shape_ids: Iterable[str]) -> dict[str, list[str]]:
    """70 / 10 / 20 by a hash of the id: where a shape goes depends on nothing else.

    Under `SMALL` shapes the shares would be left to chance: there the ids, ordered by their hash, are cut at the same
    shares, at least one to test and one to train where there are two.
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
    """A number in [0, 1) from the id alone."""
    return int.from_bytes(hashlib.sha256(shape_id.encode()).digest()[:8], "big") / 2**64


def listed_splits(shape_ids: Iterable[str], lists: Mapping[str, Path]) -> tuple[dict[str, list[str]], list[str]]:
    """Splits from text files of one id a line (as GET3D's were released), and one warning a list for absent ids.

    An id may be preceded by folders ("02958343/…"); shapes in no list are in no split. UserError where an id is in two.
    """
    present = set(shape_ids)
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    owner: dict[str, str] = {}
    warnings = []
    for name, path in lists.items():
        wanted = read_list(path)
        for shape_id in wanted:
            if owner.setdefault(shape_id, name) != name:
                raise UserError(
                    f"{path}: {shape_id} is in the {owner[shape_id]} list too; a shape belongs to one split"
                )
        splits[name] = sorted(set(wanted) & present)
        absent = len(set(wanted) - present)
        if absent:
            warnings.append(f"{path}: {absent} of {len(set(wanted))} ids are not in this dataset")
    if not any(splits.values()):
        raise UserError(f"{', '.join(str(path) for path in lists.values())}: none of the ids is in this dataset")
    return splits, warnings


def read_list(path: Path) -> list[str]:
    """Ids of a text file, one a line; empty lines and lines with # are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a text file with one shape id a line ({error})") from None
    names = (line.strip().rstrip("/").split("/")[-1] for line in lines if line.strip() and not line.startswith("#"))
    return [name for name in names if name]
