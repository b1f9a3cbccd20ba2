"""Build the native kernels: `python -m torch_utils.build [--cuda] [--keep-going] [--clean] [--sanitize]`.

Every `csrc/<op>/<op>_cpu.cpp` (kernel and binding) and every `csrc/<op>/<op>_simd.cpp` (compiled once for each
instruction set) goes into one shared library over PyTorch's stable ABI, so that a build takes seconds and one binary
serves torch 2.11 to 2.13. Sources compile in parallel; a source is compiled again only if it, a header or the
command has changed. How to add an op: csrc/README.md.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = PACKAGE / "csrc"
LIBRARIES = PACKAGE / "lib"
CPU_LIBRARY = "libtetragan_cpu.so"
CUDA_LIBRARY = "libtetragan_cuda.so"
# Compute capabilities, times ten: RTX 20 (75), A100 (80), RTX 30 (86), RTX 40 (89), H100 (90), B200 (100), RTX 50
# (120). Later cards compile the PTX of the last one at the first start. $TETRAGAN_CUDA_ARCHITECTURES chooses others
# ("90" or "75,90"), for a faster build.
CUDA_ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
# Kernels with run-time checks: `make sanitize` runs the tests of the ops with them. Casts of NaN and of numbers out of
# range count as errors too.
SANITIZED = PACKAGE.parent / "build" / "sanitized"
SANITIZER_FLAGS = (
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-O1",
    "-g",
)

# The oldest torch whose stable ABI the binary needs (2.11), as torch/csrc/stable expects it.
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"
# No contraction of a·b + c by default: the rasterizer's edges rely on it, and all instruction sets then agree bit for
# bit.
COMPILE_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter")
CONTRACTION = "-ffp-contract=off"
# A source can add flags with a comment in its first lines: `// build-flags: -ffp-contract=fast`.
FLAGS_COMMENT = "// build-flags:"
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)
INSTRUCTION_SETS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"),
}


class BuildError(RuntimeError):
    """A kernel did not compile or link; the message holds the command's output."""


@dataclass(frozen=True)
class Unit:
    """One compilation: `command` makes `object` from `source`; `key` changes when any input does."""

    op: str
    source: Path
    object: Path
    command: tuple[str, ...]
    key: str

    @property
    def key_file(self) -> Path:
        """The file that holds the key of the last compilation."""
        return self.object.with_suffix(".key")

    def is_fresh(self) -> bool:
        """Whether a compilation would give the same object."""
        return self.object.exists() and self.key_file.exists() and self.key_file.read_text() == self.key


