"""`modulated_conv2d` against its definition: a weight of its own for each sample."""

import pytest
import torch

from tests.compare import assert_close, assert_gradient_close
from torch_utils.ops.modulated_conv2d import modulated_conv2d, modulated_conv2d_reference

FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def inputs(batch: int = 3, width: int = 7, dtype: torch.dtype = torch.float64, kernel: int = 3) -> dict:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    x = normal(batch, 5, 6, width).contiguous(memory_format=torch.channels_last)
    return {"x": x, "weight": normal(4, 5, kernel, kernel), "styles": normal(batch, 5), "bias": normal(4)}


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize(
    ("up", "kernel", "padding"), [(1, 3, 1), (1, 1, 0), (2, 3, 1), (2, 1, 0), (3, 3, 1), (1, 3, 0)]
)
@pytest.mark.parametrize("width", [1, 7, 17])
def test_equals_the_definition(width: int, up: int, kernel: int, padding: int, demodulate: bool) -> None:
    if width + 2 * padding < kernel:
        width = kernel
    options = {"demodulate": demodulate, "up": up, "padding": padding, "filter": FILTER.double() if up > 1 else None}
    results = []
    for function in (modulated_conv2d, modulated_conv2d_reference):
        leaves = {name: value.clone().requires_grad_() for name, value in inputs(width=width, kernel=kernel).items()}
        y = function(**leaves, activation="lrelu", **options)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
        results.append((y, torch.autograd.grad((y * weights).sum(), list(leaves.values()))))
    assert results[0][0].shape[2:] == (6 * up + 2 * padding - kernel + 1, width * up + 2 * padding - kernel + 1)
    assert_close(results[0][0], results[1][0], 1e-10)
    for name, a, e in zip(leaves, results[0][1], results[1][1], strict=True):
        assert_gradient_close(a, e, 1e-9, name=name)


@pytest.mark.parametrize("up", [1, 2])
def test_gradients_of_both_orders(up: int) -> None:
    leaves = [value.clone().requires_grad_() for value in inputs(batch=2, width=3).values()]

    def function(x, weight, styles, bias):
        return modulated_conv2d(
            x, weight, styles, bias=bias, up=up, filter=FILTER.double(), padding=1, activation="lrelu"
        )

    assert torch.autograd.gradcheck(function, leaves, atol=1e-5, rtol=1e-3)
    assert torch.autograd.gradgradcheck(function, leaves, atol=1e-4, rtol=1e-3)


def test_demodulated_output_has_the_variance_of_its_input() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(4, 32, 32, 32, generator=generator), torch.randn(16, 32, 3, 3, generator=generator)
    styles = 3 * torch.rand(4, 32, generator=generator)
    y = modulated_conv2d(x, weight, styles, padding=0)
    assert y.std((2, 3)).mean().item() == pytest.approx(1, rel=0.05)
    assert modulated_conv2d(x, weight, styles, demodulate=False).std().item() > 10


def test_bfloat16_and_an_empty_batch() -> None:
    values = inputs(dtype=torch.float32)
    expected = modulated_conv2d(**values, padding=1)
    half = modulated_conv2d(**{**values, "x": values["x"].bfloat16()}, padding=1)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), expected, 3e-2)
    assert modulated_conv2d(**inputs(batch=0), up=2, filter=FILTER, padding=1).shape == (0, 4, 12, 14)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"styles": torch.zeros(3, 4, dtype=torch.float64)}, "expected styles of shape [3, 5], got [3, 4]"),
        ({"weight": torch.zeros(4, 6, 3, 3, dtype=torch.float64)}, "expected weight of shape [C_out, 5, k, k]"),
        ({"weight": torch.zeros(4, 5, 3, 1, dtype=torch.float64)}, "expected a square kernel, got [3, 1]"),
        ({"up": 2}, "expected a filter [T] with T of at least up = 2, got None"),
        ({"up": 0}, "expected up to be an integer of at least 1, got 0"),
        ({"padding": -1}, "expected padding to be an integer of at least 0, got -1"),
    ],
)
def test_error_text(changes: dict, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        modulated_conv2d(**{**inputs(), **changes})
    assert text in str(caught.value).replace("'", "")
    assert str(caught.value).startswith("modulated_conv2d(): expected")
