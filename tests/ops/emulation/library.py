"""Builds the CUDA kernels and bindings for the CPU and hands their ops to the tests.

    python -m tests.ops.emulation.library [--sanitizer address|thread]      build only; prints the library's path

Objects are kept in build/emulation and compiled again only if a source, a header or the command has changed.
"""

import argparse
import ctypes
import hashlib
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.ops.emulation.translate import NAMESPACE, binding_source, kernel_source
from torch_utils import build, ops

HERE = Path(__file__).resolve().parent
FOLDER = build.PACKAGE.parent / "build" / "emulation"
ACCESSES = "accesses"
FLAGS = {
    "": ("-Og",),
    "address": (
        "-O1",
        "-g",
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fno-sanitize=vptr",
        "-fno-sanitize-recover=undefined,float-cast-overflow",
        "-fno-omit-frame-pointer",
    ),
    "thread": ("-O1", "-g", "-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-attributes"),
    # gcc reports each access as the source has it: a pack of 16 bytes is one (accesses.cpp).
    ACCESSES: ("-O1", "-fsanitize=thread", "-U__SANITIZE_THREAD__", "-DEMULATION_ACCESSES", "-fno-tree-sra"),
}
SANITIZERS = ("address", "thread")
# Constants that are made smaller, by header. A scan over more words than a block has threads, and over more blocks than
# that, is then within reach of a test; so are more views than blocks.
SMALLER = {
    "marching_tets/marching_tets_cuda.h": ("constexpr int kScanWords = 1024;", "constexpr int kScanWords = 64;"),
    "flexicubes/flexicubes_cuda.h": ("constexpr int kScanRuns = 1024;", "constexpr int kScanRuns = 4;"),
    "lfd_descriptor/lfd_descriptor_cuda.h": ("kViewsAtOnce = 512;", "kViewsAtOnce = 5;"),
}
# Under ThreadSanitizer every lane is a thread of its own: smaller blocks save most of the time.
SMALLER_BLOCKS = {"common/cuda_launch.h": ("constexpr int kBlock = 256;", "constexpr int kBlock = 64;")}
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-subobject-linkage")
ORDERS = {"forward": (0, 1, 0), "reverse": (1, 1, 0), "random": (2, 3, 1)}


def emulated_folders(sources: Path = build.SOURCES) -> list[str]:
    """The folders of csrc that hold a CUDA kernel."""
    return sorted(path.parent.name for path in sources.glob("*/*_cuda.cu"))


def build_library(
    sanitizer: str = "", sources: Path = build.SOURCES, folder: Path | None = None, only: Sequence[str] = ()
) -> Path:
    """Build libemulated.so from the CUDA sources in `sources` (of the folders `only`, or of all); its path.

    The bindings are always the project's own, so that another `sources` compiles its kernels only.
    """
    of_bindings = "" if sanitizer == ACCESSES else sanitizer
    own_folder = FOLDER / (of_bindings or "plain")
    folder = folder or FOLDER / (sanitizer or "plain")
    with build.locked(FOLDER):
        for place in {folder, own_folder}:
            _write_headers(sources if place == folder else build.SOURCES, place / "headers", sanitizer)
        if not only:
            headers = [_precompiled(folder, sanitizer, True), _precompiled(own_folder, of_bindings, False)]
            build.compile_all(headers, keep_going=False)
        units = [_unit(source, sources, folder, sanitizer) for source in sorted(sources.glob("*/*_cuda.cu"))]
        bindings = sorted(build.SOURCES.glob("*/*_cuda_binding.cpp"))
        units += [_unit(source, build.SOURCES, own_folder, of_bindings) for source in bindings]
        units = [unit for unit in units if not only or unit.op in only]
        units += [_accesses_unit(folder)] if sanitizer == ACCESSES else []
        objects, _ = build.compile_all(units, keep_going=False)
        library, listing = folder / "libemulated.so", folder / "linked.txt"
        names, newest = "\n".join(map(str, objects)), max(path.stat().st_mtime_ns for path in objects)
        same = listing.exists() and listing.read_text() == names
        if not (same and library.exists() and library.stat().st_mtime_ns >= newest):
            build.link(objects, library, () if sanitizer == ACCESSES else FLAGS[sanitizer])
            listing.write_text(names)
    return library


def _write_headers(sources: Path, folder: Path, sanitizer: str) -> None:
    """The headers of `sources` that differ in the emulation."""
    for name, (old, new) in {**SMALLER, **(SMALLER_BLOCKS if sanitizer == "thread" else {})}.items():
        text = (sources / name).read_text()
        assert old in text, f"{name}: {old}"
        _write(folder / name, text.replace(old, new))
    for header in sources.glob("*/*.cuh"):
        _write(folder / header.relative_to(sources), kernel_source(header.read_text()))
    _write(folder / _headers_of(True), '#include "cuda_runtime.h"\n')
    _write(folder / _headers_of(False), '#include "on_device.h"\n')


