"""What a generic test needs to know of an op."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Arguments = dict[str, Any]


@dataclass(frozen=True)
class BadInput:
    """One mistake: `change` edits the arguments in place; the op must raise `error` with a message that has `text`."""

    label: str
    change: Callable[[Arguments], None]
    text: str
    error: type[Exception] = ValueError


def edit(name: str, value: Callable[[Any], Any]) -> Callable[[Arguments], None]:
    """A change for `BadInput`: the argument `name` becomes value(argument)."""

    def change(arguments: Arguments) -> None:
        arguments[name] = value(arguments[name])

    return change


@dataclass(frozen=True)
class Case:
    """One op. `tests/ops/test_generic.py` runs every case through the same tests.

    name: the op's name in the namespace `tetragan`, and of its public function.
    function, reference: take the keyword arguments of `make`, and return a tensor or a tuple (None allowed).
    make(batch, width, dtype): fresh arguments from a fixed seed. batch may be 0; width (1, 7, 17, 33) is the size that
    vectorized loops run over. They must lie away from places where the op jumps.
    gradients: names of the arguments that get a gradient.
    overloads(arguments): pairs (torch.ops overload, positional arguments) for `torch.library.opcheck`.
    """

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    make: Callable[[int, int, torch.dtype], Arguments]
    gradients: Sequence[str] = ()
    overloads: Callable[[Arguments], list[tuple[Any, tuple]]] = lambda arguments: []
    bad_inputs: Sequence[BadInput] = ()
    # Which arguments may be half precision, and the tolerance of that result.
    half: Sequence[str] = ()
    half_tolerance: float = 2e-2
    twice_differentiable: bool = False
    # |difference| / (1 + |expected|) of kernel and reference; gradients relative to their largest entry.
    tolerance: dict[torch.dtype, float] = field(default_factory=lambda: {torch.float32: 2e-5, torch.float64: 1e-10})
    # Share of the values that may differ by more (pixels at edges).
    edge_share: float = 0.0
    # Arguments of gradcheck: small, in double.
    gradcheck_size: tuple[int, int] = (2, 5)
    # Whether batch 0 makes sense.
    empty_batch: bool = True


def outputs_of(result: Any) -> list[Tensor]:
    """The tensors of an op's result."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, Tensor)]
