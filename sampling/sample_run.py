"""One command's samples: check everything first, make what is missing, and tell what came out."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from networks.pretrained import license_of
from sampling.mesh_export import FACES, MeshSettings
from sampling.sample_folder import SAVE_INTERVAL_S, SampleFolder
from sampling.sample_jobs import SampleJob, SampleMaker, make_samples
from sampling.samples import Sample
from sampling.trained_generator import TrainedGenerator
from torch_utils.failures import log_failure

# Images of one image grid: more would neither fit the memory nor be looked at.
MAX_GRID = 64
MAX_WORKERS = 16
ENDINGS = {"splats": "splats.ply"}
# What a record says of each sample, beside its files.
OWN_FACTS = ("shape_seed", "texture_seed", "class", "truncation")


@dataclass(frozen=True)
class Outcome:
    """What a run made. images: of each name that has one. empty: names without a surface. refused: name → reason."""

    images: dict[str, NDArray[np.uint8]]
    empty: list[str]
    refused: dict[str, str]
    made: int
    kept: int

    def grid(self, names: Sequence[str]) -> NDArray[np.uint8]:
        """The first image of each name [B, R, R, 3]; gray where a sample failed before it was drawn."""
        return np.stack([self.image(name) for name in names])

    def image(self, name: str) -> NDArray[np.uint8]:
        """The first image of one name [R, R, 3]."""
        if name in self.images:
            return self.images[name][0]
        drawn = next(iter(self.images.values()), np.zeros((1, 64, 64, 3), np.uint8))
        return np.full_like(drawn[0], 128)


def made_by(generator: TrainedGenerator, settings: MeshSettings | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What all samples of a run share, as JSON values."""
    known = license_of(generator.source)
    return {
        "network": generator.identity(),
        "tetragan": _version(),
        **({"license": known} if known else {}),
        **facts,
        "meshes": None if settings is None else settings.values(),
    }


def jobs_of(
    samples: Sequence[Sample], names: Sequence[str], shared: dict[str, Any], drawn: int = MAX_GRID
) -> list[SampleJob]:
    """A job for each sample; only the first `drawn` draw images. shared: `made_by`'s values; files hold its moves."""
    network = shared["network"]
    common: dict[str, Any] = {
        "network": network["name"],
        "network_sha256": network["sha256"],
        "tetragan": shared["tetragan"],
    }
    common |= {key: shared[key] for key in ("license", "moves") if key in shared}
    return [
        SampleJob(name, sample.w_geo, sample.w_tex, {**common, **sample.about()}, draw=row < drawn)
        for row, (sample, name) in enumerate(zip(samples, names, strict=True))
    ]


def run_jobs(
    maker: SampleMaker,
    folder: SampleFolder,
    jobs: Sequence[SampleJob],
    *,
    workers: int,
    device: torch.device,
    replace_files: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make the samples that the folder lacks, and images of all that draw one. maker: writes to the same folder.

    Meshes come first, in the order of the jobs. UserError where the disk is sure to be too small, or a foreign file is
    in the way (unless `replace_files`).
    """
    missing = {job.name for job in _claim(folder, jobs, maker.settings, replace_files)}
    todo = [
        replace(job, write=job.name in missing) for job in jobs if job.name in missing or (maker.images and job.draw)
    ]
    about = {job.name: {key: job.about[key] for key in OWN_FACTS if key in job.about} for job in jobs}
    images: dict[str, NDArray[np.uint8]] = {}
    empty: set[str] = set()
    saved = time.monotonic()
    try:
        for result in make_samples(maker, todo, workers, device):
            log_failure(result.name, result.traceback)
            if result.images is not None:
                images[result.name] = result.images
            if result.record is None:
                empty.add(result.name)
            if result.name in missing or result.name not in folder.samples:
                folder.add(result, about[result.name])
            if time.monotonic() - saved > SAVE_INTERVAL_S:
                folder.save()
                saved = time.monotonic()
            progress()
    finally:
        folder.save()
    return Outcome(
        images,
        [job.name for job in jobs if job.name in empty],
        _refused(folder, jobs),
        made=sum(bool(folder.samples[name]["files"]) for name in missing if name in folder.samples),
        kept=0 if maker.settings is None else len(jobs) - len(missing),
    )


def _claim(
    folder: SampleFolder, jobs: Sequence[SampleJob], settings: MeshSettings | None, replace_files: bool
) -> list[SampleJob]:
    """The jobs whose meshes the folder lacks, after the checks of `run_jobs`; none where no meshes are wanted."""
    if settings is None:
        return []
    missing = folder.missing(jobs)
    if not replace_files:
        folder.refuse_foreign(missing, ENDINGS.get(settings.file_format, settings.file_format))
    folder.refuse_full_disk(len(missing), settings.texture_size_px, settings.faces or 4 * FACES)
    folder.start(missing)
    return missing


def _refused(folder: SampleFolder, jobs: Sequence[SampleJob]) -> dict[str, str]:
    """Why samples have no files, by name, where their surface is not empty."""
    records = {job.name: folder.samples.get(job.name, {}) for job in jobs}
    return {name: record[why] for name, record in records.items() for why in ("refused", "failed") if why in record}


def default_workers() -> int:
    """One process per core that this process may use, at most MAX_WORKERS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: processes share the cores, and results do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_folder(generator: TrainedGenerator) -> Path:
    """Where results go unless the user names a folder: out/<network>."""
    return Path("out") / generator.name


def _version() -> str:
    try:
        return metadata.version("tetragan")
    except metadata.PackageNotFoundError:
        return "unknown"
