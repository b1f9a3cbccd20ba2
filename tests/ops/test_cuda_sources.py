"""The CUDA kernels without a GPU: nvcc compiles them, and an emulation on the CPU runs them against the CPU kernels.

The emulation runs the threads of a launch one after another, which is right for kernels without barriers and warp
intrinsics; it checks the indexing, the launches and the bindings, not the speed.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.compare import assert_close, assert_gradient_close
from tests.ops.case import Case, outputs_of
from tests.ops.cases_networks import NETWORK_CASES
from tests.ops.cases_raster import RASTER_CASES, triangle_soup
from torch_utils import build
from torch_utils.ops.loading import use_mode
from torch_utils.ops.rasterize import rasterize

EMULATION = Path(__file__).parent / "emulation"
# Ops whose kernels have neither barriers nor warp intrinsics.
EMULATED = (
    "rasterize", "interpolate", "face_neighbors", "antialias", "texture", "bias_act", "upfirdn2d", "triplane_sample",
)  # fmt: skip
# Ops that have no CUDA kernel, by design (docs/ops.md).
IN_PYTORCH = {
    "point_mlp", "point_mlp_backward", "lattice_mlp", "silhouettes", "lfd_descriptor", "connect_components",
    "midpoints_near_surface", "subdivided_tets_topology", "collapse_edges",
}  # fmt: skip
CASES = [*RASTER_CASES, *(case for case in NETWORK_CASES if case.name in EMULATED)]
LAUNCH = re.compile(r"(\w+(?:<[^<>;]*>)?)<<<([^;]*?), kBlock, 0, stream>>>(\([^;]*\));")
ON_DEVICE = """#pragma once
#include "cuda_runtime.h"
#include "common/cpu.h"
namespace tetragan {
struct OnDevice {
  cudaStream_t stream = nullptr;
  explicit OnDevice(const Tensor&) {}
};
inline void check_launch(const char*) {}
}
"""


def test_nvcc_compiles_every_kernel() -> None:
    nvcc = build.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc here: the CUDA kernels are not compiled")
    units = [unit for unit in build.cuda_units(build.LIBRARIES / "objects", nvcc) if unit.source.suffix == ".cu"]
    assert {unit.op for unit in units} >= set(EMULATED)
    objects, failures = build.compile_all(units, keep_going=False)
    assert not failures
    assert len(objects) == len(units)
    for unit in units:
        binary = unit.object.read_bytes()
        assert all(f"sm_{architecture}".encode() in binary for architecture in build.CUDA_ARCHITECTURES)


def test_the_cuda_library_loads_and_has_every_kernel(tmp_path: Path) -> None:
    """Also beside a CPU torch: it must need nothing of libtorch_cuda, whose symbols it would not see anyway."""
    if build.find_nvcc() is None:
        pytest.skip("no nvcc here: the CUDA library is not linked")
    library = build.build_cuda(tmp_path, objects=build.LIBRARIES / "objects")
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


def _emulated_source(op: str, folder: Path) -> list[Path]:
    """The op's .cu as C++, and its binding for namespace tetragan_emulated on the CPU."""
    source = (build.SOURCES / op / f"{op}_cuda.cu").read_text()
    kernel, launches = LAUNCH.subn(r"TETRAGAN_LAUNCH((\2), kBlock, \1\3);", source)
    assert launches > 0
    assert "<<<" not in kernel
    assert not re.search(r"__sync|__shfl|__ballot|__shared__", kernel), f"{op}: the emulation cannot run this kernel"
    binding = (build.SOURCES / op / f"{op}_cuda_binding.cpp").read_text()
    binding = binding.replace('"common/cuda.h"', '"on_device.h"').replace(
        "STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA, m)", "STABLE_TORCH_LIBRARY_IMPL(tetragan_emulated, CPU, m)"
    )
    sources = [folder / f"{op}_kernel.cpp", folder / f"{op}_binding.cpp"]
    for path, text in zip(sources, (kernel, binding), strict=True):
        path.write_text(text)
    return sources


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Build and load the emulation; `torch.ops.tetragan_emulated` has the ops of `torch.ops.tetragan`."""
    folder = tmp_path_factory.mktemp("emulation")
    (folder / "on_device.h").write_text(ON_DEVICE)
    includes = build.torch_paths()[0]
    compiler = [*build.host_compiler().split(), "-std=c++17", "-O0", "-fPIC", "-ffp-contract=off", build.STABLE_ABI]
    compiler += [f"-I{folder}", f"-I{EMULATION}", f"-I{build.SOURCES}", *includes]
    sources = [source for op in EMULATED for source in _emulated_source(op, folder)]

    def compile_one(source: Path) -> Path:
        target = source.with_suffix(".o")
        command = [*compiler, "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / "libemulated.so"
    build.link(objects, library)
    definitions = torch.library.Library("tetragan_emulated", "DEF")
    for op in EMULATED:
        for name in (op, f"{op}_backward"):
            if hasattr(torch.ops.tetragan, name):
                definitions.define(str(getattr(torch.ops.tetragan, name).default._schema).removeprefix("tetragan::"))
    torch.ops.load_library(library)
    for op in EMULATED:
        module = importlib.import_module(f"torch_utils.ops.{op}")
        if hasattr(module, "_backward"):
            name = f"tetragan_emulated::{op}"
            torch.library.register_autograd(
                name, module._backward, setup_context=module._setup_context, lib=definitions
            )
    yield
    definitions._destroy()


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_emulated_kernels_match_the_cpu_kernels(
    emulated: None, monkeypatch: pytest.MonkeyPatch, case: Case, dtype: torch.dtype
) -> None:
    with use_mode("require"):
        expected = [_run(case, width, dtype) for width in (1, 17, 130)]
        # The ops look the namespace up at each call: hand them the emulated one.
        monkeypatch.setattr(torch.ops, "tetragan", torch.ops.tetragan_emulated)
        actual = [_run(case, width, dtype) for width in (1, 17, 130)]
    for (outputs, gradients), (their_outputs, their_gradients) in zip(actual, expected, strict=True):
        for a, e in zip(outputs, their_outputs, strict=True):
            # Forward: bit for bit, but for the depth of float64 input, which CUDA keeps in float32, and for the ops of
            # the networks, whose CPU kernels contract multiply-adds.
            exact = dtype == torch.float32 and case in RASTER_CASES
            assert_close(a, e, 0.0 if exact else 1e-5, name=f"{case.name} output")
        for name, a, e in zip(case.gradients, gradients, their_gradients, strict=True):
            assert_gradient_close(a, e, 1e-4 if dtype == torch.float32 else 1e-9, name=f"{case.name} {name}")


def test_emulated_rasterizer_clips_lists_large_triangles_and_peels(
    emulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions, faces, offsets = triangle_soup(2, 60, torch.float32, seed=7)
    positions[:30, :2] *= 6  # boxes of many thousand pixels: the listed ones
    positions[::5, 3] -= 2.2  # every fifth vertex behind the camera
    positions[7] = float("nan")

    def layers() -> list[torch.Tensor]:
        first, _ = rasterize(positions, faces, offsets, (120, 200))
        second, _ = rasterize(positions, faces, offsets, (120, 200), previous=first)
        return [first, second]

    with use_mode("require"):
        expected = layers()
        monkeypatch.setattr(torch.ops, "tetragan", torch.ops.tetragan_emulated)
        actual = layers()
    assert all((layer[..., 3] > 0).float().mean() > 0.05 for layer in expected)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, 0.0, name="layer")
