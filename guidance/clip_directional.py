"""CLIP losses as functions of embeddings: directional and global (StyleGAN-NADA), adaptive layers, screened latents.

Embeddings come from `guidance.clip`: E(image) [N, D] and text [D], all of length 1. A loss has a value for each image.
Source: Gal et al. 2022 (StyleGAN-NADA: CLIP-guided domain adaptation of image generators).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

# Length of an edit in embedding space below which its direction says little.
FLOOR = 0.05


def text_direction(source: Tensor, target: Tensor) -> Tensor:
    """ΔT [D] of length 1 from embeddings [T, D] of both prompts in the same templates: the mean of the differences.

    ValueError where the two texts embed alike, since there is no direction between them.
    """
    difference = (target - source).mean(0)
    if difference.norm() < 1e-4:
        raise ValueError("text_direction(): expected two texts that embed apart, got the same")
    return normalize(difference, dim=0)


def directional_loss(images: Tensor, source_images: Tensor, direction: Tensor, floor: float = FLOOR) -> Tensor:
    """1 − cos(ΔI, ΔT) of each image [N], with ΔI = E(trained) − E(frozen) and ΔT = `direction` [D].

    images, source_images: E of what both generators make of the same latent and camera [N, D]. At the start the two are
    equal and ΔI has no direction. So its length is taken as √(‖ΔI‖² + floor²): the loss starts at 1, and its gradient
    points along ΔT with length 1/floor at most. A plain cosine would start with a gradient of 10⁷ and spoil the running
    averages of Adam. Source: Gal et al. 2022, eq. 2.
    """
    edit = images - source_images
    length = (edit.square().sum(1) + floor**2).sqrt()
    return 1 - edit @ direction / length


def global_loss(images: Tensor, text: Tensor) -> Tensor:
    """1 − cos(E(image), E(text)) of each image [N]. Alone it collapses to one image that pleases CLIP; it serves to
    rank layers and latents. Source: Gal et al. 2022, eq. 1.
    """
    return 1 - cosine_similarity(images, text[None], dim=1)


def summed_loss(losses: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Σ weight · mean(loss) over several CLIPs, whose spaces differ; weight 1 each unless given. ValueError unless
    there is a weight for each.
    """
    weights = [1.0] * len(losses) if weights is None else weights
    if len(weights) != len(losses) or not losses:
        raise ValueError(f"summed_loss(): expected a weight for each of {len(losses)} losses, got {len(weights)}")
    return torch.stack([weight * loss.mean() for weight, loss in zip(weights, losses, strict=True)]).sum()


def layer_changes(
    loss_of_codes: Callable[[Tensor], Tensor], codes: Tensor, steps: int = 1, rate: float = 0.01
) -> Tensor:
    """How far each layer's code moves when codes follow a loss: mean |Δw| [L], after `steps` of gradient descent.

    codes [N, L, D]: one w per layer, of a few samples. loss_of_codes(codes) → scalar: the global loss of their images.
    Plain descent and not Adam, whose first step is equally long everywhere. Source: Gal et al. 2022, section 4.3.
    """
    moved = codes.detach().clone()
    for _ in range(steps):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of_codes(moved), moved)
        moved = (moved - rate * gradient).detach()
    return (moved - codes.detach()).abs().mean(dim=(0, 2))


def chosen_layers(changes: Tensor, count: int) -> list[int]:
    """The `count` layers that move most, from `layer_changes` [L], in ascending order: those to train in this step.
    ValueError for a count outside 1 … L.
    """
    if not 1 <= count <= len(changes):
        raise ValueError(f"chosen_layers(): expected a count from 1 to {len(changes)}, got {count}")
    return sorted(changes.topk(count).indices.tolist())


def screened_latents(images: Tensor, text: Tensor, keep: int) -> Tensor:
    """Ids [keep] of the latents whose images fit a text best, best first.

    images [N, V, D]: E of N samples in V views; a sample counts by the mean over its views. GET3D keeps 50 of 500 (Gao
    et al. 2022, appendix). ValueError for more than N.
    """
    if not 1 <= keep <= len(images):
        raise ValueError(f"screened_latents(): expected to keep 1 to {len(images)}, got {keep}")
    fit = cosine_similarity(images, text[None, None], dim=2).mean(1)
    return fit.topk(keep).indices
