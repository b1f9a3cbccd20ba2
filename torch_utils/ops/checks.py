"""Argument checks of the ops: one line, "op(): expected …, got …"."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)
HALF = (torch.float16, torch.bfloat16)


def check_tensor(
    op: str,
    name: str,
    value: Tensor,
    shape: Sequence[int | str | None],
    dtypes: Sequence[torch.dtype],
    device: torch.device | None = None,
) -> None:
    """Raise TypeError or ValueError unless `value` is a tensor of this rank, these sizes, one of `dtypes`, on `device`.

    shape: a number is an exact size; a string (a dimension's letter) or None is any size.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}(): expected {name} to be a tensor, got {type(value).__name__}")
    if not _has_shape(value, shape):
        wanted = ", ".join("·" if n is None else str(n) for n in shape)
        raise ValueError(f"{op}(): expected {name} of shape [{wanted}], got {list(value.shape)}")
    if value.dtype not in dtypes:
        wanted = " or ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise TypeError(f"{op}(): expected {name} of type {wanted}, got {str(value.dtype).removeprefix('torch.')}")
    if device is not None and value.device != device:
        raise ValueError(f"{op}(): expected {name} on {device}, got {value.device}")


def _has_shape(value: Tensor, shape: Sequence[int | str | None]) -> bool:
    sizes = value.shape
    if len(sizes) != len(shape):
        return False
    # A plain loop: every op runs this several times a call, and a generator costs more than the comparisons.
    for size, wanted in zip(sizes, shape, strict=True):  # noqa: SIM110
        if size != wanted and isinstance(wanted, int):
            return False
    return True


def check_index_range(op: str, name: str, value: Tensor, size: int) -> None:
    """Raise ValueError unless every entry lies in [0, size). On the CPU only: on a GPU it would cost a synchronization,
    and the kernels cull what is out of range.
    """
    if value.device.type != "cpu" or value.numel() == 0:
        return
    low, high = (int(x) for x in value.aminmax())
    if low < 0 or high >= size:
        raise ValueError(f"{op}(): expected {name} in [0, {size}), got {low if low < 0 else high}")


def check_offsets(op: str, name: str, value: Tensor, total: int | None) -> None:
    """Raise unless `value` [B + 1] int64 on the CPU starts at 0, never decreases and, with `total`, ends there."""
    check_tensor(op, name, value, ("B + 1",), (torch.int64,), torch.device("cpu"))
    numbers = value.tolist()
    ordered = bool(numbers) and numbers[0] == 0 and all(a <= b for a, b in pairwise(numbers))
    if not ordered:
        raise ValueError(f"{op}(): expected {name} to start at 0 and never fall, got {numbers[:8]}")
    if total is not None and numbers[-1] != total:
        raise ValueError(f"{op}(): expected {name} to end at {total}, got {numbers[-1]}")