def _unit(source: Path, root: Path, folder: Path, sanitizer: str) -> build.Unit:
    """The compilation of one CUDA source or binding below `root`, by way of a translated copy in `folder`."""
    is_kernel = source.suffix == ".cu"
    text = (kernel_source if is_kernel else binding_source)(source.read_text())
    target = folder / "sources" / f"{source.stem}.cpp"
    _write(target, f'#line 1 "{source}"\n{text}')
    command = (*_flags(folder, root, sanitizer, is_kernel), "-include", _headers_of(is_kernel), "-c", str(target))
    translated = {path: folder / "headers" / path.relative_to(root) for path in _inputs(source, root)}
    inputs = [new if new.exists() else path for path, new in translated.items()]
    return build.Unit(source.parent.name, target, folder / f"{source.stem}.o", command, _key(command, inputs))


def _precompiled(folder: Path, sanitizer: str, is_kernel: bool) -> build.Unit:
    """The compilation of the headers that all kernels or all bindings begin with: half of their time otherwise."""
    header = folder / "headers" / _headers_of(is_kernel)
    command = (*_flags(folder, build.SOURCES, sanitizer, is_kernel), "-x", "c++-header", str(header))
    inputs = [path for name in ("cuda.h", "cpu.h") for path in _inputs(build.SOURCES / "common" / name, build.SOURCES)]
    return build.Unit("", header, header.with_name(f"{header.name}.gch"), command, _key(command, inputs))


def _headers_of(is_kernel: bool) -> str:
    return "all_kernels.h" if is_kernel else "all_bindings.h"


def _flags(folder: Path, root: Path, sanitizer: str, is_kernel: bool) -> list[str]:
    """The compiler and its options for a kernel or a binding, which must be those of its precompiled header."""
    includes, _, _ = build.torch_paths()
    flags = [*build.host_compiler().split(), "-std=c++17", "-fPIC", "-fvisibility=hidden", build.CONTRACTION, *WARNINGS]
    flags += [build.STABLE_ABI, *FLAGS[sanitizer], "-D__CUDA_ARCH__=900" if is_kernel else "-O0"]
    return [*flags, f"-I{folder / 'headers'}", f"-I{HERE}", f"-I{root}", *([] if is_kernel else includes)]


def _key(command: Sequence[str], inputs: Iterable[Path]) -> str:
    """Changes with the command, torch's version and the text of any input or header of the emulation."""
    texts = [path.read_text() for path in (*sorted(HERE.glob("*.h")), *inputs)]
    return hashlib.sha256("\0".join([*command, build.torch_paths()[2], *texts]).encode()).hexdigest()


def _accesses_unit(folder: Path) -> build.Unit:
    """The compilation of the functions that gcc's thread sanitizer calls; without it, or they would call themselves."""
    source = HERE / "accesses.cpp"
    flags = (
        *build.host_compiler().split(),
        "-std=c++17",
        "-fPIC",
        "-fvisibility=hidden",
        "-O2",
        "-DEMULATION_ACCESSES",
    )
    texts = (path.read_text() for path in (source, *sorted(HERE.glob("*.h"))))
    key = hashlib.sha256("\0".join([*flags, *texts]).encode()).hexdigest()
    return build.Unit("", source, folder / "accesses.o", (*flags, f"-I{HERE}", "-c", str(source)), key)


def _inputs(source: Path, sources: Path) -> list[Path]:
    """The source and every header of csrc that it includes, directly or not."""
    found, waiting = [], [source]
    while waiting:
        path = waiting.pop()
        if path not in found and path.exists():
            found.append(path)
            waiting += [sources / name for name in build.INCLUDE.findall(path.read_text())]
    return sorted(found)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


class Emulation:
    """The loaded library. Its ops are those of `torch.ops.tetragan`, in the namespace `tetragan_emulated`."""

    def __init__(self, library: Path) -> None:
        for module in pkgutil.iter_modules(ops.__path__):  # defines every op
            importlib.import_module(f"{ops.__name__}.{module.name}")
        self._definitions = torch.library.Library(NAMESPACE, "DEF")
        for name in sorted(torch._C._dispatch_get_all_op_names()):
            space, _, op = name.partition("::")
            if space == "tetragan":
                schema = str(getattr(torch.ops.tetragan, op).default._schema)
                self._definitions.define(schema.removeprefix("tetragan::"))
        torch.ops.load_library(library)
        self._configure = ctypes.CDLL(str(library)).emulation_configure

    @contextmanager
    def running(self, order: str, seed: int = 1) -> Iterator[None]:
        """Inside, the ops run the emulated kernels in this order of blocks and lanes; see `ORDERS`."""
        which, resident, preempt = ORDERS[order]
        self._configure(which, seed, resident, preempt)
        before = torch.ops.tetragan
        # The ops look the namespace up at each call.
        torch.ops.tetragan = getattr(torch.ops, NAMESPACE)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.ops.tetragan = before  # type: ignore[attr-defined]


def preloaded(sanitizer: str) -> dict[str, str]:
    """The environment that a process needs to load a library with this sanitizer."""
    if not sanitizer:
        return dict(os.environ)
    names = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}[sanitizer]
    compiler = build.host_compiler().split()
    found = [
        subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in names
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(path.strip() for path in found),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "report_signal_unsafe=0:ignore_noninstrumented_modules=1:exitcode=66",
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the emulation of the CUDA kernels.")
    parser.add_argument("--sanitizer", choices=list(FLAGS), default="")
    sys.stdout.write(f"{build_library(parser.parse_args().sanitizer)}\n")


if __name__ == "__main__":
    main()
