"""The CPU kernels compile for plain x86-64 and for aarch64, wherever a compiler for them is at hand."""

import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from torch_utils import build

# Machine, its compilers, flags that forbid everything but its oldest instructions.
TARGETS = {
    "x86_64": (("x86_64-linux-gnu-g++", "g++"), ("-march=x86-64", "-mtune=generic")),
    "aarch64": (("aarch64-linux-gnu-g++", "g++"), ("-march=armv8-a",)),
}


@pytest.mark.parametrize("machine", TARGETS)
def test_every_cpu_kernel_compiles(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names, flags = TARGETS[machine]
    cross, native = names
    compiler = native if platform.machine() == machine else cross
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here: the kernels are not compiled for {machine}")
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(build, "_has_simd_variants", lambda: False)
    units = build.cpu_units(Path("unused"))
    assert {unit.source for unit in units} >= set(build.SOURCES.glob("*/*_cpu.cpp"))

    def words_of(unit: build.Unit) -> str:
        command = [*unit.command, *flags, "-O0", "-fsyntax-only"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"{unit.source.name}: {done.stderr}"

    # The usual build is for plain x86-64 already, but for the vectorized sources.
    if machine == platform.machine():
        units = [unit for unit in units if unit.source.name.endswith("_simd.cpp")]
    with ThreadPoolExecutor(2) as pool:
        failures = [words for words in pool.map(words_of, units) if words]
    assert not failures, "\n".join(failures)
