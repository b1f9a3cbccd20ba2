"""Autograd helpers shared by the ops."""

import torch


def refuse_second_derivative(backward_op: str, op: str) -> None:
    """Make `backward_op` ("tetragan::…_backward") refuse to be differentiated, with a clear message.

    For ops whose gradient exists once: without this PyTorch would only warn and treat the gradient as a constant.
    """

    def refuse(context, *gradients):
        raise RuntimeError(f"{op}(): expected to be differentiated once, got a second derivative; it has none")

    torch.library.register_autograd(backward_op, refuse)