def torch_paths() -> tuple[list[str], Path, str]:
    """(include flags, folder of torch's libraries, torch's version)."""
    import torch

    root = Path(torch.__file__).parent
    includes = [f"-I{root / 'include'}", f"-I{root / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
    return includes, root / "lib", torch.__version__


def host_compiler() -> str:
    """The C++ compiler: $CXX, g++ or clang++."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and shutil.which(name.split()[0]):
            return name
    raise BuildError("no C++ compiler found: install g++ (Debian: apt-get install g++) or set CXX")


def _has_simd_variants() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _source_flags(source: Path) -> list[str]:
    lines = source.read_text().splitlines()[:10]
    return [flag for line in lines if line.startswith(FLAGS_COMMENT) for flag in line[len(FLAGS_COMMENT) :].split()]


def _project_files(source: Path) -> list[Path]:
    """The source and every header of ours that it includes, directly or not."""
    found, waiting = [], [source]
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.append(path)
        for name in INCLUDE.findall(path.read_text()):
            waiting += [SOURCES / name, path.parent / name]
    return sorted(found)


def _key(source: Path, command: Sequence[str], torch_version: str) -> str:
    digest = hashlib.sha256("\0".join([*command, torch_version]).encode())
    for path in _project_files(source):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def cpu_units(objects: Path, extra_flags: Sequence[str] = ()) -> list[Unit]:
    """The compilations of the CPU library, in a fixed order."""
    includes, _, version = torch_paths()
    compiler = host_compiler().split()
    units = []
    for source in sorted([*SOURCES.glob("*/*_cpu.cpp"), *SOURCES.glob("*/*_simd.cpp")]):
        variants = INSTRUCTION_SETS if source.name.endswith("_simd.cpp") else {"": ()}
        for name, flags in variants.items():
            if name not in ("", "baseline") and not _has_simd_variants():
                continue
            target = objects / f"{source.stem}{'_' + name if name else ''}.o"
            define = [f"-DTETRAGAN_ISA={name}"] if name else []
            command = [*compiler, *COMPILE_FLAGS, CONTRACTION, STABLE_ABI, f"-I{SOURCES}", *includes, *flags, *define]
            command += [*_source_flags(source), *extra_flags, "-c", str(source)]
            units.append(Unit(source.parent.name, source, target, tuple(command), _key(source, command, version)))
    return units


def compile_unit(unit: Unit) -> str | None:
    """Compile unless fresh; returns the compiler's output on failure, else None. After a failure, the last
    good object stays.
    """
    if unit.is_fresh():
        return None
    unit.object.parent.mkdir(parents=True, exist_ok=True)
    temporary = unit.object.with_suffix(".new.o")
    result = subprocess.run([*unit.command, "-o", str(temporary)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return f"{unit.source.relative_to(PACKAGE.parent)}: {' '.join(unit.command)}\n{result.stderr.strip()}"
    temporary.replace(unit.object)
    unit.key_file.write_text(unit.key)
    return None


def compile_all(units: Sequence[Unit], keep_going: bool) -> tuple[list[Path], list[str]]:
    """Compile in parallel; (objects to link, failures).

    With `keep_going`, an op that fails to compile is linked from its last good objects, or omitted.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        results = list(pool.map(compile_unit, units))
    failures = [text for text in results if text is not None]
    if failures and not keep_going:
        raise BuildError("the kernels did not compile:\n" + "\n\n".join(failures))
    absent = {unit.op for unit in units if not unit.object.exists()}
    return [unit.object for unit in units if unit.op not in absent], failures


def link(objects: Sequence[Path], library: Path, extra: Sequence[str] = ()) -> None:
    """Link `objects` into `library`; running processes keep the file that they have open."""
    _, torch_libraries, _ = torch_paths()
    library.parent.mkdir(parents=True, exist_ok=True)
    temporary = library.with_suffix(".new.so")
    command = [*host_compiler().split(), "-shared", "-o", str(temporary), *map(str, objects)]
    command += [f"-L{torch_libraries}", "-ltorch_cpu", "-lc10", *extra]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"the kernels did not link: {' '.join(command)}\n{result.stderr.strip()}")
    temporary.replace(library)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One build at a time in one folder (two would write the same objects)."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_cpu(
    libraries: Path = LIBRARIES, objects: Path | None = None, keep_going: bool = False, flags: Sequence[str] = ()
) -> tuple[Path, list[str]]:
    """Build the CPU library into `libraries`; (its path, failures: empty unless `keep_going`).

    objects: folder of intermediate files; default `libraries`/objects. flags: extra ones for compiler and linker.
    """
    objects = objects or libraries / "objects"
    with locked(objects):
        units = cpu_units(objects, flags)
        to_link, failures = compile_all(units, keep_going)
        library = libraries / CPU_LIBRARY
        newest = max((path.stat().st_mtime_ns for path in to_link), default=0)
        listing = objects / "linked.txt"
        names = "\n".join(path.name for path in to_link)
        same = listing.exists() and listing.read_text() == names
        if not (same and library.exists() and library.stat().st_mtime_ns >= newest):
            link(to_link, library, flags)
            listing.write_text(names)
    return library, failures


def find_nvcc() -> str | None:
    """nvcc from $CUDA_HOME, the path or /usr/local/cuda; None if there is none."""
    home = os.environ.get("CUDA_HOME")
    candidates = [str(Path(home) / "bin" / "nvcc")] if home else []
    return next(filter(None, map(shutil.which, [*candidates, "nvcc", "/usr/local/cuda/bin/nvcc"])), None)


