"""The node that the ops record themselves does what the registered one does, and compilers take the registered one."""

import pytest
import torch

from tests.ops.case import Case
from tests.ops.test_generic import GRADIENT_CASES, named, run
from torch_utils.ops.loading import use_mode


def _all_equal(actual: tuple[list, list], expected: tuple[list, list]) -> bool:
    return all(torch.equal(a, e) for of, to in zip(actual, expected, strict=True) for a, e in zip(of, to, strict=True))


@pytest.mark.parametrize("case", named(GRADIENT_CASES))
def test_own_node_equals_the_registered_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = case.make(3, 17, torch.float32)
    with use_mode("require"):
        own = run(case.function, case, arguments)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        registered = run(case.function, case, arguments)
    assert own[1], "expected gradients"
    assert _all_equal(own, registered)


@pytest.mark.parametrize("case", named(GRADIENT_CASES))
def test_compiled_op_equals_the_eager_one(case: Case) -> None:
    arguments = case.make(2, 5, torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(case.function, backend="aot_eager")
    assert _all_equal(run(compiled, case, arguments), run(case.function, case, arguments))
