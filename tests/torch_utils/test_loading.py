"""Choice between kernels and references, and what is said where a kernel is missing."""

import warnings
from pathlib import Path

import pytest
import torch

from torch_utils.ops import loading
from torch_utils.ops.checks import check_offsets
from torch_utils.ops.face_neighbors import face_neighbors

FACES = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As on a machine where nothing is built."""
    caches = (loading._load, loading._why_not, loading._warn_once)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(loading, "LIBRARIES", tmp_path)
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_the_environment_and_use_mode_set_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TETRAGAN_OPS", raising=False)
    assert loading.kernels_mode() == "auto"
    monkeypatch.setenv("TETRAGAN_OPS", "require")
    assert loading.kernels_mode() == "require"
    with loading.use_mode("reference"):
        assert loading.kernels_mode() == "reference"
        assert not loading.use_kernel("cpu", "face_neighbors")
    assert loading.kernels_mode() == "require"
    monkeypatch.setenv("TETRAGAN_OPS", "fast")
    with pytest.raises(ValueError, match="TETRAGAN_OPS: expected one of auto, require, reference, got 'fast'"):
        loading.kernels_mode()
    with pytest.raises(ValueError, match="use_mode"), loading.use_mode("fast"):
        pass


def test_the_kernels_are_built() -> None:
    """The other tests rely on it."""
    assert loading.available("cpu"), loading.load_error("cpu")
    assert loading.use_kernel("cpu", "face_neighbors")


def test_auto_warns_once_with_cause_and_mending_command(no_library: Path) -> None:
    with loading.use_mode("auto"):
        with pytest.warns(RuntimeWarning, match=r"libtetragan_cpu.so is not built.*python -m torch_utils.build"):
            first = face_neighbors(FACES)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(face_neighbors(FACES), first)
    assert not loading.available("cpu")


def test_require_refuses_with_cause_and_mending_command(no_library: Path) -> None:
    with (
        loading.use_mode("require"),
        pytest.raises(RuntimeError, match=r"face_neighbors\(\): expected a kernel for cpu, but .* is not built; build"),
    ):
        face_neighbors(FACES)


def test_a_broken_library_is_explained(no_library: Path) -> None:
    (no_library / loading.LIBRARY_NAMES["cpu"]).write_bytes(b"not a library")
    assert "libtetragan_cpu.so does not load" in str(loading.load_error("cpu"))


def test_an_op_that_the_library_lacks_is_explained() -> None:
    fragment = torch.library.Library("tetragan", "FRAGMENT")
    fragment.define("op_of_tomorrow(Tensor x) -> Tensor")
    with (
        loading.use_mode("require"),
        pytest.raises(RuntimeError, match=r"libtetragan_cpu.so is older than the op op_of_tomorrow; build with"),
    ):
        loading.use_kernel("cpu", "op_of_tomorrow")
    fragment._destroy()


def test_other_devices_have_no_kernels() -> None:
    assert "no kernels for device type 'meta'" in str(loading.load_error("meta"))


def test_check_offsets() -> None:
    check_offsets("op", "offsets", torch.tensor([0, 2, 2, 5]), 5)
    for bad, text in (
        ([1, 2], "start at 0"),
        ([0, 3, 2], "never fall"),
        ([0, 4], "end at 5, got 4"),
        ([], "start at 0"),
    ):
        with pytest.raises(ValueError, match=rf"op\(\): expected offsets to .*{text}"):
            check_offsets("op", "offsets", torch.tensor(bad, dtype=torch.int64), 5)


def test_cards_that_the_cuda_library_has_no_code_for_are_named() -> None:
    every = loading.CudaLibrary((75, 80, 86, 89, 90, 100, 120), runtime=13000, driver=13010)
    cards = [("RTX 2080", (7, 5)), ("A100", (8, 0)), ("Orin", (8, 7)), ("B300", (10, 3)), ("of 2030", (14, 0))]
    assert loading.why_cards_do_not_run(every, cards) is None
    message = loading.why_cards_do_not_run(every, [*cards, ("GTX 1080", (6, 1))])
    assert message is not None
    assert "no code for GTX 1080 (compute capability 6.1; it has 7.5, 8.0, " in message
    assert message.endswith("build with TETRAGAN_CUDA_ARCHITECTURES=61")
    # Built for one card, run on another: an older one of the same generation, one between, and a later one by PTX.
    ada = loading.CudaLibrary((89,), runtime=13000, driver=13000)
    assert loading.why_cards_do_not_run(ada, [("RTX 3090", (8, 6))]) is not None
    assert loading.why_cards_do_not_run(ada, [("H100", (9, 0))]) is None


def test_a_driver_too_old_for_the_cuda_library_is_named() -> None:
    old = loading.CudaLibrary((90,), runtime=13000, driver=12020)
    message = loading.why_cards_do_not_run(old, [("H100", (9, 0))])
    assert message is not None
    assert message.startswith("the driver supports CUDA 12.2, but libtetragan_cuda.so needs 13.0")
    assert loading.why_cards_do_not_run(loading.CudaLibrary((90,), 13020, 13000), [("H100", (9, 0))]) is None
