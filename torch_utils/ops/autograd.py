"""Autograd helpers shared by the ops."""

import warnings

import torch


def refuse_second_derivative(backward_op: str, op: str) -> None:
    """Make `backward_op` ("tetragan::…_backward") refuse to be differentiated, with a clear message.

    For ops whose gradient exists once: without this PyTorch would only warn and treat the gradient as a constant.
    """

    def refuse(context, *gradients):
        raise RuntimeError(f"{op}(): expected to be differentiated once, got a second derivative; it has none")

    torch.library.register_autograd(backward_op, refuse)


def refuse_atomics_when_deterministic(op: str, device: torch.device) -> None:
    """Raise (or warn, with `warn_only`) where this op's CUDA backward, which adds with atomics, may not run."""
    if device.type != "cuda" or not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        f"{op}(): expected torch.use_deterministic_algorithms(False) for the backward on CUDA, which adds with atomics;"
        " the CPU kernel is repeatable"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=2)
