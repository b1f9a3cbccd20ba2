"""Autograd helpers shared by the ops."""

import warnings
from collections.abc import Callable
from typing import Any

import torch


def differentiable(op: str, backward: Callable[..., Any], setup_context: Callable[..., None]) -> Callable[..., Any]:
    """Register the gradient of `op` ("bias_act", of the namespace `tetragan`) and return the function that calls it.

    backward, setup_context: as for `torch.library.register_autograd`, whose node `torch.compile` takes. Otherwise the
    returned function records the same node itself: PyTorch's own goes through the dispatcher twice and converts all
    arguments each time, which slows small training steps (`benchmarks/overhead.py`).
    """
    torch.library.register_autograd(f"tetragan::{op}", backward, setup_context=setup_context)

    def forward(ctx, *inputs):
        output = _below_autograd(op, inputs)
        setup_context(ctx, inputs, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    node: Any = type(f"tetragan_{op}", (torch.autograd.Function,), members)

    def call(*inputs):
        if torch.compiler.is_compiling():
            return getattr(torch.ops.tetragan, op)(*inputs)
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*inputs):
            return node.apply(*inputs)
        return _below_autograd(op, inputs)

    return call


def differentiable_once(backward_op: str, op: str) -> Callable[..., Any]:
    """Make `backward_op` ("…_backward", of the namespace `tetragan`) refuse to be differentiated, with a clear message,
    and return the function that calls it.

    For ops whose gradient exists once: without this PyTorch would only warn and treat the gradient as a constant.
    """

    def refuse(context, *gradients):
        raise RuntimeError(f"{op}(): expected to be differentiated once, got a second derivative; it has none")

    torch.library.register_autograd(f"tetragan::{backward_op}", refuse)

    def call(*inputs):
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return getattr(torch.ops.tetragan, backward_op)(*inputs)
        return _below_autograd(backward_op, inputs)

    return call


def _below_autograd(op: str, inputs: tuple) -> Any:
    """The op's kernel (or its fake), with nothing recorded."""
    with torch._C._AutoDispatchBelowAutograd():
        return getattr(torch.ops.tetragan, op)(*inputs)


def refuse_atomics_when_deterministic(op: str, device: torch.device) -> None:
    """Raise (or warn, with `warn_only`) if this op's CUDA backward, which adds with atomics, is not allowed to run."""
    if device.type != "cuda" or not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        f"{op}(): expected torch.use_deterministic_algorithms(False) for the backward on CUDA, which adds with atomics;"
        " the CPU kernel is repeatable"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=2)
