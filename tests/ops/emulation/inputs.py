"""A call of an op for the emulation's tests: what goes in, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.ops.case import outputs_of

INF, NAN = float("inf"), float("nan")
DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Input:
    """A call, and the arguments whose gradients are compared too."""

    label: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    gradients: Sequence[str] = field(default=())

    def run(self) -> list[tuple[str, Tensor]]:
        """The outputs, and the gradients of a fixed random projection of them, with names."""
        arguments = dict(self.arguments)
        for name in self.gradients:
            arguments[name] = arguments[name].detach().clone().requires_grad_()
        outputs = outputs_of(self.function(**arguments))
        result = [(f"output {k}", x.detach()) for k, x in enumerate(outputs)]
        wanted = [x for x in outputs if x.requires_grad and x.numel()]
        if wanted:
            weights = [normal(*x.shape, seed=9, dtype=x.dtype).to(x.device) for x in wanted]
            leaves = [arguments[name] for name in self.gradients]
            gradients = torch.autograd.grad(wanted, leaves, weights, allow_unused=True)
            result += [(f"gradient of {n}", g) for n, g in zip(self.gradients, gradients, strict=True) if g is not None]
        return result


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
