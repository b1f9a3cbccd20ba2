"""The CUDA kernels as nvcc sees them: every one compiles, and the library loads beside a CPU torch.

`test_emulation.py` runs them. Here they are compiled for the oldest cards and for those that have an instruction of
their own; `make wheel` compiles for all.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.emulation.library import emulated_folders
from torch_utils import build

# Ops that have no CUDA kernel, by design (docs/ops.md).
IN_PYTORCH = {"midpoints_near_surface", "subdivided_tets_topology", "collapse_edges"}
ARCHITECTURES = "75,90"
OBJECTS = build.PACKAGE.parent / "build" / "cuda"


@pytest.fixture(autouse=True)
def _few_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAGAN_CUDA_ARCHITECTURES", ARCHITECTURES)


def test_nvcc_compiles_every_kernel() -> None:
    nvcc = build.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc here: the CUDA kernels are not compiled")
    units = [unit for unit in build.cuda_units(OBJECTS, nvcc) if unit.source.suffix == ".cu"]
    assert {unit.op for unit in units} == set(emulated_folders())
    objects, failures = build.compile_all(units, keep_going=False)
    assert not failures
    assert len(objects) == len(units)
    for unit in units:
        binary = unit.object.read_bytes()
        assert all(f"sm_{architecture}".encode() in binary for architecture in build.cuda_architectures())


def test_the_cuda_library_loads_and_has_every_kernel(tmp_path: Path) -> None:
    """Also beside a CPU torch: it must need nothing of libtorch_cuda, whose symbols it would not see anyway."""
    if build.find_nvcc() is None:
        pytest.skip("no nvcc here: the CUDA library is not linked")
    library = build.build_cuda(tmp_path, objects=OBJECTS)
    code = (
        "import sys, torch, tetragan.doctor as c; from torch_utils.ops import loading; "
        "c._import_ops(); torch.ops.load_library(sys.argv[1]); "
        "print(*(op for op in loading.defined_ops() if not loading.has_kernel('cuda', op)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(library)],
        capture_output=True,
        text=True,
        check=False,
        cwd=build.PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == IN_PYTORCH
