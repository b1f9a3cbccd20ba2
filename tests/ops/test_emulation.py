"""The CUDA kernels without a GPU: every op, forward and backward, lane by lane on the CPU (tests/ops/emulation).

Blocks and lanes run in reverse and in random order; shared memory and fresh tensors are poisoned. The results must be
those of the CPU kernels.
"""

import shutil
from pathlib import Path

import pytest
import torch

from tests.compare import assert_close, assert_gradient_close
from tests.ops.case import Case, outputs_of
from tests.ops.cases import CASES
from tests.ops.emulation.awkward import INPUTS
from tests.ops.emulation.check import BITWISE, check
from tests.ops.emulation.library import NAMESPACE, Emulation, build_library, emulated_folders
from tests.ops.emulation.mutants import read_mutants, verdict
from torch_utils import build
from torch_utils.ops.loading import defined_ops

pytestmark = pytest.mark.usefixtures("kernels_required")
# Ops without a CUDA kernel, by design (docs/ops.md).
ON_THE_CPU = {"midpoints_near_surface", "subdivided_tets_topology", "collapse_edges"}
EMULATED_CASES = [case for case in CASES if case.name not in ON_THE_CPU]
# Gradients that CUDA adds with atomics: their last bits depend on the order.
ATOMIC_GRADIENTS = {
    ("rasterize", "positions"), ("interpolate", "attributes"), ("antialias", "positions"), ("texture", "image"),
    ("triplane_sample", "planes"), ("edge_crossings", "sdf"), ("edge_crossings", "positions"),
    ("flexicubes_vertices", "sdf"), ("flexicubes_vertices", "positions"), ("flexicubes_vertices", "alpha"),
}  # fmt: skip
SEED = 5


@pytest.fixture(scope="session")
def emulation() -> Emulation:
    return Emulation(build_library())


def _named(cases: list[Case]) -> list:
    return [pytest.param(case, id=case.name) for case in cases]


def _run(case: Case, width: int, dtype: torch.dtype) -> tuple[list, list]:
    arguments = case.make(3, width, dtype)
    leaves = [arguments[name].clone().requires_grad_() for name in case.gradients]
    arguments.update(zip(case.gradients, leaves, strict=True))
    outputs = outputs_of(case.function(**arguments))
    if not leaves:
        return outputs, []
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in outputs]
    return outputs, list(torch.autograd.grad(outputs, leaves, weights))


def test_every_op_has_a_kernel_that_is_emulated(emulation: Emulation) -> None:
    absent = [
        op for op in defined_ops() if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{op}", "CPU")
    ]
    assert set(absent) == ON_THE_CPU
    assert set(INPUTS) <= set(emulated_folders())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", _named(EMULATED_CASES))
def test_emulated_kernels_agree(emulation: Emulation, case: Case, dtype: torch.dtype) -> None:
    """With the CPU kernels, and with themselves in another order."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    exact = dtype == torch.float32 and case.name in (*BITWISE, "marching_tets_topology", "chamfer_matrix")
    for width in (1, 17, 130):
        expected = _run(case, width, dtype)
        results = {}
        for order in ("reverse", "random"):
            with emulation.running(order, SEED):
                results[order] = _run(case, width, dtype)
        outputs, gradients = results["reverse"]
        for k, (a, e, other) in enumerate(zip(outputs, expected[0], results["random"][0], strict=True)):
            assert_close(
                a, e, 0.0 if exact else tolerance, name=f"{case.name} output {k}", allowed_share=case.edge_share
            )
            assert torch.equal(a, other), f"{case.name} output {k} depends on the order"
        for name, a, e, other in zip(case.gradients, gradients, expected[1], results["random"][1], strict=True):
            assert_gradient_close(a, e, 10 * tolerance, name=f"{case.name} gradient of {name}")
            assert_gradient_close(other, e, 10 * tolerance, name=f"{case.name} gradient of {name}, random order")
            if (case.name, name) not in ATOMIC_GRADIENTS:
                assert torch.equal(a, other), f"{case.name} gradient of {name} depends on the order"


@pytest.mark.parametrize("case", _named([case for case in EMULATED_CASES if case.empty_batch]))
def test_emulated_kernels_take_an_empty_batch(emulation: Emulation, case: Case) -> None:
    arguments = case.make(0, 5, torch.float32)
    arguments.update({name: arguments[name].clone().requires_grad_() for name in case.gradients})
    with emulation.running("forward"):
        outputs = outputs_of(case.function(**arguments))
        leaves = [arguments[name] for name in case.gradients]
        gradients = torch.autograd.grad([x.sum() for x in outputs if x.requires_grad], leaves) if leaves else []
    for actual, expected in zip(outputs, outputs_of(case.reference(**arguments)), strict=True):
        assert actual.shape == expected.shape
    for name, gradient in zip(case.gradients, gradients, strict=True):
        assert gradient.shape == arguments[name].shape
        assert not gradient.any()


@pytest.mark.parametrize("op", sorted(INPUTS))
def test_awkward_inputs(emulation: Emulation, op: str) -> None:
    """More than a block, odd sizes, broken and empty ones, in random order."""
    assert check(emulation, op, INPUTS[op](), ["random"], SEED) > 0


def test_every_seeded_mistake_still_applies(tmp_path: Path) -> None:
    """`make mutants` shows that each is seen, which takes longer than a test may."""
    mutants = read_mutants()
    assert len(mutants) >= 25
    assert {mutant.op for mutant in mutants} == set(emulated_folders())
    for mutant in mutants:
        shutil.copytree(build.SOURCES / mutant.op, tmp_path / mutant.op, dirs_exist_ok=True)
        mutant.write(tmp_path)


@pytest.mark.parametrize("name", ["minimum used before it is set", "shuffle in a branch", "planes exchanged"])
def test_a_seeded_mistake_is_seen(name: str, tmp_path: Path) -> None:
    (mutant,) = (mutant for mutant in read_mutants() if mutant.name == name)
    assert verdict(mutant, tmp_path)
