"""Comparisons that say what is wrong: the worst value, its index and the share of values that are off."""

import hashlib

import torch
from torch import Tensor, nn


def assert_close(
    actual: Tensor, expected: Tensor, tolerance: float, *, name: str = "value", allowed_share: float = 0.0
) -> None:
    """|actual − expected| ≤ tolerance·(1 + |expected|) everywhere, but for at most `allowed_share` of the values.

    The share is for values at edges, where rounding may choose the other triangle.
    """
    assert actual.shape == expected.shape, f"{name}: expected shape {list(expected.shape)}, got {list(actual.shape)}"
    assert actual.dtype == expected.dtype, f"{name}: expected {expected.dtype}, got {actual.dtype}"
    if actual.numel() == 0:
        return
    a, e = actual.detach().double(), expected.detach().double()
    error = (a - e).abs() / (1 + e.abs())
    error = torch.where(a == e, torch.zeros_like(error), error).nan_to_num(nan=torch.inf)
    wrong = error > tolerance
    share = wrong.double().mean().item()
    if share <= allowed_share:
        return
    worst = int(error.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), error.shape))
    raise AssertionError(
        f"{name}: {int(wrong.sum())} of {error.numel()} values differ (allowed {allowed_share:.2%}); worst at {index}:"
        f" got {a.flatten()[worst]:.9g}, expected {e.flatten()[worst]:.9g},"
        f" relative error {error.max():.3g} > {tolerance:g}"
    )


def assert_gradient_close(
    actual: Tensor | None, expected: Tensor, tolerance: float, *, name: str = "gradient", allowed_share: float = 0.0
) -> None:
    """As `assert_close`, relative to the gradient's own size, and their ratio |actual| / |expected| must be about 1.

    The ratio catches a backward that returns zeros, or a fraction, of a gradient too small for the tolerance to see.
    """
    assert actual is not None, f"{name}: got None, expected a gradient"
    size = expected.detach().double().abs().max().item() if expected.numel() else 0.0
    if size == 0:
        assert_close(actual, expected, tolerance, name=name)
        return
    ratio = (actual.detach().double().norm() / expected.detach().double().norm()).item()
    assert abs(ratio - 1) < max(0.02, 10 * tolerance), f"{name}: its norm is {ratio:.4g} of what was expected"
    assert_close(
        actual / size, expected / size, tolerance, name=f"{name} (in units of {size:.4g})", allowed_share=allowed_share
    )


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over the names and bytes of all tensors of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
