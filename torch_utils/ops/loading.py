"""Which implementation the ops use: the built kernels or the PyTorch references.

The mode comes from the environment variable TETRAGAN_OPS or from `use_mode`:
  auto       the kernel if it is built, else the reference with one warning that names the cause and the command that
             builds it;
  require    the kernel, or an error;
  reference  the reference, always.
Nothing is built here: `pip install` or `python -m torch_utils.build` builds. A failure to load is remembered and
reported. TETRAGAN_LIBRARIES names another folder of libraries (the sanitized ones of `build --sanitize`).
"""

import ctypes
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

MODES = ("auto", "require", "reference")
LIBRARIES = Path(os.environ.get("TETRAGAN_LIBRARIES") or Path(__file__).resolve().parent.parent / "lib")
LIBRARY_NAMES = {"cpu": "libtetragan_cpu.so", "cuda": "libtetragan_cuda.so"}
BUILD_COMMANDS = {"cpu": "python -m torch_utils.build", "cuda": "python -m torch_utils.build --cuda"}
_DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA"}

_mode: ContextVar[str | None] = ContextVar("tetragan_ops_mode", default=None)


def kernels_mode() -> str:
    """The mode in force: `use_mode`'s, else $TETRAGAN_OPS, else "auto"."""
    mode = _mode.get() or os.environ.get("TETRAGAN_OPS") or "auto"
    if mode not in MODES:
        raise ValueError(f"TETRAGAN_OPS: expected one of {', '.join(MODES)}, got {mode!r}")
    return mode


@contextmanager
def use_mode(mode: str) -> Iterator[None]:
    """Set the mode inside a `with` block."""
    if mode not in MODES:
        raise ValueError(f"use_mode(): expected one of {', '.join(MODES)}, got {mode!r}")
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def library_path(device_type: str) -> Path:
    """The path of the library of "cpu" or "cuda", built or not."""
    return LIBRARIES / LIBRARY_NAMES[device_type]


@cache
def _load(device_type: str) -> str | None:
    """Load the library of a device once; None, or why it cannot be loaded."""
    if device_type not in LIBRARY_NAMES:
        return f"there are no kernels for device type {device_type!r}"
    if device_type == "cuda" and not torch.backends.cuda.is_built():
        return "this torch has no CUDA"
    path = library_path(device_type)
    if not path.exists():
        return f"{path.name} is not built"
    try:
        torch.ops.load_library(path)
    except OSError as error:
        cause = error.__cause__ or error  # torch's own message only names the file
        return f"{path.name} does not load: {str(cause).splitlines()[0]}"
    return None


def load_error(device_type: str = "cpu") -> str | None:
    """Why the kernels of `device_type` are not available; None if they are."""
    return _load(device_type)


def available(device_type: str = "cpu") -> bool:
    """Whether the kernels of `device_type` are loaded."""
    return _load(device_type) is None


def has_kernel(device_type: str, op: str) -> bool:
    """Whether a loaded library has a kernel of `op` for "cpu" or "cuda"."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"tetragan::{op}", _DISPATCH_KEYS[device_type])


def defined_ops() -> list[str]:
    """The ops of the imported modules, backward passes included, sorted."""
    space = "tetragan::"
    return sorted(n.removeprefix(space) for n in torch._C._dispatch_get_all_op_names() if n.startswith(space))


@dataclass(frozen=True)
class CudaLibrary:
    """What the CUDA library says about itself.

    architectures: compute capabilities, times ten, that it has code for, ascending; the last also as PTX. runtime,
    driver: CUDA versions, 1000 · major + 10 · minor, of the library and of what the driver supports (0: no driver).
    """

    architectures: tuple[int, ...]
    runtime: int
    driver: int


@cache
def cuda_library() -> CudaLibrary:
    """The facts of the loaded CUDA library."""
    library = ctypes.CDLL(str(library_path("cuda")))
    library.tetragan_cuda_architectures.restype = ctypes.c_char_p
    names = library.tetragan_cuda_architectures().decode().split(",")
    versions = library.tetragan_cuda_runtime_version(), library.tetragan_cuda_driver_version()
    return CudaLibrary(tuple(int(name) for name in names if name), *versions)


def has_code_for(capability: tuple[int, int], architectures: Sequence[int]) -> bool:
    """Whether a card of this compute capability runs code for `architectures`: the same major version and no higher
    minor one, or later than the last of them, whose PTX the driver compiles.
    """
    number = 10 * capability[0] + capability[1]
    same = any(a // 10 == capability[0] and a <= number for a in architectures)
    return same or (bool(architectures) and number > architectures[-1])


def why_cards_do_not_run(library: CudaLibrary, cards: Sequence[tuple[str, tuple[int, int]]]) -> str | None:
    """Why the CUDA library does not run on `cards` (name and compute capability of each); None if it does."""
    name = LIBRARY_NAMES["cuda"]
    if library.driver and library.driver // 1000 < library.runtime // 1000:
        return (
            f"the driver supports CUDA {_version(library.driver)}, but {name} needs {_version(library.runtime)}: "
            "update the driver, or build with an older CUDA toolkit"
        )
    for card, capability in cards:
        if not has_code_for(capability, library.architectures):
            known = ", ".join(f"{a // 10}.{a % 10}" for a in library.architectures)
            number = f"{capability[0]}{capability[1]}"
            return (
                f"{name} has no code for {card} (compute capability {capability[0]}.{capability[1]}; it has {known}): "
                f"build with TETRAGAN_CUDA_ARCHITECTURES={number}"
            )
    return None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def cuda_cards() -> list[tuple[str, tuple[int, int]]]:
    """Name and compute capability of every CUDA device."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return [(torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)) for i in devices]


@cache
def _why_not(device_type: str, op: str) -> str | None:
    if not available(device_type):
        return load_error(device_type)
    if device_type == "cuda" and (cause := why_cards_do_not_run(cuda_library(), cuda_cards())):
        return cause
    return None if has_kernel(device_type, op) else f"{LIBRARY_NAMES[device_type]} is older than the op {op}"


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def use_kernel(device_type: str, op: str) -> bool:
    """Whether `op` (its name in the namespace `tetragan`) runs its kernel on this device; see the module's text.

    Raises RuntimeError in mode "require" if there is no kernel.
    """
    mode = kernels_mode()
    if mode == "reference":
        return False
    if device_type == "meta":
        return True  # shapes only: fake kernels need no library
    cause = _why_not(device_type, op)
    if cause is None:
        return True
    fix = f"build with `{BUILD_COMMANDS.get(device_type, BUILD_COMMANDS['cpu'])}`"
    if mode == "require":
        raise RuntimeError(f"{op}(): expected a kernel for {device_type}, but {cause}; {fix}")
    _warn_once(f"native kernels for {device_type}: {cause}; the slow reference runs instead; {fix}")
    return False


# Loading takes about a millisecond; from here on `torch.ops.tetragan` has the kernels.
_load("cpu")
if torch.backends.cuda.is_built():
    _load("cuda")
