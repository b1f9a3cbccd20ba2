"""What nvcc made of the CUDA kernels, without a GPU: `python -m benchmarks.sass [--architecture 90] [--only OP]`.

For each hot kernel: instructions per element, the bytes that an element must move, and the ratio of the two bounds: the
time in which a multiprocessor issues the instructions over the time in which memory delivers the bytes. Below 1, memory
is what limits the kernel. Instructions are counted in the machine code: the body of the kernel's main loop, or all of
it if it has none, divided by the elements that it computes. So code that is seldom run counts as well.

Coalescing is the sectors of memory that a warp's accesses touch over the fewest that could hold the same bytes, counted
in the emulation of the kernels (`coalescing.py`); 1 is best.

Needs nvcc and cuobjdump. Where the toolkit lacks it:

    pip install -c constraints.txt nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
"""

import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from torch_utils import build

# H100 SXM: instructions that a multiprocessor issues in a clock, for single threads, and bytes that memory gives it.
ISSUE_PER_CLOCK = 128
BYTES_PER_CLOCK = 3.35e12 / (132 * 1.755e9)
STORE = re.compile(r"^STG\b")
FP64 = re.compile(r"^(D(ADD|MUL|FMA|SETP|MNMX)|MUFU\.\w*64H|F2F\.\w*F64|F2I\.\w*F64|I2F\.F64)")
MATH = re.compile(r"^(FFMA|FMUL|FADD|VABSDIFF4|D(FMA|MUL|ADD))\b")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?)\s*;", re.MULTILINE)


@dataclass(frozen=True)
class Kernel:
    """A kernel to count. name: part of its demangled name. values: elements of one thread or, with `loop`, of one pass
    of its main loop (of one store in it, if there are several). bytes: what an element must move at least.
    """

    op: str
    name: str
    case: str
    values: float
    bytes: float
    loop: bool = False


BF16 = "tetragan::Bfloat16"
KERNELS = (
    Kernel("upfirdn2d", "tile_kernel<2, 1, 4, 4, false, float>", "up 2, float32", 16, 5),
    Kernel("upfirdn2d", "tile_kernel<1, 2, 4, 4, false, float>", "down 2, float32", 16, 20),
    Kernel("upfirdn2d", "tile_kernel<1, 1, 4, 4, false, float>", "blur, float32", 32, 8),
    Kernel("upfirdn2d", f"tile_kernel<2, 1, 4, 4, false, {BF16}>", "up 2, bfloat16", 16, 2.5),
    Kernel("upfirdn2d", f"tile_kernel<1, 2, 4, 4, false, {BF16}>", "down 2, bfloat16", 16, 10),
    Kernel("upfirdn2d", f"tile_kernel<1, 1, 4, 4, false, {BF16}>", "blur, bfloat16", 32, 4),
    Kernel("upfirdn2d", "tile_kernel<2, 1, 4, 1, false, float>", "up 2, one channel, float32", 8, 5),
    Kernel("upfirdn2d", "tile_kernel<1, 2, 4, 1, false, float>", "down 2, one channel, float32", 8, 20),
    Kernel("bias_act", "forward_kernel<4, false, float, float>", "forward, float32", 4, 8),
    Kernel("bias_act", f"forward_kernel<4, false, {BF16}, float>", "forward, bfloat16", 4, 4),
    Kernel("bias_act", "last_kernel<4, float, float>", "backward, float32", 4, 12, loop=True),
    Kernel("bias_act", f"last_kernel<4, {BF16}, float>", "backward, bfloat16", 4, 6, loop=True),
    Kernel("bias_act", "planar_kernel<4, float, float>", "backward, planar, float32", 4, 12, loop=True),
    Kernel("triplane_sample", "forward_kernel<4, float>", "forward, texels in the cache", 4, 52),
    Kernel("triplane_sample", "backward_kernel<4, true, true, float>", "backward", 4, 148, loop=True),
    Kernel("lfd_distance", "distance_kernel", "4 bytes of a pair of views", 64, 0, loop=True),
    Kernel("point_mlp", "product_kernel<64, false, float>", "a layer, 256 multiply-adds", 0, 0, loop=True),
    Kernel("point_mlp", "outer_kernel<float>", "its gradient, 256 multiply-adds", 0, 0, loop=True),
    Kernel("lattice_mlp", "points_kernel<4, float>", "a hidden unit, unrolled four times", 16, 0, loop=True),
    Kernel("environment_shading", "forward_kernel<float>", "forward, texels in the cache", 1, 68),
    Kernel("environment_shading", "backward_kernel<float>", "backward, texels in the cache", 1, 112),
    Kernel("weighted_normals", "bound_kernel<float>", "largest terms at a face", 1, 144),
    Kernel("weighted_normals", "add_kernel<float>", "sums of a face", 1, 288),
    Kernel("weighted_normals", "add_gradient_kernel<float>", "gradients of a face", 1, 312),
    Kernel("rasterize", "resolve_kernel<float, false>", "weights of a covered pixel", 1, 24),
    Kernel("rasterize", "resolve_kernel<float, true>", "weights and their derivatives", 1, 40),
    Kernel("rasterize", "backward_kernel<float, false>", "gradient of a covered pixel", 1, 32),
    Kernel("rasterize", "backward_kernel<float, true>", "gradient, also of derivatives", 1, 48),
    Kernel("antialias", "list_kernel<float>", "a pixel", 1, 32),
    Kernel("antialias", "walk_kernel<float>", "a pair of two triangles, data in the cache", 1, 116),
    Kernel("antialias", "gather_kernel<float, false>", "a pixel with four silhouettes", 1, 24),
)


