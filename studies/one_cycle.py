"""Training of the studies' small networks: AdamW whose learning rate rises and falls once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torch_utils.progress import progress_bar


def train_one_cycle(
    module: nn.Module,
    draw_loss: Callable[[], Tensor],
    title: str,
    steps: int,
    *,
    rate: float,
    weight_decay: float,
    rise: float = 0.1,
    largest_norm: float | None = None,
    after: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train a module on `steps` minibatches, and leave it in evaluation mode. Returns the losses.

    draw_loss: the loss of the next minibatch. title: of the progress bar. rate: the highest learning rate, which is
    reached after a share `rise` of the steps. largest_norm: at which gradients are clipped. after: called after each
    step.
    """
    optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=rise)
    losses = []
    module.train()
    with progress_bar(title, steps) as advance:
        for step in range(steps):
            loss = draw_loss()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if largest_norm is not None:
                nn.utils.clip_grad_norm_(module.parameters(), largest_norm)
            optimizer.step()
            schedule.step()
            after(step)
            losses.append(loss.item())
            advance()
    module.eval()
    return losses
