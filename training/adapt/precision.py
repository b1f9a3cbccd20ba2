"""How well the images of a network of many prompts tell captions apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.clip import Clip
from metrics.images.text_scores import retrieved
from networks.generator import Generator
from rendering.camera_distribution import CameraDistribution
from training.adapt.shift import draw_scene

# Images of each caption.
IMAGES = 4


@torch.no_grad()
def r_precision(
    generator: Generator,
    clip: Clip,
    captions: Sequence[str],
    vectors: Tensor,
    cameras: CameraDistribution,
    background: float,
    seed: int,
) -> float:
    """The share of images that a CLIP finds closer to their own caption than to all others of `captions`, in [0, 1].

    vectors [N, text_dim]: what the generator is told of the N captions. Each has `IMAGES` images, of the same latents
    and cameras for all captions.
    """
    scene = draw_scene(generator, cameras, seed, range(IMAGES))
    images = []
    for vector in vectors:
        text = vector[None].expand(IMAGES, -1)
        w_geo, w_tex = generator.map(scene.z_geo, scene.z_tex, labels=scene.labels, text=text)
        rendered = generator.render(w_geo, w_tex, scene.cameras, background, clip.resolution)
        images.append(clip.embed_images(rendered.rgb / 2 + 0.5))
    own = torch.arange(len(captions)).repeat_interleave(IMAGES)
    return float(retrieved(torch.cat(images).cpu(), clip.embed_texts(list(captions)).cpu(), own).double().mean())
