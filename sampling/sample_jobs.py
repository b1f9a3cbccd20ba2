"""Making many samples: network → simplify, chart, bake, write, in several processes.

On a CPU each process makes whole samples, with the network's weights shared. On a GPU this process runs the network and
the others do the rest.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.extraction import ExtractedSurface
from geometry.mesh import Mesh
from networks.generator import Generator
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG, orbit_cameras
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND, preview_images
from rendering.lighting import Shading, Vector
from sampling.mesh_export import MeshSettings, texture_colors, write_sample
from torch_utils.failures import failure_line, traceback_of
from torch_utils.files import WriteError
from torch_utils.process import keep_freed_memory, return_freed_memory
from torch_utils.timing import phase
from torch_utils.workers import Failed, run_in_workers


@dataclass(frozen=True)
class SampleJob:
    """One sample to make: its name, which files are called by, its styles [1, …], and what the files say made it.

    write: whether its meshes are wanted; draw: whether its images are.
    """

    name: str
    w_geo: Tensor
    w_tex: Tensor
    about: dict[str, Any]
    write: bool = True
    draw: bool = True


@dataclass(frozen=True)
class ImageStyle:
    """How samples are shown: side, px; camera, degrees; light; background in sRGB."""

    resolution: int
    shading: Shading = "soft"
    background: Vector = LIGHT_BACKGROUND
    azimuths_deg: tuple[float, ...] = (GRID_AZIMUTH_DEG,)
    elevation_deg: float = GRID_ELEVATION_DEG

    @staticmethod
    def of(resolution: int, shading: Shading, *, unlit: bool = False) -> "ImageStyle":
        """The style of image grids. unlit: the bare colors on black."""
        return ImageStyle(resolution, "albedo", BLACK_BACKGROUND) if unlit else ImageStyle(resolution, shading)


@dataclass(frozen=True)
class SampleResult:
    """What a job gave. record: what samples.json says of it; None where the sample has no surface.

    images [N, R, R, 3] uint8, one for each azimuth; None where no images were wanted. traceback: of a sample that
    failed, which its record says.
    """

    name: str
    record: dict[str, Any] | None
    images: NDArray[np.uint8] | None
    traceback: str = ""


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of one network. settings: None writes no meshes. images: None draws none. unlit: of the files."""

    generator: Generator
    folder: Path
    settings: MeshSettings | None
    images: ImageStyle | None
    unlit: bool = False

    def make(self, job: SampleJob) -> SampleResult:
        """Make one sample, on the CPU: the mesh first, which is what people wait for, then its images."""
        surface, texture_planes = self._generate(job)
        result = self.finish(_on_cpu(job, surface, texture_planes, None))
        return replace(result, images=self._draw(job, surface.mesh, texture_planes))

    @torch.no_grad()
    def start(self, job: SampleJob) -> "_Started":
        """The part of the network: surface, texture planes and images; the results are on the CPU."""
        surface, texture_planes = self._generate(job)
        return _on_cpu(job, surface, texture_planes, self._draw(job, surface.mesh, texture_planes))

    @torch.no_grad()
    def _generate(self, job: SampleJob) -> tuple[ExtractedSurface, Tensor]:
        """The surface and the texture planes, where the network lies."""
        with phase("network"):
            w_geo, w_tex = job.w_geo.to(self.generator.device), job.w_tex.to(self.generator.device)
            geometry_planes, texture_planes = self.generator.planes(w_geo, w_tex)
            return self.generator.surface(geometry_planes, w_geo), texture_planes

    @torch.no_grad()
    def _draw(self, job: SampleJob, mesh: Mesh, texture_planes: Tensor) -> NDArray[np.uint8] | None:
        """The images; None where none are wanted."""
        generator, style = self.generator, self.images
        if style is None or not job.draw:
            return None
        with phase("image"):
            return preview_images(
                mesh,
                partial(generator.materials, texture_planes, job.w_tex.to(generator.device)),
                orbit_cameras(style.azimuths_deg, style.elevation_deg).to(generator.device),
                style.resolution,
                shading=style.shading,
                background=style.background,
                supersample=generator.config.rendering.supersample,
                backend=generator.config.rendering.backend,
            )

    @torch.no_grad()
    def finish(self, started: "_Started") -> SampleResult:
        """The rest, on the CPU, where this maker's network must lie."""
        job = started.job
        if started.surface is None:
            return SampleResult(job.name, None, started.images)
        record: dict[str, Any] = {"files": []}
        if self.settings is not None and job.write:
            colors = texture_colors(partial(self.generator.materials, started.texture_planes, job.w_tex.cpu()))
            try:
                record = write_sample(
                    self.folder, job.name, started.surface, colors, self.settings, unlit=self.unlit, about=job.about
                )
            except WriteError:
                raise
            # Whatever a surface provokes in a library costs that sample alone.
            except Exception as error:  # noqa: BLE001
                record = {"files": [], "failed": failure_line(error)}
                return SampleResult(job.name, record, started.images, traceback_of(error))
        return SampleResult(job.name, record, started.images)


@dataclass(frozen=True)
class _Started:
    """A sample after the network. surface: None where it is empty."""

    job: SampleJob
    surface: Mesh | None
    texture_planes: Tensor
    images: NDArray[np.uint8] | None


def _on_cpu(
    job: SampleJob, surface: ExtractedSurface, texture_planes: Tensor, images: NDArray[np.uint8] | None
) -> _Started:
    mesh = None if bool(surface.empty[0]) else surface.mesh.detach().to("cpu")
    return _Started(job, mesh, texture_planes.cpu(), images)


def network_on_cpu(generator: Generator) -> Generator:
    """The network that `SampleMaker.finish` needs: the same one, or a copy of one that lies on a card."""
    return generator if generator.device.type == "cpu" else copy.deepcopy(generator).to("cpu")


def make_samples(
    maker: SampleMaker, jobs: Sequence[SampleJob], workers: int = 0, device: torch.device | None = None
) -> Iterator[SampleResult]:
    """Make samples and yield each when it is finished, in any order. A sample whose process dies has failed.

    workers: processes; 0 works in this one. device: where the network computes; None is where it lies. Call it with the
    network on the CPU, so that the processes share its weights, and with one thread.
    """
    target = device or maker.generator.device
    on_cpu = target.type == "cpu"
    finisher = maker if on_cpu else replace(maker, generator=copy.deepcopy(maker.generator).to("cpu"))
    _ = maker.generator.geometry.grid  # built once, before the processes share it
    return_freed_memory()  # what building it took

    def start(job: SampleJob) -> _Started:
        maker.generator.to(target)  # once the processes are there
        return maker.start(job)

    whole = on_cpu and workers > 0  # a process makes whole samples
    results = run_in_workers(
        _make if whole else finisher.finish if workers < 1 else _finish,
        jobs,
        workers,
        initialize=partial(_start_worker, finisher),
        prepare=None if whole else start,
        fork=True,
    )
    for job, result in results:
        if isinstance(result, Failed):
            yield SampleResult(job.name, {"files": [], "failed": result.cause}, None, result.traceback)
        else:
            yield result


# The one of a worker process.
_maker: SampleMaker | None = None


def _start_worker(maker: SampleMaker) -> None:
    """Use one thread."""
    global _maker
    torch.set_num_threads(1)
    keep_freed_memory()
    _maker = maker


def _make(job: SampleJob) -> SampleResult:
    assert _maker is not None
    result = _maker.make(job)
    return_freed_memory()
    return result


def _finish(started: _Started) -> SampleResult:
    assert _maker is not None
    result = _maker.finish(started)
    return_freed_memory()
    return result
