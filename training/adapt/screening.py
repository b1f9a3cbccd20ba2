"""Latents whose images already lie near the prompt, to learn from them alone, as GET3D does with a CLIP."""

import torch

from guidance.clip import Clip, prompt_embedding
from guidance.clip_directional import screened_latents
from networks.generator import Generator
from rendering.camera_distribution import CameraDistribution
from training.adapt.settings import AdaptSettings
from training.adapt.shift import draw_scene

# Latents looked at for each one kept: GET3D keeps 50 of 500.
CANDIDATES = 10


@torch.no_grad()
def screened_ids(twin: Generator, clip: Clip, cameras: CameraDistribution, settings: AdaptSettings) -> list[int]:
    """Ids of the `settings.screened` latents, of ten times as many, whose images a CLIP finds closest to the prompt.

    Best first. Each latent is seen by one camera. Source: Gao et al. 2022 (GET3D), appendix.
    """
    count, embedded = CANDIDATES * settings.screened, []
    for start in range(0, count, settings.batch):
        scene = draw_scene(twin, cameras, settings.seed, range(start, min(start + settings.batch, count)))
        images = twin.render(scene.w_geo, scene.w_tex, scene.cameras, settings.background, clip.resolution).rgb
        embedded.append(clip.embed_images(images / 2 + 0.5)[:, None])
    text = prompt_embedding(clip, settings.prompt)
    return screened_latents(torch.cat(embedded), text, settings.screened).tolist()
