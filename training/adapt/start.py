"""From settings to a job: opens the network and the prior, and puts the pieces of a shift together."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.schema import Config
from guidance.priors.prior import DiffusionPrior
from networks.generator import Generator
from networks.pretrained import load_generator_file
from rendering.camera_distribution import CameraDistribution, load_camera_distribution
from rendering.lighting import Shading
from sampling.generate import preview_shading
from torch_utils.checkpoint import save_network
from training.adapt.distillation import Texts, distillation, prompt_texts
from training.adapt.loop import AdaptJob
from training.adapt.prior import open_prior
from training.adapt.settings import AdaptSettings
from training.adapt.sheet import labeled_rows, sheet_images
from training.adapt.shift import (
    Answer,
    Objective,
    Pair,
    Shift,
    build_shift,
    cameras_of,
    distance_loss,
    draw_pair,
    draw_scene,
    shift_gradients,
    shift_step,
)

# Entries of a network file's header that `save_network` writes itself.
_OWN = ("kind", "config", "nimg", "commit", "precision", "format_version", "checksum")
_DTYPES = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}


def open_prior_of(settings: AdaptSettings, device: torch.device) -> DiffusionPrior:
    """The settings' prior. UserError where it cannot take their resolution."""
    prior = open_prior(settings.prior, device, _DTYPES[settings.precision])
    prior.check_resolution(settings.resolution)
    return prior


def prior_objective(prior: DiffusionPrior, texts: Texts, settings: AdaptSettings) -> Objective:
    """What the prior says of a pair by the settings' method, with what else must stay."""

    def objective(pair: Pair, step: int) -> Answer:
        loss, finite = distillation(
            settings.method,
            prior,
            pair.images,
            pair.twin_images,
            texts,
            seed=settings.seed,
            step=step,
            scale=settings.scale,
        )
        if "distances" in settings.keep:
            loss = loss + settings.keep_weight * distance_loss(pair.images, pair.twin_images)
        return Answer(loss, finite)

    return objective


def shift_job(settings: AdaptSettings, prior: DiffusionPrior, device: torch.device) -> AdaptJob:
    """The job of one prompt."""
    generator, file = load_generator_file(settings.network, device)
    shift = build_shift(generator, settings.part, settings.rate)
    texts = prompt_texts(prior, settings.prompt, settings.source, settings.negative)
    objective = prior_objective(prior, texts, settings)
    cameras = network_cameras(generator.config, settings.camera)
    shading = preview_shading(file.header.get("shading"))
    before = sheet_images(generator, shading)

    def pair_of(step: int) -> Pair:
        indices = range(step * settings.batch, (step + 1) * settings.batch)
        scene = draw_scene(shift.twin, cameras, settings.seed, indices)
        return draw_pair(shift, scene, settings.resolution, settings.supersample, settings.background)

    def rehearse(step: int) -> None:
        shift_gradients(shift, pair_of(step), step, objective)
        shift.generator.zero_grad(set_to_none=True)

    return AdaptJob(
        settings,
        parts={"generator": shift.generator, "average": shift.average, "adam": shift.adam},
        rehearse=rehearse,
        step=lambda step: shift_step(shift, pair_of(step), step, objective),
        sheet=partial(_sheet, shift, settings, shading, before),
        save=partial(save_adapted, generator=shift.average, header=file.header, settings=settings),
        device=device,
        facts={
            "network": settings.network,
            "prior": f"{settings.prior}, {settings.resolution} px",
            "method": f"{settings.method}, guidance scale {settings.scale:g}",
            "part": settings.part,
            "kept": ", ".join(settings.keep) or "nothing else",
        },
    )


def network_cameras(config: Config, camera: str) -> CameraDistribution:
    """The cameras that settings name, or the network's own."""
    return cameras_of(config, load_camera_distribution(camera) if camera else None)


def _sheet(shift: Shift, settings: AdaptSettings, shading: Shading, before: np.ndarray) -> np.ndarray:
    after = sheet_images(shift.average, shading)
    return labeled_rows([(f"before: {settings.source}", before), (f"after: {settings.prompt}", after)])


def save_adapted(path: Path, *, generator: Generator, header: Mapping[str, Any], settings: AdaptSettings) -> None:
    """Write an adapted network: an ordinary network file, whose header also says what it was adapted to."""
    kept = {name: value for name, value in header.items() if name not in _OWN}
    adapted = settings.model_dump(mode="json", include={"network", "prompt", "source", "method", "part", "steps"})
    adapted["prior"] = Path(settings.prior).name
    config = generator.config.model_dump(mode="json")
    save_network(path, generator, config, int(header["nimg"]), extra={**kept, "adapted": adapted})
