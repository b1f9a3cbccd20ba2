"""The tests that every op must pass (cases.py)."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.compare import assert_close, assert_gradient_close
from tests.ops.case import Arguments, Case, outputs_of
from tests.ops.cases import CASES

pytestmark = pytest.mark.usefixtures("kernels_required")
WIDTHS = (1, 7, 17, 33)
GRADIENT_CASES = [case for case in CASES if case.gradients]


def named(cases: list[Case]) -> list:
    return [pytest.param(case, id=case.name) for case in cases]


def run(function, case: Case, arguments: Arguments) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and the gradients of a fixed random projection of them."""
    arguments = copy.copy(arguments)
    leaves = [arguments[name].detach().clone().requires_grad_() for name in case.gradients]
    arguments.update(zip(case.gradients, leaves, strict=True))
    outputs = outputs_of(function(**arguments))
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in outputs]
    terms = [(x * w).sum() for x, w in zip(outputs, weights, strict=True) if x.requires_grad]
    if not terms:
        return outputs, []
    gradients = torch.autograd.grad(torch.stack(terms).sum(), leaves, allow_unused=True)
    zeros = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=True)]
    return outputs, zeros


def of_leaves(case: Case, arguments: Arguments) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """The op as a function of the arguments that get a gradient alone, and these arguments."""

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        changed = {**arguments, **dict(zip(case.gradients, leaves, strict=True))}
        return tuple(x for x in outputs_of(case.function(**changed)) if x.requires_grad)

    return function, tuple(arguments[name].clone().requires_grad_() for name in case.gradients)


def compare(case: Case, actual: tuple, expected: tuple, tolerance: float, share: float) -> None:
    assert len(actual[0]) == len(expected[0])
    for k, (a, e) in enumerate(zip(actual[0], expected[0], strict=True)):
        assert_close(a, e, tolerance, name=f"{case.name} output {k}", allowed_share=share)
    assert len(actual[1]) == len(expected[1])
    for name, a, e in zip(case.gradients, actual[1], expected[1], strict=False):
        assert_gradient_close(a, e, tolerance, name=f"{case.name} gradient of {name}", allowed_share=share)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", named(CASES))
def test_forward_and_gradient_match_the_reference(case: Case, width: int, dtype: torch.dtype, threads: int) -> None:
    torch.set_num_threads(threads)
    arguments = case.make(3, width, dtype)
    compare(
        case,
        run(case.function, case, arguments),
        run(case.reference, case, arguments),
        case.tolerance[dtype],
        case.edge_share,
    )


@pytest.mark.parametrize("case", named(GRADIENT_CASES))
def test_gradcheck(case: Case) -> None:
    arguments = case.make(*case.gradcheck_size, torch.float64)
    function, leaves = of_leaves(case, arguments)
    assert torch.autograd.gradcheck(function, leaves, eps=1e-7, atol=1e-5, rtol=1e-3, nondet_tol=0.0)


@pytest.mark.parametrize("case", named(GRADIENT_CASES))
def test_second_derivative_or_refusal(case: Case) -> None:
    arguments = case.make(*case.gradcheck_size, torch.float64)
    function, leaves = of_leaves(case, arguments)
    if case.twice_differentiable:
        assert torch.autograd.gradgradcheck(function, leaves, eps=1e-6, atol=1e-4, rtol=1e-3)
        return
    total = sum((x * x).sum() for x in function(*leaves))
    gradients = torch.autograd.grad(total, leaves, create_graph=True)
    with pytest.raises(RuntimeError, match=rf"{case.name}\(\): expected to be differentiated once"):
        torch.autograd.grad(sum(g.sum() for g in gradients), leaves)


@pytest.mark.parametrize("case", named(CASES))
def test_opcheck(case: Case) -> None:
    arguments = case.make(2, 5, torch.float32)
    arguments.update({name: arguments[name].clone().requires_grad_() for name in case.gradients})
    pairs = case.overloads(arguments)
    assert pairs, "expected at least one overload"
    for overload, positional in pairs:
        torch.library.opcheck(overload, positional)


