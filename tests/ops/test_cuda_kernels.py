"""The CUDA kernels on a card: every op, forward and backward, against the CPU kernels.

Without a card, `test_emulation.py` runs them.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.ops.case import Case
from tests.ops.emulation.awkward import INPUTS
from tests.ops.emulation.check import BITWISE, compare
from tests.ops.emulation.inputs import Input
from tests.ops.test_emulation import EMULATED_CASES
from torch_utils.ops.loading import use_mode

# Arguments that stay on the CPU, whatever the device.
ON_HOST = {"face_offsets", "point_offsets", "offsets"}
# A card rounds logarithms in its own way, so the level of detail of `texture` may differ in the last bit.
EXACT = tuple(op for op in BITWISE if op != "texture")


def results_on(one: Input, device: str) -> list[tuple[str, Tensor]]:
    """What the op gives on a device, brought back to the CPU."""
    arguments = {
        name: value.to(device) if isinstance(value, Tensor) and name not in ON_HOST else value
        for name, value in one.arguments.items()
    }
    with use_mode("require"):
        return [(name, value.cpu()) for name, value in replace(one, arguments=arguments).run()]


def inputs_of(case: Case, dtype: torch.dtype) -> list[Input]:
    """The generic tests' arguments of an op."""
    return [Input(f"width {w}", case.function, case.make(3, w, dtype), case.gradients) for w in (1, 17, 130)]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in EMULATED_CASES])
def test_kernels_agree(case: Case, dtype: torch.dtype) -> None:
    for one in inputs_of(case, dtype):
        compare(case.name, one.label, results_on(one, "cuda"), results_on(one, "cpu"), case.edge_share, EXACT)


@pytest.mark.cuda
@pytest.mark.parametrize("op", sorted(INPUTS))
def test_awkward_inputs(op: str) -> None:
    for one in INPUTS[op]():
        compare(op, one.label, results_on(one, "cuda"), results_on(one, "cpu"), bitwise=EXACT)


def test_the_comparison_sees_a_difference() -> None:
    case = next(case for case in EMULATED_CASES if case.name == "triplane_sample")
    (one, *_) = inputs_of(case, torch.float32)
    expected = results_on(one, "cpu")
    compare(case.name, one.label, results_on(one, "cpu"), expected)
    for k in range(len(expected)):
        changed = [(name, value + (0.01 if n == k else 0)) for n, (name, value) in enumerate(expected)]
        with pytest.raises(AssertionError, match=expected[k][0]):
            compare(case.name, one.label, changed, expected)
