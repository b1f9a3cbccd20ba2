"""The job of many prompts in one network: opens the text encoder, embeds the prompts, and writes the network."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guidance.clip import Clip, load_clip
from guidance.priors.included import prior_folder
from guidance.priors.prior import join_embeddings
from guidance.prompts import check_understood
from networks.pretrained import load_generator_file
from rendering.camera_distribution import CameraDistribution
from rendering.lighting import Shading
from sampling.style_images import preview_shading
from torch_utils.errors import UserError
from training.adapt.captions import POOL
from training.adapt.distillation import Texts, prompt_texts
from training.adapt.guide import Guide, diffusion_answer
from training.adapt.loop import AdaptJob
from training.adapt.mapping import build_mapping, check_apart, draw_text_pair, prompt_rows, text_vectors
from training.adapt.precision import r_precision
from training.adapt.settings import DEFAULT_CLIP, AdaptSettings
from training.adapt.sheet import labeled_rows, sheet_images
from training.adapt.shift import Answer, Objective, Pair, Shift, ShiftScene, draw_scene
from training.adapt.shift_job import generator_job, network_cameras

# Prompts that a sheet shows, and samples of each.
SHOWN, SAMPLES = 8, 6
# Prompts that go through the prior's text encoder together.
EMBEDDED = 64


def mapping_objective(guide: Guide, settings: AdaptSettings) -> Objective:
    """What the prior says of each image by the prompt that it was drawn for."""
    prior = guide.diffusion
    if prior is None or settings.method == "clip":
        raise UserError("--mode mapping: needs a diffusion prior, not a CLIP; leave out --method clip")
    prompts = settings.prompts
    with torch.no_grad():
        parts = [prior.embed(list(prompts[k : k + EMBEDDED])) for k in range(0, len(prompts), EMBEDDED)]
    target = join_embeddings(parts)
    others = prompt_texts(prior, settings.prompts[0], settings.source, settings.negative)
    for row, prompt in enumerate(settings.prompts):
        check_understood(prompt, settings.source, target[[row]], others.source)

    def objective(pair: Pair, step: int) -> Answer:
        rows = prompt_rows(settings.seed, step, settings.batch, len(settings.prompts)).to(prior.device)
        texts = Texts(target[rows], others.source, others.empty, others.bad)
        return diffusion_answer(prior, settings, pair, texts, step)

    return objective


def mapping_job(settings: AdaptSettings, guide: Guide, device: torch.device) -> AdaptJob:
    """The job of all prompts of the settings."""
    twin, file = load_generator_file(settings.network, device)
    if twin.config.mapping.text_dim:
        raise UserError(f"--network {settings.network}: knows texts already; start from the one that it was made of")
    encoder = settings.text_encoder or DEFAULT_CLIP
    embed_texts = load_clip(prior_folder(encoder), device).embed_texts
    vectors = text_vectors(embed_texts, settings.prompts, settings.source)
    check_apart(settings.prompts, vectors, settings.source)
    shift = build_mapping(twin, vectors.shape[1], settings.part, settings.rate, settings.seed)
    cameras = network_cameras(twin.config, settings.camera)
    shading = preview_shading(file.header.get("shading"))
    before = sheet_images(twin, shading, count=SAMPLES)

    def draw(step: int, resolution: int, supersample: int, background: float) -> tuple[ShiftScene, Pair]:
        rows = prompt_rows(settings.seed, step, settings.batch, len(settings.prompts)).to(device)
        indices = range(step * settings.batch, (step + 1) * settings.batch)
        scene = draw_scene(twin, cameras, settings.seed, indices)
        return scene, draw_text_pair(shift, scene, vectors[rows], resolution, supersample, background)

    return generator_job(
        shift,
        settings,
        draw,
        mapping_objective(guide, settings),
        header={**file.header, "text": {"encoder": encoder, "source": settings.source}},
        sheet=partial(_sheet, shift, settings, vectors, shading, before),
        scores=_precision(shift, settings, guide.evaluation, cameras, embed_texts),
        facts={
            "network": settings.network,
            "prior": f"{Path(settings.prior).name}, {settings.resolution} px",
            "method": f"{settings.method}, guidance scale {settings.scale:g}",
            "learns": f"what a text adds to the styles ({settings.part})",
            "kept": ", ".join(settings.keep) or "nothing else",
            "prompts": ", ".join(settings.prompts[:24]) + (" …" if len(settings.prompts) > 24 else ""),
        },
    )


def _precision(
    shift: Shift,
    settings: AdaptSettings,
    evaluation: Clip | None,
    cameras: CameraDistribution,
    embed_texts: Callable[[Sequence[str]], Tensor],
) -> Callable[[], dict[str, float]]:
    """R-precision of the network now, over captions that were not learned, or else over the prompts themselves.

    It gives {} without a CLIP that only evaluates.
    """
    name = "R-precision of held-out captions" if len(settings.held_out) > 1 else "R-precision of the prompts"
    measured = settings.held_out if len(settings.held_out) > 1 else settings.prompts[:POOL]
    told = text_vectors(embed_texts, measured, settings.source)

    def precision() -> dict[str, float]:
        if evaluation is None or len(measured) < 2:
            return {}
        own = r_precision(shift.average, evaluation, measured, told, cameras, settings.background, settings.seed + 1)
        return {f"{name} ({len(measured)})": own}

    return precision


def _sheet(
    shift: Shift, settings: AdaptSettings, vectors: torch.Tensor, shading: Shading, before: np.ndarray
) -> np.ndarray:
    rows = [(f"before: {settings.source}", before)]
    stride = max(1, len(settings.prompts) // SHOWN)
    for number in list(range(0, len(settings.prompts), stride))[:SHOWN]:
        images = sheet_images(shift.average, shading, count=SAMPLES, text=vectors[number])
        rows.append((settings.prompts[number], images))
    return labeled_rows(rows)
