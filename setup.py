"""Packages one by one, and the CPU kernels built at install (also for `pip install -e . --no-build-isolation`)."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class BuildKernels(build_ext):
    """Runs torch_utils/build.py, which needs torch only while building."""

    def run(self) -> None:
        """Compile the CPU kernels, and those for CUDA where TETRAGAN_BUILD_CUDA=1."""
        sys.path.insert(0, str(ROOT))
        try:
            from torch_utils.build import LIBRARIES, BuildError, build_cpu, build_cuda
        finally:
            sys.path.pop(0)
        target = LIBRARIES if self.inplace else Path(self.build_lib).resolve() / "torch_utils" / "lib"
        try:
            if self.inplace:
                build_cpu(target)
                return
            objects = Path(self.build_temp).resolve() / "kernels"
            build_cpu(target, objects=objects)
            if os.environ.get("TETRAGAN_BUILD_CUDA") == "1":  # `make wheel`
                build_cuda(target, objects=objects)
        except BuildError as error:
            raise SystemExit(
                f"Error: {error}\nThe kernels need g++ (Debian: apt-get install g++) and torch."
            ) from error

    def get_outputs(self) -> list[str]:
        """The libraries that were built, for the wheel."""
        names = ["libtetragan_cpu.so", "libtetragan_cuda.so"]
        folder = Path(self.build_lib) / "torch_utils" / "lib"
        return [str(folder / name) for name in names if (folder / name).exists()]


setup(
    packages=[
        "torch_utils",
        "torch_utils.ops",
        "configs",
        "geometry",
        "mesh_io",
        "mesh_io.readers",
        "mesh_io.writers",
        "rendering",
        "rendering.textured",
        "dataset_tool",
        "dataset_tool.format",
        "dataset_tool.procedural",
        "dataset_tool.render",
        "dataset_tool.sources",
        "networks",
        "sampling",
        "guidance",
        "guidance.priors",
        "metrics",
        "metrics.images",
        "metrics.report",
        "metrics.shapes",
        "metrics.sources",
        "training",
        "training.adapt",
        "training.mesh_texture",
        "training.photos",
        "training.run",
        "webpage",
        "tetragan",
    ],
    package_data={
        "torch_utils": ["csrc/README.md", "csrc/*/*.h", "csrc/*/*.cuh", "csrc/*/*.cpp", "csrc/*/*.cu"],
        "configs": ["presets/*.yaml"],
        "dataset_tool": ["FORMAT.md"],
        "networks": [
            "pretrained/*.safetensors",
            "pretrained/discriminators/*.safetensors",
            "pretrained/priors/*/*",
            "pretrained/priors/*/*/*",
        ],
        "metrics": ["protocols/*.yaml"],
        "metrics.report": ["*.yaml", "*.css"],
        "webpage": ["static/*", "static/vendor/*", "static/vendor/*/*"],
    },
    # A name for the step only: setuptools would otherwise take the wheel for a pure Python one.
    ext_modules=[Extension("torch_utils.lib.kernels", sources=[])],
    cmdclass={"build_ext": BuildKernels},
)