def find_in_toolkit(nvcc: str, name: str) -> Path:
    """The folder of a file of nvcc's own toolkit. nvcc may be a wrapper, so its dry run tells the folder."""
    command = [nvcc, "-dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull]
    words = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    top = re.search(r"^#\$ TOP=(.+)$", words, re.MULTILINE)
    root = Path(top.group(1).strip() if top else Path(nvcc).resolve().parent.parent).resolve()
    found = next((path for pattern in (f"*/{name}", f"targets/*/*/{name}") for path in root.glob(pattern)), None)
    if found is None:
        raise BuildError(f"{name} not found in the CUDA toolkit at {root}: install its development files")
    return found.parent


def cuda_architectures() -> tuple[str, ...]:
    """What to compile CUDA kernels for, ascending: $TETRAGAN_CUDA_ARCHITECTURES or `CUDA_ARCHITECTURES`."""
    chosen = [name.strip() for name in os.environ.get("TETRAGAN_CUDA_ARCHITECTURES", "").split(",") if name.strip()]
    if not all(name.isdigit() for name in chosen):
        raise BuildError(f"TETRAGAN_CUDA_ARCHITECTURES: expected numbers such as 75,90, got {','.join(chosen)}")
    return tuple(sorted(chosen, key=int)) or CUDA_ARCHITECTURES


def cuda_units(objects: Path, nvcc: str) -> list[Unit]:
    """The compilations of the CUDA library: kernels by nvcc (no torch headers), bindings by the host compiler."""
    includes, _, version = torch_paths()
    cuda_include = find_in_toolkit(nvcc, "cuda_runtime.h")
    names = cuda_architectures()
    generate = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in names]
    generate.append(f"-gencode=arch=compute_{names[-1]},code=compute_{names[-1]}")
    kernel_flags = ["-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fPIC,-fvisibility=hidden", *generate]
    units = []
    for source in sorted(SOURCES.glob("*/*_cuda.cu")):
        command = [nvcc, *kernel_flags, f"-I{SOURCES}", *_source_flags(source), "-c", str(source)]
        key = _key(source, command, version)
        units.append(Unit(source.parent.name, source, objects / f"{source.stem}.cu.o", tuple(command), key))
    for source in sorted(SOURCES.glob("*/*_cuda_binding.cpp")):
        command = [*host_compiler().split(), *COMPILE_FLAGS, STABLE_ABI, "-DUSE_CUDA", f"-I{SOURCES}"]
        if source.parent.name == "common":
            command.append(f'-DTETRAGAN_CUDA_ARCHITECTURES="{",".join(names)}"')
        command += [*includes, f"-I{cuda_include}", *_source_flags(source), "-c", str(source)]
        key = _key(source, command, version)
        units.append(Unit(source.parent.name, source, objects / f"{source.stem}.o", tuple(command), key))
    return units


def build_cuda(libraries: Path = LIBRARIES, objects: Path | None = None) -> Path:
    """Build the CUDA library into `libraries` (static cudart; no GPU and no CUDA torch needed)."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildError("nvcc not found: install the CUDA toolkit or set CUDA_HOME; the CPU kernels need neither")
    objects = objects or libraries / "objects"
    with locked(objects):
        to_link, _ = compile_all(cuda_units(objects, nvcc), keep_going=False)
        runtime = find_in_toolkit(nvcc, "libcudart_static.a") / "libcudart_static.a"
        library = libraries / CUDA_LIBRARY
        # Not against libtorch_cuda, which a CPU torch lacks: csrc/common/cuda.h looks up its symbols at run time.
        link(to_link, library, [str(runtime), "-ldl", "-lrt", "-lpthread"])
    return library


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m torch_utils.build", description="Build the native kernels.")
    parser.add_argument("--cuda", action="store_true", help="also build the CUDA kernels (needs nvcc, no GPU)")
    parser.add_argument("--keep-going", action="store_true", help="link what compiles and report the rest")
    parser.add_argument("--clean", action="store_true", help="compile everything again")
    parser.add_argument(
        "--sanitize",
        action="store_true",
        help=f"only CPU kernels with address and undefined-behavior checks, in {SANITIZED}",
    )
    options = parser.parse_args(arguments)
    if options.clean:
        shutil.rmtree(LIBRARIES, ignore_errors=True)
    try:
        if options.sanitize:
            library, failures = build_cpu(SANITIZED, keep_going=options.keep_going, flags=SANITIZER_FLAGS)
        else:
            library, failures = build_cpu(keep_going=options.keep_going)
        lines = [f"built {library}"]
        if options.cuda:
            lines.append(f"built {build_cuda()}")
    except (BuildError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    if failures:
        sys.stderr.write("Error: omitted or linked from their last good objects:\n" + "\n\n".join(failures) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
