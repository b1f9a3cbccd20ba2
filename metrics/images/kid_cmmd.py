"""KID and CMMD, the kernel distances of two sets of features, in float64."""

import torch
from torch import Tensor

# Kernel width of CMMD and its scale in print (Jayasumana et al. 2024).
CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0


def polynomial_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of features [N, D] and [M, D] with the kernel (x·y / D + 1)³ (Bińkowski et al. 2018)."""
    _check(x, y)
    x, y = x.double(), y.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / x.shape[1] + 1) ** 3

    n, m = x.shape[0], y.shape[0]
    xx, yy = kernel(x, x), kernel(y, y)
    inside_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    inside_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(inside_x + inside_y - 2 * kernel(x, y).mean())


def kernel_distance(
    x: Tensor, y: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """KID, as mean and standard deviation of polynomial_mmd over `subsets` random subsets.

    size: features of each set in a subset, at most those of the smaller set. If it is the size of both sets, the only
    subset is everything and the standard deviation is zero.
    """
    _check(x, y)
    size = min(size, x.shape[0], y.shape[0])
    if size == x.shape[0] == y.shape[0]:
        return polynomial_mmd(x, y), 0.0
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor(
        [
            polynomial_mmd(
                x[torch.randperm(x.shape[0], generator=generator)[:size]],
                y[torch.randperm(y.shape[0], generator=generator)[:size]],
            )
            for _ in range(subsets)
        ],
        dtype=torch.float64,
    )
    return float(values.mean()), float(values.std())


def clip_mmd(x: Tensor, y: Tensor) -> float:
    """CMMD: biased squared MMD of unit-norm features with the kernel exp(−|a − b|² / (2 σ²)), σ = 10, times 1,000."""
    _check(x, y)
    x = torch.nn.functional.normalize(x.double(), dim=1)
    y = torch.nn.functional.normalize(y.double(), dim=1)
    gamma = 1 / (2 * CMMD_SIGMA**2)

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for part in a.split(1024):
            squared = part.square().sum(1)[:, None] + b.square().sum(1) - 2 * part @ b.T
            total += torch.exp(-gamma * squared).sum()
        return total / (a.shape[0] * b.shape[0])

    return CMMD_SCALE * float(mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(x.shape[0], y.shape[0]) < 2:
        raise ValueError(
            f"kernel distance: expected features [N, D] and [M, D] with N, M >= 2, got {list(x.shape)}, {list(y.shape)}"
        )