@dataclass(frozen=True)
class Count:
    """A kernel's row: None where a figure does not apply."""

    op: str
    case: str
    registers: int
    spilled_bytes: int
    instructions: int
    per_element: float | None
    bytes_per_element: float
    ratio: float | None
    fp64: int
    multiply_adds: int
    coalescing: float | None = None


def find_tool(name: str) -> str:
    """A tool of the CUDA toolkit: beside nvcc, on the path, or in this environment's packages."""
    nvcc = build.find_nvcc()
    home = os.environ.get("CUDA_HOME")
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    beside = build.find_in_toolkit(nvcc, "nvcc") if nvcc and shutil.which(name) is None else None
    folders = [Path(home) / "bin" if home else None, beside, *packages.glob("*/bin")]
    candidates = [shutil.which(name), *(str(folder / name) for folder in folders if folder)]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return candidate
    raise click.UsageError(
        f"{name} not found; try: pip install -c constraints.txt nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
    )


def compile_cubin(op: str, architecture: str, folder: Path) -> Path:
    """The op's kernels for one architecture, with the flags of the build."""
    nvcc = build.find_nvcc()
    if nvcc is None:
        raise click.UsageError("nvcc not found: install the CUDA toolkit or set CUDA_HOME")
    source = build.SOURCES / op / f"{op}_cuda.cu"
    target = folder / f"{op}.cubin"
    flags = ["-std=c++17", "-O3", "--fmad=false", f"-arch=sm_{architecture}", "-cubin", f"-I{build.SOURCES}"]
    command = [nvcc, *flags, str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.UsageError(f"{source.name} does not compile: {done.stderr.strip().splitlines()[-1]}")
    return target


def dump(cubin: Path, option: str) -> dict[str, str]:
    """cuobjdump's text of each function, by demangled name."""
    tool = find_tool("cuobjdump")
    environment = {**os.environ, "PATH": f"{Path(find_tool('nvdisasm')).parent}:{os.environ.get('PATH', '')}"}
    text = subprocess.run(
        [tool, option, str(cubin)], capture_output=True, text=True, check=True, env=environment
    ).stdout
    filtered = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^\s*Function\s*:?\s*(.+?):?$", filtered, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def instructions_of(text: str) -> list[tuple[int, str, str]]:
    """(address, operation, operands) of a function, without the padding at its end."""
    found = [(int(m[1], 16), m[3], m[4]) for m in INSTRUCTION.finditer(text)]
    while found and (
        found[-1][1] == "NOP" or (found[-1][1] == "BRA" and int(found[-1][2].split()[-1], 16) == found[-1][0])
    ):
        found.pop()
    return found


def main_loop(code: Sequence[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """The body of the loop with the most arithmetic, without what surrounds it; all of the code if there is no loop."""
    loops = []
    for address, operation, operands in code:
        target = re.search(r"0x([0-9a-f]+)\s*$", operands) if operation.startswith("BRA") else None
        if target and int(target[1], 16) < address:
            loops.append((int(target[1], 16), address))
    bodies = [[one for one in code if begin <= one[0] <= end] for begin, end in loops]
    return max(bodies, key=lambda body: (sum(bool(MATH.match(one[1])) for one in body), -len(body)), default=list(code))


def count(kernel: Kernel, code: Sequence[tuple[int, str, str]], resources: str) -> Count:
    """The figures of one kernel."""
    body = main_loop(code) if kernel.loop else list(code)
    operations = Counter(operation for _, operation, _ in body)
    stores = sum(n for name, n in operations.items() if STORE.match(name))
    elements = kernel.values * (max(stores, 1) if kernel.loop else 1)
    per_element = len(body) / elements if elements else None
    spilled = sum(n for name, n in Counter(operation for _, operation, _ in code).items() if name.startswith("STL")) * 4
    registers = re.search(r"REG:(\d+)", resources)
    bound = None
    if per_element and kernel.bytes:
        bound = per_element / ISSUE_PER_CLOCK / (kernel.bytes / BYTES_PER_CLOCK)
    return Count(
        op=kernel.op,
        case=kernel.case,
        registers=int(registers[1]) if registers else 0,
        spilled_bytes=spilled,
        instructions=len(body),
        per_element=None if per_element is None else round(per_element, 1),
        bytes_per_element=kernel.bytes,
        ratio=None if bound is None else round(bound, 2),
        fp64=sum(n for name, n in operations.items() if FP64.match(name)),
        multiply_adds=sum(n for name, n in operations.items() if name.startswith(("FFMA", "VABSDIFF4"))),
    )


def count_all(architecture: str, only: str) -> list[Count]:
    """Compile and count every kernel of `KERNELS` whose op contains `only`."""
    chosen = [kernel for kernel in KERNELS if only in kernel.op]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for op in dict.fromkeys(kernel.op for kernel in chosen):
            cubin = compile_cubin(op, architecture, Path(folder))
            code, resources = dump(cubin, "-sass"), dump(cubin, "-res-usage")
            for kernel in (k for k in chosen if k.op == op):
                name = next((n for n in code if kernel.name in n), None)
                if name is None:
                    raise click.UsageError(
                        f"{op}: no kernel {kernel.name}; KERNELS in benchmarks/sass.py is out of date"
                    )
                usage = next((text for n, text in resources.items() if kernel.name in n), "")
                rows.append(count(kernel, instructions_of(code[name]), usage))
    return rows


def as_table(rows: Sequence[Count]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| op | case | registers | spilled, bytes | instructions | per element | bytes per element |"
        " coalescing | instruction bound / memory bound | FP64 | multiply-adds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        bytes_moved = f"{r.bytes_per_element:g}" if r.bytes_per_element else "–"
        lines.append(
            f"| {r.op} | {r.case} | {r.registers} | {r.spilled_bytes} | {r.instructions} | {r.per_element or '–'} |"
            f" {bytes_moved} | {r.coalescing or '–'} | {r.ratio or '–'} | {r.fp64} | {r.multiply_adds} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--architecture", default="90", show_default=True, help="Compute capability, times ten.")
@click.option("--only", default="", help="Only ops whose name contains this text.")
@click.option(
    "--coalescing/--no-coalescing", default=True, show_default=True, help="Run the emulation, which takes minutes."
)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def main(architecture: str, only: str, coalescing: bool, as_json: bool) -> None:
    """Count the instructions of the CUDA kernels."""
    rows = count_all(architecture, only)
    if coalescing:
        from benchmarks.coalescing import measure  # needs a C++ compiler and the tests' emulation

        found = measure([(kernel.op, kernel.name, kernel.case) for kernel in KERNELS if only in kernel.op])
        rows = [replace(row, coalescing=round(one.ratio, 1)) for row, one in zip(rows, found, strict=True)]
    click.echo(json.dumps([asdict(row) for row in rows], indent=1) if as_json else as_table(rows))


if __name__ == "__main__":
    main()
