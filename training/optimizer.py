"""Adam as both networks use it, and the flag that lets a step with non-finite gradients pass without effect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torch_utils.devices import Download
from torch_utils.distributed import Ranks, average_gradients


@dataclass(frozen=True)
class AdamSettings:
    """Learning rate and betas of one network."""

    lr: float
    beta1: float
    beta2: float

    def lazily_regularized(self, interval: int) -> "AdamSettings":
        """Settings for a network that takes one more step every `interval` minibatches for its regularizer.

        c = interval / (interval + 1); lr·c, β1^c, β2^c: moments decay as much per minibatch as they would without.
        Source: Karras et al. 2020 (StyleGAN2), appendix B.
        """
        c = interval / (interval + 1)
        return AdamSettings(self.lr * c, self.beta1**c, self.beta2**c)


class GuardedAdam:
    """Adam that leaves everything as it is when a gradient is not finite; whether it was is read later.

    The decision stays on the device (the fused kernel's `found_inf`), so no step waits for it.
    """

    def __init__(self, name: str, parameters: dict[str, nn.Parameter], settings: AdamSettings, ranks: Ranks) -> None:
        """name: for messages. parameters: by name; the state is saved under these names."""
        self.name = name
        self.parameters = parameters
        self.ranks = ranks
        self.adam = torch.optim.Adam(
            list(parameters.values()), settings.lr, (settings.beta1, settings.beta2), eps=1e-8, fused=True
        )
        for parameter in parameters.values():
            self.adam.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self) -> Tensor:
        """Average the gradients over the ranks, update, forget the gradients. A missing gradient counts as zero.

        Returns the norm of each parameter's gradient [parameters], on the device; if one of them is not finite, nothing
        was changed.
        """
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            elif parameter.grad.stride() != parameter.stride():
                # The fused kernel walks through memory: a gradient laid out otherwise would move the wrong weights.
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        average_gradients(self.parameters.values(), self.ranks)
        norms = torch.stack(torch._foreach_norm([p.grad for p in self.parameters.values()]))  # type: ignore[misc]
        # The fused kernel takes these two as attributes (the interface that torch.amp.GradScaler uses).
        self.adam.grad_scale = None  # type: ignore[attr-defined]
        self.adam.found_inf = 1 - torch.isfinite(norms).all().float()  # type: ignore[attr-defined]
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return norms

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts: "exp_avg/<parameter>", "exp_avg_sq/<parameter>", "step/<parameter>"."""
        return {
            f"{moment}/{name}": value
            for name, parameter in self.parameters.items()
            for moment, value in self.adam.state[parameter].items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy what `state_dict` gave back, by name."""
        for key, value in self.state_dict().items():
            value.copy_(state[key])


class NonFiniteError(RuntimeError):
    """Too many steps in a row had gradients that were not finite."""


class SkipGuard:
    """Counts steps left out, reading each step's gradient norms only when the next step is under way.

    The norms start for the host right behind their step, so reading them does not wait for the step queued since.
    """

    def __init__(self, limit: int, names: Mapping[str, Sequence[str]], in_a_row: int = 0) -> None:
        """limit: steps in a row at which NonFiniteError is raised. names: of the parameters, by network.

        in_a_row: steps left out just before, for a resumed run.
        """
        self.limit = limit
        self.in_a_row = in_a_row
        self._names = names
        self._pending: Mapping[str, Download] = {}

    def check(self, norms: Mapping[str, Tensor]) -> int:
        """Note this step's norms by network, each [parameters], and judge the step before: 1 if left out, else 0."""
        downloads = {network: Download(values) for network, values in norms.items()}
        skipped = self.settle()
        self._pending = downloads
        return skipped

    def settle(self) -> int:
        """Judge the pending step, if there is one."""
        pending, self._pending = self._pending, {}
        if not pending:
            return 0
        norms = {network: download.read() for network, download in pending.items()}
        blamed = [network for network, values in norms.items() if not torch.isfinite(values).all().item()]
        self.in_a_row = self.in_a_row + 1 if blamed else 0
        if self.in_a_row >= self.limit:
            where = "; ".join(self._describe(network, norms[network]) for network in blamed)
            raise NonFiniteError(
                f"gradients were not finite for {self.in_a_row} steps in a row: {where}. The last state is good: "
                "start a run from it with --init and lower learning rates or training.precision=fp32"
            )
        return 1 if blamed else 0

    def _describe(self, network: str, norms: Tensor) -> str:
        bad = [name for name, norm in zip(self._names[network], norms.tolist(), strict=True) if not math.isfinite(norm)]
        return f"{network}: {bad[0]}" + (f" and {len(bad) - 1} more of {len(norms)}" if len(bad) > 1 else "")
