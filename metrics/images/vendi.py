"""The Vendi score: how many different images a set effectively holds."""

import torch
from torch import Tensor
from torch.nn import functional


def vendi_score(features: Tensor) -> float:
    """Effective number of different items of features [N, D], from 1 (all alike) to N (nothing in common).

    The exponential of the entropy of the eigenvalues of K / N, where K holds the cosines of all pairs. It grows with N,
    so only sets of equal size compare. In float64. Source: Friedman and Dieng 2023, eq. 1.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(f"vendi_score(): expected features [N, D] with N > 0, got {list(features.shape)}")
    unit = functional.normalize(features.double(), dim=1)
    # Both products have the same eigenvalues above zero.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    shares = torch.linalg.eigvalsh(gram).clamp(min=0)
    return float(torch.special.entr(shares / shares.sum().clamp_min(1e-300)).sum().exp())
