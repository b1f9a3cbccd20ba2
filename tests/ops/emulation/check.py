"""Holds the emulated kernels against the CPU kernels: `python -m tests.ops.emulation.check [LIBRARY] [--op OP]`.

Exit status 1 and one line that says where they differ. `--sanitizer address` and `--sanitizer thread` build a library
with run-time checks first. `mutants.py` and `make sanitize` run this in processes of their own.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tests.compare import assert_close, assert_gradient_close
from tests.ops.emulation.awkward import INPUTS
from tests.ops.emulation.inputs import Input
from tests.ops.emulation.library import ORDERS, SANITIZERS, Emulation, build_library, preloaded
from torch_utils.ops.loading import use_mode

# Ops of which CUDA computes the same bits as the CPU in float32 (the others add in another order or contract).
BITWISE = (
    "rasterize", "interpolate", "face_neighbors", "antialias", "texture", "marching_tets", "chamfer", "lfd_distance",
    "connect_components", "silhouettes",
)  # fmt: skip
TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-10, torch.bfloat16: 2e-2}
GRADIENT_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 3e-2}


def compare(
    op: str,
    label: str,
    actual: Sequence[tuple[str, Tensor]],
    expected: Sequence[tuple[str, Tensor]],
    share: float = 0.0,
    bitwise: Sequence[str] = BITWISE,
) -> None:
    """AssertionError unless the results agree: outputs bit for bit or within a tolerance, gradients within one.

    share: of an output's values that may differ. bitwise: the ops whose float32 outputs must have the same bits.
    """
    assert [name for name, _ in actual] == [name for name, _ in expected], label
    for (name, a), (_, e) in zip(actual, expected, strict=True):
        where = f"{op}: {label}: {name}"
        assert a.shape == e.shape, f"{where}: shape {list(a.shape)}, expected {list(e.shape)}"
        assert torch.equal(a.isnan(), e.isnan()), f"{where}: not a number elsewhere than expected"
        a, e = a.nan_to_num(nan=0.0, posinf=1e30, neginf=-1e30), e.nan_to_num(nan=0.0, posinf=1e30, neginf=-1e30)
        if name.startswith("gradient"):
            assert_gradient_close(a, e, GRADIENT_TOLERANCES[e.dtype], name=where)
        elif (e.dtype == torch.float32 and op in bitwise) or not e.dtype.is_floating_point:
            assert_close(a, e, 0.0, name=where, allowed_share=share)
        else:
            assert_close(a, e, TOLERANCES[e.dtype], name=where, allowed_share=share)


def check(emulation: Emulation, op: str, inputs: Iterable[Input], orders: Iterable[str], seed: int = 1) -> int:
    """Compare every input in every order; the number of inputs."""
    count = 0
    with use_mode("require"):
        for one in inputs:
            expected = one.run()
            for order in orders:
                with emulation.running(order, seed):
                    actual = one.run()
                compare(op, f"{one.label}, {order}", actual, expected)
            count += 1
    return count


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Hold the emulated kernels against the CPU kernels.")
    parser.add_argument("library", type=Path, nargs="?")
    parser.add_argument("--sanitizer", choices=SANITIZERS)
    parser.add_argument("--op", action="append", choices=sorted(INPUTS))
    parser.add_argument("--order", action="append", choices=list(ORDERS))
    parser.add_argument("--first", type=int, help="only so many inputs of each op")
    options = parser.parse_args()
    if options.sanitizer:  # its run-time library must come first in the process
        library = build_library(options.sanitizer, only=options.op or ())
        rest = [word for word in sys.argv[1:] if word not in ("--sanitizer", options.sanitizer)]
        command = [sys.executable, "-m", "tests.ops.emulation.check", str(library), *rest]
        return subprocess.run(command, check=False, env=preloaded(options.sanitizer)).returncode
    torch.set_num_threads(1)
    emulation = Emulation(options.library or build_library())
    for op in options.op or sorted(INPUTS):
        try:
            inputs = itertools.islice(INPUTS[op](), options.first)
            count = check(emulation, op, inputs, options.order or list(ORDERS))
        except (AssertionError, RuntimeError) as error:
            sys.stdout.write(f"DIFFERENT {str(error).splitlines()[0]}\n")
            return 1
        sys.stdout.write(f"{op}: {count} inputs agree\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
