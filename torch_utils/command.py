"""`tetragan doctor`: what is installed, which kernels are active, and the command that mends the rest."""

import importlib.metadata
import importlib.util
import platform
import shutil

import click

from torch_utils.external import blender_python

# package → what it is needed for. A missing required package is an error, a missing optional one a remark.
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
    "xatlas",
    "rich",
    "tensorboard",
    "DracoPy",
]
OPTIONAL = {
    "nvdiffrast": "another CUDA rasteriser (non-commercial licence)",
    "kaolin": "a peer in benchmarks",
    "transformers": "CLIP and other image models for metrics",
    "usd-core": "USD files: pip install -c constraints.txt usd-core",
}


@click.command()
def doctor() -> None:
    """What is installed, which kernels are active, and what to do about the rest."""
    click.echo(f"Python {platform.python_version()} on {platform.machine()} {platform.system()}")
    missing = [name for name in REQUIRED if not _report_package(name, "pip install -c constraints.txt -e .")]
    for name, purpose in OPTIONAL.items():
        _report_package(name, f"optional: {purpose}")
    if "torch" not in missing:
        _report_torch()
        _report_kernels()
    for tool, purpose in {"g++": "builds the CPU kernels", "nvcc": "builds the CUDA kernels"}.items():
        path = shutil.which(tool)
        click.echo(f"{tool}: {path or f'not found ({purpose})'}")
    _report_blender()
    if missing:
        raise click.ClickException(f"missing: {', '.join(missing)}; try: pip install -c constraints.txt -e .")


def _report_package(name: str, remedy: str) -> bool:
    try:
        click.echo(f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
        click.echo(f"{name}: not installed ({remedy})")
        return False
    return True


def _report_blender() -> None:
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
        click.echo("CUDA: no device that torch can use; everything runs on the CPU")


def _report_kernels() -> None:
    import torch_utils.ops.loading as loading

    click.echo(f"kernel mode: {loading.kernels_mode()} (environment variable TETRAGAN_OPS: auto, require or reference)")
    if loading.available():
        click.echo("CPU kernels: active")
    else:
        click.echo(f"CPU kernels: not active ({loading.load_error()}); try: python -m torch_utils.build")
