"""The job of one prompt: opens the network, and puts the pieces of a shift together."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.schema import Config
from guidance.clip import Clip
from networks.generator import Generator
from networks.pretrained import RUN_NETWORK_NAME, load_generator_file, network_file
from rendering.camera_distribution import CameraDistribution, load_camera_distribution
from rendering.lighting import Shading
from sampling.style_images import preview_shading
from torch_utils.checkpoint import save_network
from torch_utils.files import file_hash
from training.adapt.follower import with_follower
from training.adapt.guide import Guide, clip_scores, guide_follower, guide_objective
from training.adapt.keep import Draw, keep_realism, keep_structure
from training.adapt.loop import AdaptJob
from training.adapt.screening import screened_ids
from training.adapt.settings import AdaptSettings
from training.adapt.sheet import labeled_rows, sheet_images
from training.adapt.shift import (
    Objective,
    Pair,
    Shift,
    ShiftScene,
    build_shift,
    cameras_of,
    draw_pair,
    draw_scene,
    shift_gradients,
    shift_step,
)

# Samples that the evaluating CLIP looks at.
SCORED = 16
# Entries of a network file's header that `save_network` writes itself.
_OWN = ("kind", "config", "nimg", "commit", "precision", "format_version", "checksum")


def shift_job(settings: AdaptSettings, guide: Guide, device: torch.device) -> AdaptJob:
    """The job of one prompt."""
    generator, file = load_generator_file(settings.network, device)
    shift = build_shift(generator, settings.part, settings.rate)
    cameras = network_cameras(generator.config, settings.camera)
    screened = screened_ids(shift.twin, guide.clips[0], cameras, settings) if settings.screened else None
    shading = preview_shading(file.header.get("shading"))
    before = sheet_images(generator, shading)

    def draw(step: int, resolution: int, supersample: int, background: float) -> tuple[ShiftScene, Pair]:
        indices = range(step * settings.batch, (step + 1) * settings.batch)
        latents = [screened[index % len(screened)] for index in indices] if screened else None
        scene = draw_scene(shift.twin, cameras, settings.seed, indices, latents)
        return scene, draw_pair(shift, scene, resolution, supersample, background)

    follower = guide_follower(guide, settings)
    job = generator_job(
        shift,
        settings,
        draw,
        guide_objective(guide, settings, follower),
        header=file.header,
        sheet=partial(_sheet, shift, settings, shading, before),
        scores=partial(_scores, shift, settings, guide.evaluation, cameras),
        facts={
            "network": settings.network,
            "prior": " and ".join(filter(None, (settings.prior, settings.second_prior)))
            + f", {settings.resolution} px",
            "method": settings.method + (f", guidance scale {settings.scale:g}" if settings.method != "clip" else ""),
            "part": settings.part,
            "kept": ", ".join(settings.keep) or "nothing else",
        },
    )
    return with_follower(job, follower)


def generator_job(
    shift: Shift,
    settings: AdaptSettings,
    draw: Draw,
    objective: Objective,
    *,
    header: Mapping[str, Any],
    sheet: Callable[[], np.ndarray],
    scores: Callable[[], dict[str, float]],
    facts: dict[str, str],
) -> AdaptJob:
    """The job of a generator that moves, by one prompt or by many; its result is the running average.

    draw: the images of a step. objective: what a prior says of them. header: of the network's file. sheet, scores,
    facts: of the job.
    """
    device = shift.generator.device
    # Detail is compared where it shows, in pixels as small as the samples that make up one of the prior's.
    finer = settings.supersample if "structure" in settings.keep else 1
    objective = keep_structure(keep_realism(objective, settings, draw, device), settings, finer)

    def pair_of(step: int) -> Pair:
        return draw(step, settings.resolution * finer, settings.supersample // finer, settings.background)[1]

    def rehearse(step: int) -> None:
        shift_gradients(pair_of(step), step, objective)
        shift.generator.zero_grad(set_to_none=True)

    return AdaptJob(
        settings,
        parts={"generator": shift.generator, "average": shift.average, "adam": shift.adam},
        rehearse=rehearse,
        step=lambda step: shift_step(shift, pair_of(step), step, objective),
        sheet=sheet,
        save=partial(save_adapted, generator=shift.average, header=header, settings=settings),
        device=device,
        network=file_hash(network_file(settings.network)),
        scores=scores,
        facts=facts,
    )


@torch.no_grad()
def _scores(shift: Shift, settings: AdaptSettings, clip: Clip | None, cameras: CameraDistribution) -> dict[str, float]:
    """Scores of fixed scenes by the CLIP that only evaluates; {} without one."""
    if clip is None:
        return {}
    scene = draw_scene(shift.twin, cameras, settings.seed + 1, range(SCORED))
    images = shift.average.render(scene.w_geo, scene.w_tex, scene.cameras, settings.background, clip.resolution).rgb
    return clip_scores(clip, images, settings.prompt, settings.source)


def network_cameras(config: Config, camera: str) -> CameraDistribution:
    """The cameras that settings name, or the network's own."""
    return cameras_of(config, load_camera_distribution(camera) if camera else None)


def _sheet(shift: Shift, settings: AdaptSettings, shading: Shading, before: np.ndarray) -> np.ndarray:
    after = sheet_images(shift.average, shading)
    return labeled_rows([(f"before: {settings.source}", before), (f"after: {settings.prompt}", after)])


def save_adapted(folder: Path, *, generator: Generator, header: Mapping[str, Any], settings: AdaptSettings) -> None:
    """Write an adapted network to a folder: an ordinary network file, whose header also says what it was adapted to."""
    kept = {name: value for name, value in header.items() if name not in _OWN}
    said = {"mode", "network", "prompt", "prompts", "source", "method", "part", "keep", "steps"}
    adapted = settings.model_dump(mode="json", include=said)
    adapted["prior"] = Path(settings.prior).name
    config = generator.config.model_dump(mode="json")
    save_network(folder / RUN_NETWORK_NAME, generator, config, int(header["nimg"]), extra={**kept, "adapted": adapted})
