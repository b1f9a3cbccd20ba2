"""The kernel build: what is compiled again, what is said when a compile fails, and what a wheel holds."""

import os
import runpy
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import setuptools

from torch_utils import build

ROOT = Path(__file__).parent.parent.parent
HEADER = "#pragma once\ninline int answer() { return 42; }\n"
GOOD = '#include "good/good.h"\nextern "C" int good() { return answer(); }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one op and no torch headers: compiles in no time."""
    folder = tmp_path / "torch_utils" / "csrc"
    (folder / "good").mkdir(parents=True)
    (folder / "good" / "good.h").write_text(HEADER)
    (folder / "good" / "good_cpu.cpp").write_text(GOOD)
    monkeypatch.setattr(build, "SOURCES", folder)
    monkeypatch.setattr(build, "PACKAGE", folder.parent)
    return folder


def test_only_what_changed_is_compiled_again(sources: Path, tmp_path: Path) -> None:
    library, failures = build.build_cpu(tmp_path / "lib")
    assert library.exists()
    assert not failures
    compiled = tmp_path / "lib" / "objects" / "good_cpu.o"
    first, linked = compiled.stat().st_mtime_ns, library.stat().st_mtime_ns
    build.build_cpu(tmp_path / "lib")
    assert (compiled.stat().st_mtime_ns, library.stat().st_mtime_ns) == (first, linked)
    time.sleep(0.01)
    (sources / "good" / "good.h").write_text(HEADER.replace("42", "43"))
    build.build_cpu(tmp_path / "lib")
    assert compiled.stat().st_mtime_ns > first
    assert library.stat().st_mtime_ns > linked


def test_a_failed_compile_names_the_source_and_the_compilers_words(sources: Path, tmp_path: Path) -> None:
    (sources / "bad").mkdir()
    (sources / "bad" / "bad_cpu.cpp").write_text("int broken( {\n")
    with pytest.raises(build.BuildError, match=r"(?s)did not compile.*csrc/bad/bad_cpu.cpp.*error"):
        build.build_cpu(tmp_path / "lib")
    library, failures = build.build_cpu(tmp_path / "lib", keep_going=True)
    assert library.exists()
    assert len(failures) == 1
    assert "bad_cpu.cpp" in failures[0]


def test_keep_going_uses_the_last_good_object(sources: Path, tmp_path: Path) -> None:
    build.build_cpu(tmp_path / "lib")
    (sources / "good" / "good_cpu.cpp").write_text("int broken( {\n")
    library, failures = build.build_cpu(tmp_path / "lib", keep_going=True)
    assert len(failures) == 1
    assert b"good" in library.read_bytes()


def test_simd_sources_are_compiled_for_each_instruction_set(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "good" / "good_simd.cpp").write_text("// build-flags: -ffp-contract=fast\nint x;\n")
    monkeypatch.setattr(build, "_has_simd_variants", lambda: True)
    commands = {unit.object.name: unit.command for unit in build.cpu_units(Path("objects"))}
    assert set(commands) == {f"good_{name}.o" for name in ("cpu", "simd_baseline", "simd_avx2", "simd_avx512")}
    assert "-DTETRAGAN_ISA=avx512" in commands["good_simd_avx512.o"]
    assert "-mavx512f" in commands["good_simd_avx512.o"]
    assert not any(flag.startswith("-mavx") for flag in commands["good_simd_baseline.o"])
    assert commands["good_simd_avx2.o"].index("-ffp-contract=fast") > commands["good_simd_avx2.o"].index(
        build.CONTRACTION
    )
    monkeypatch.setattr(build, "_has_simd_variants", lambda: False)
    assert {u.object.name for u in build.cpu_units(Path("objects"))} == {"good_cpu.o", "good_simd_baseline.o"}


def test_no_compiler_and_no_nvcc_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler found: install g\+\+"):
        build.host_compiler()
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    with pytest.raises(build.BuildError, match="nvcc not found"):
        build.build_cuda()


def test_the_architectures_of_the_cuda_library_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAGAN_CUDA_ARCHITECTURES", "")
    assert build.cuda_architectures() == build.CUDA_ARCHITECTURES
    monkeypatch.setenv("TETRAGAN_CUDA_ARCHITECTURES", "120, 75")
    assert build.cuda_architectures() == ("75", "120")
    monkeypatch.setenv("TETRAGAN_CUDA_ARCHITECTURES", "sm_90")
    with pytest.raises(
        build.BuildError, match=r"^TETRAGAN_CUDA_ARCHITECTURES: expected numbers such as 75,90, got sm_90$"
    ):
        build.cuda_architectures()


def test_a_wheel_has_every_file_of_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    runpy.run_path(str(ROOT / "setup.py"))
    patterns = [(name, [*given["package_data"].get(name, ()), "*.py"]) for name in given["packages"]]
    packed = {path for name, globs in patterns for glob in globs for path in (ROOT / name.replace(".", "/")).glob(glob)}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {name for name in given["packages"] if "." not in name}
    tracked = {ROOT / name for name in listed.splitlines() if name.split("/")[0] in folders}
    assert len(tracked) > 500 and not tracked - packed