@pytest.mark.parametrize("case", named([case for case in CASES if case.empty_batch]))
def test_empty_batch(case: Case) -> None:
    arguments = case.make(0, 5, torch.float32)
    outputs, gradients = run(case.function, case, arguments)
    for actual, expected in zip(outputs, outputs_of(case.reference(**arguments)), strict=True):
        assert actual.shape == expected.shape
    for name, gradient in zip(case.gradients, gradients, strict=False):
        assert gradient.shape == arguments[name].shape
        assert not gradient.any()


@pytest.mark.parametrize("case", named(CASES))
def test_non_contiguous_input(case: Case) -> None:
    arguments = case.make(2, 7, torch.float32)
    spread = {
        name: torch.stack([value, torch.zeros_like(value)], -1)[..., 0]
        if isinstance(value, Tensor) and value.dim() > 1
        else value
        for name, value in arguments.items()
    }
    assert any(isinstance(value, Tensor) and not value.is_contiguous() for value in spread.values())
    expected = run(case.function, case, arguments)
    # `run` makes leaves by clone(), which keeps the strides of dense tensors only: hand the views in as they are.
    for a, e in zip(outputs_of(case.function(**spread)), expected[0], strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", named([case for case in CASES if case.half]))
def test_half_precision_input(case: Case, dtype: torch.dtype) -> None:
    arguments = case.make(2, 7, torch.float32)
    rounded = {**arguments, **{name: arguments[name].to(dtype) for name in case.half}}
    widened = {**rounded, **{name: rounded[name].float() for name in case.half}}
    for a, e in zip(outputs_of(case.function(**rounded)), outputs_of(case.function(**widened)), strict=True):
        assert_close(a.float(), e.float(), case.half_tolerance, name=case.name)


@pytest.mark.parametrize("case", named(CASES))
def test_bitwise_repeatable_for_any_number_of_threads(case: Case) -> None:
    arguments = case.make(3, 17, torch.float32)
    results = []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        outputs, gradients = run(case.function, case, arguments)
        results.append([*outputs, *gradients])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("case", "bad"), [pytest.param(c, b, id=f"{c.name}-{b.label}") for c in CASES for b in c.bad_inputs]
)
def test_error_text(case: Case, bad) -> None:
    arguments = case.make(2, 5, torch.float64)
    case.function(**arguments)
    bad.change(arguments)
    with pytest.raises(bad.error) as caught:
        case.function(**arguments)
    assert bad.text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", named(CASES))
def test_mixed_devices_are_refused(case: Case) -> None:
    arguments = case.make(2, 5, torch.float32)
    tensors = [name for name, value in arguments.items() if isinstance(value, Tensor)]
    if len(tensors) == 1:
        return
    for name in tensors:
        with pytest.raises(ValueError, match=r"\(\): expected \S+ on (cpu|meta), got (cpu|meta)$"):
            case.function(**{**arguments, name: arguments[name].to("meta")})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("case", named(CASES))
def test_numbers_that_are_not_finite_stay_where_they_belong(case: Case, value: float) -> None:
    """Neither a crash nor a wrong number elsewhere: what the reference keeps finite is finite and the same."""
    arguments = case.make(2, 5, torch.float32)
    for name, tensor in arguments.items():
        # A filter is a constant of the network; the reference multiplies it with the inserted zeros, too.
        if name == "filter" or not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
            continue
        broken = tensor.clone()
        broken[(0,) * broken.dim()] = value
        actual, _ = run(case.function, case, {**arguments, name: broken})
        expected, _ = run(case.reference, case, {**arguments, name: broken})
        for k, (a, e) in enumerate(zip(actual, expected, strict=True)):
            where = f"{case.name} output {k}, {name} {value}"
            kept = e.isfinite()
            assert a[kept].isfinite().all(), where
            assert_close(a[kept], e[kept], 1e-4, name=where, allowed_share=case.edge_share)
