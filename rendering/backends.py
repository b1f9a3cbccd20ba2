"""Backends of the rasterizer behind one interface: plain functions with the contracts of `torch_utils/ops`.

native        the kernels of this project (CPU and CUDA)
reference     plain PyTorch
nvdiffrast    NVIDIA's, only if selected by name, because its license is non-commercial
auto          the kernels if they are built, else the reference
"""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.errors import UserError
from torch_utils.ops import loading
from torch_utils.ops.antialias import antialias as native_antialias
from torch_utils.ops.interpolate import interpolate as native_interpolate
from torch_utils.ops.rasterize import rasterize as native_rasterize

BACKENDS = ("auto", "native", "nvdiffrast", "reference")


@dataclass(frozen=True)
class Rasterizer:
    """The three functions of a backend.

    rasterize(positions, faces, face_offsets, resolution, derivatives=False, previous=None) -> (rast, rast_db or None).
    interpolate(attributes, rast, faces, rast_db=None) -> (values, derivatives or None).
    antialias(color, rast, positions, faces, neighbors=None) -> color.
    """

    name: str
    rasterize: Callable[..., tuple[Tensor, Tensor | None]]
    interpolate: Callable[..., tuple[Tensor, Tensor | None]]
    antialias: Callable[..., Tensor]


@functools.cache
def rasterizer(backend: str = "auto", device_type: str = "cpu") -> Rasterizer:
    """The backend, one of `BACKENDS`, for a type of device. UserError if it is unknown or not installed."""
    if backend == "auto":
        return Rasterizer("auto", native_rasterize, native_interpolate, native_antialias)
    if backend == "native":
        if not loading.available(device_type):
            build = loading.BUILD_COMMANDS.get(device_type, loading.BUILD_COMMANDS["cpu"])
            cause = f"no kernels for {device_type} ({loading.load_error(device_type)})"
            raise UserError(f"rendering.backend native: {cause}; run: {build}")
        return _in_mode("native", "require")
    if backend == "reference":
        return _in_mode("reference", "reference")
    if backend == "nvdiffrast":
        return _nvdiffrast()
    raise UserError(f"rendering.backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")


def _in_mode(name: str, mode: str) -> Rasterizer:
    """The project's ops, always run in the given mode of `torch_utils.ops.loading`."""

    def fixed(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args, **kwargs):
            with loading.use_mode(mode):
                return function(*args, **kwargs)

        return run

    return Rasterizer(name, fixed(native_rasterize), fixed(native_interpolate), fixed(native_antialias))


def _nvdiffrast() -> Rasterizer:
    """nvdiffrast's functions with the signatures of the project's. UserError where it or a CUDA device is missing."""
    if importlib.util.find_spec("nvdiffrast") is None or not torch.cuda.is_available():
        raise UserError(
            "rendering.backend nvdiffrast: expected the package nvdiffrast and a CUDA device; "
            "set rendering.backend=native"
        )
    dr = importlib.import_module("nvdiffrast.torch")
    contexts: dict[torch.device, object] = {}

    def rasterize(positions, faces, face_offsets, resolution, derivatives=False, previous=None):
        if previous is not None:
            raise UserError("rendering.backend nvdiffrast: see-through materials need rendering.backend=native")
        context = contexts.get(positions.device)
        if context is None:
            context = contexts[positions.device] = dr.RasterizeCudaContext(positions.device)
        ranges = torch.stack([face_offsets[:-1], face_offsets.diff()], 1).to(torch.int32)
        rast, rast_db = dr.rasterize(context, positions, faces, resolution, ranges=ranges, grad_db=derivatives)
        return rast, rast_db if derivatives else None

    def interpolate(attributes, rast, faces, rast_db=None):
        values, derivatives = dr.interpolate(
            attributes, rast, faces, rast_db=rast_db, diff_attrs=None if rast_db is None else "all"
        )
        return values, None if rast_db is None else derivatives

    def antialias(color, rast, positions, faces, neighbors=None):
        return dr.antialias(color.contiguous(), rast, positions, faces)

    return Rasterizer("nvdiffrast", rasterize, interpolate, antialias)
