"""Adam for both networks, which skips steps with non-finite gradients."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torch_utils.devices import Download
from torch_utils.distributed import Ranks, average_gradients
from torch_utils.errors import UserError


@dataclass(frozen=True)
class AdamSettings:
    """Learning rate and betas of one network."""

    lr: float
    beta1: float
    beta2: float

    def lazily_regularized(self, *intervals: int) -> "AdamSettings":
        """Settings for a network with additional regularizer steps, each once in so many minibatches.

        With c = 1 / (1 + Σ 1 / interval): lr·c, β1^c, β2^c. The moments decay per minibatch as without the steps.
        Source: Karras et al. 2020 (StyleGAN2), appendix B, for one interval.
        """
        c = 1 / (1 + sum(1 / interval for interval in intervals))
        return AdamSettings(self.lr * c, self.beta1**c, self.beta2**c)


class GuardedAdam:
    """Adam that changes nothing if a gradient is not finite.

    The decision stays on the device (the fused kernel's `found_inf`), so that no step waits for it.
    """

    def __init__(self, name: str, parameters: dict[str, nn.Parameter], settings: AdamSettings, ranks: Ranks) -> None:
        """name: of the network, for messages. parameters: by name; the state uses the same names."""
        self.name = name
        self.parameters = parameters
        self.settings = settings
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
        """Average the gradients over the ranks, update, and clear the gradients. A missing gradient counts as zero.

        Returns the norm of each parameter's gradient [parameters], on the device. Nothing changed if one is not finite.
        """
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            elif parameter.grad.stride() != parameter.stride():
                # The fused kernel goes by memory order: a gradient with other strides would update the wrong weights.
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        average_gradients(self.parameters.values(), self.ranks)
        norms = torch.stack(torch._foreach_norm([p.grad for p in self.parameters.values()]))  # type: ignore[misc]
        # The fused kernel takes these two as attributes (the interface that torch.amp.GradScaler uses).
        self.adam.grad_scale = None  # type: ignore[attr-defined]
        self.adam.found_inf = 1 - torch.isfinite(norms).all().float()  # type: ignore[attr-defined]
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return norms

    def scale_rate(self, factor: float) -> None:
        """Set the learning rate to `factor` times the configured one."""
        for group in self.adam.param_groups:
            group["lr"] = self.settings.lr * factor

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts: "exp_avg/<parameter>", "exp_avg_sq/<parameter>", "step/<parameter>"."""
        return {
            f"{moment}/{name}": value
            for name, parameter in self.parameters.items()
            for moment, value in self.adam.state[parameter].items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for key, value in self.state_dict().items():
            value.copy_(state[key])


def rate_factor(nimg: int, total_kimg: float, decay_kimg: float) -> float:
    """The factor on the learning rates of the step after `nimg` images: 1, then linearly to 0 over the last
    `decay_kimg` of `total_kimg`.
    """
    left = total_kimg * 1000 - nimg
    return min(1.0, max(left, 0.0) / (decay_kimg * 1000)) if decay_kimg > 0 else 1.0


class NonFiniteError(UserError):
    """Too many steps in a row had gradients that were not finite. Other settings fix it, so it is a user error."""


class SkipGuard:
    """Counts skipped steps. It reads a step's gradient norms only after the next step was queued.

    The copy of the norms to the host is queued directly after their step, so reading them does not wait for the next.
    """

    def __init__(self, limit: int, names: Mapping[str, Sequence[str]], in_a_row: int = 0) -> None:
        """limit: skipped steps in a row at which NonFiniteError is raised. names: of the parameters, by network.

        in_a_row: steps skipped just before, for a resumed run.
        """
        self.limit = limit
        self.in_a_row = in_a_row
        self._names = names
        self._pending: Mapping[str, Download] = {}

    def restart(self) -> None:
        """Forget the steps so far, after the run went back to a state before them."""
        self.in_a_row, self._pending = 0, {}

    def check(self, norms: Mapping[str, Tensor]) -> int:
        """Take this step's norms by network, each [parameters]. Returns 1 if the step before was skipped, else 0."""
        downloads = {network: Download(values) for network, values in norms.items()}
        skipped = self.settle()
        self._pending = downloads
        return skipped

    def settle(self) -> int:
        """1 if the pending step was skipped, else 0. Raises NonFiniteError at the limit."""
        pending, self._pending = self._pending, {}
        if not pending:
            return 0
        norms = {network: download.read() for network, download in pending.items()}
        failed = [network for network, values in norms.items() if not torch.isfinite(values).all().item()]
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if self.in_a_row >= self.limit:
            where = "; ".join(self._describe(network, norms[network]) for network in failed)
            raise NonFiniteError(
                f"training stopped: gradients were not finite for {self.in_a_row} steps in a row: {where}. The last "
                "state is good: start a run from it with --init and lower learning rates or training.precision=fp32, "
                "or allow training.rollbacks"
            )
        return 1 if failed else 0

    def _describe(self, network: str, norms: Tensor) -> str:
        bad = [name for name, norm in zip(self._names[network], norms.tolist(), strict=True) if not math.isfinite(norm)]
        return f"{network}: {bad[0]}" + (f" and {len(bad) - 1} more of {len(norms)}" if len(bad) > 1 else "")
