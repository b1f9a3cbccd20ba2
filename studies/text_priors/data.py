"""Captioned images of procedural shapes of all categories: what the included priors and the classifier see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.procedural.as_mesh import as_source_mesh
from dataset_tool.procedural.captions import type_word
from dataset_tool.procedural.categories import CATEGORIES, make_shape
from dataset_tool.procedural.finishes import Finish, draw_finish, with_finish
from dataset_tool.sources.orientation import normalize
from rendering.camera_distribution import load_camera_distribution
from rendering.lighting import LightName, Shading
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from torch_utils.files import replacing
from torch_utils.progress import progress_bar
from torch_utils.seeding import sample_rng

SIDE = 32
VIEWS = 3
SCALE = 0.7
# Half of the images are chairs: the included networks make chairs.
SHARES = {"chair": 0.5} | {name: 0.1 for name in CATEGORIES if name != "chair"}
NATURAL_SHARE = 0.25


@dataclass(frozen=True)
class Shot:
    """What an image shows. finish: None for the shape's own materials, whose caption names the shape alone."""

    category: str
    kind: str
    finish: Finish | None


@dataclass(frozen=True)
class Captioned:
    """rgba uint8 [N, 4, S, S], straight alpha; shots [N]."""

    rgba: Tensor
    shots: list[Shot]

    def on(self, background: float | Tensor) -> Tensor:
        """Images [N, 3, S, S] in [−1, 1] over a background in [0, 1]: a number, or [N, 3]."""
        return over(self.rgba, background)

    def rows(self, which: range) -> "Captioned":
        """Some of the images."""
        return Captioned(self.rgba[which.start : which.stop], self.shots[which.start : which.stop])


def over(rgba: Tensor, background: float | Tensor) -> Tensor:
    """rgba uint8 [N, 4, S, S] over a background in [0, 1], a number or [N, 3]: [N, 3, S, S] in [−1, 1]."""
    pixels = rgba.float() / 255
    ground = background if isinstance(background, float) else background[:, :, None, None]
    return (pixels[:, :3] * pixels[:, 3:] + ground * (1 - pixels[:, 3:])) * 2 - 1


def render_shot(seed: int, index: int, shading: Shading, light: LightName) -> tuple[Shot, np.ndarray]:
    """Shape `index` of a seed with its finish: what it is, and its views, rgba uint8 [VIEWS, S, S, 4]."""
    rng = sample_rng(seed, index, "text prior")
    category = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    shape = make_shape(category, seed, index)
    finish = None if rng.random() < NATURAL_SHARE else draw_finish(rng)
    painted = shape if finish is None else with_finish(shape, finish, rng)
    mesh, _ = normalize(as_source_mesh(painted), "+Y", "+Z", SCALE)
    cameras = load_camera_distribution(category).sample(seed, range(index * VIEWS, (index + 1) * VIEWS))
    images = render_views(build_scene(mesh), cameras, SIDE, Look(shading, light), supersample=2).images
    return Shot(category, type_word(category, shape.class_name), finish), images


def captioned_images(
    seed: int, count: int, cache: Path, shading: Shading = "albedo", light: LightName = "studio", start: int = 0
) -> Captioned:
    """Images of shapes `start` … `start + count` of a seed, VIEWS each; read from `cache` where it holds them."""
    path = cache / f"images-{seed}-{start}-{count}-{shading}-{light}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            rgba, words = stored["rgba"], stored["words"]
    else:
        images, words = [], []
        with progress_bar("rendering shapes", count) as advance:
            for index in range(start, start + count):
                shot, views = render_shot(seed, index, shading, light)
                images.append(views)
                finish = shot.finish
                mine = ("", "", "") if finish is None else (finish.color, finish.material, finish.pattern)
                words += [(shot.category, shot.kind, *mine)] * len(views)
                advance()
        rgba, words = np.concatenate(images), np.array(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, rgba=rgba, words=words)
    shots = [Shot(str(c), str(k), Finish(str(a), str(m), str(p)) if m else None) for c, k, a, m, p in words]
    return Captioned(torch.from_numpy(rgba).permute(0, 3, 1, 2).contiguous(), shots)


def joined(parts: list[Captioned]) -> Captioned:
    """All images of several sets."""
    return Captioned(torch.cat([part.rgba for part in parts]), [shot for part in parts for shot in part.shots])
