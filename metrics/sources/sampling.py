"""Which shapes of a set are compared where a protocol asks for fewer than there are."""

import torch

# Of every choice of shapes; part of the notes of a report.
SEED = 0


def chosen_rows(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` rows, in ascending order: a random choice by a fixed seed, or all of them.

    The first rows would do for shapes in random order, but names often sort shapes by type.
    """
    if limit is None or limit >= count:
        return list(range(count))
    generator = torch.Generator().manual_seed(SEED)
    return torch.randperm(count, generator=generator)[:limit].sort().values.tolist()


def choice_note(chosen: int, count: int, what: str) -> str:
    """The remark for a report on a choice of `chosen` of `count` shapes; what: "mesh files", "test shapes"."""
    return f"{chosen} of {count} {what}, chosen at random (seed {SEED}): the protocol's counts ask for no more"
