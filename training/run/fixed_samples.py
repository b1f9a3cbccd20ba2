"""Fixed samples: the same shapes, rendered again and again to follow a run.

They give the image grid of every snapshot and the statistics of every log line.
"""

import math

import numpy as np
import torch

from geometry.topology import count_components
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from rendering.images import image_grid
from sampling.latents import latents
from sampling.style_images import preview_shading, render_styles
from sampling.styles import label_tensor

SHAPES = 16
COLUMNS = 8
_AZIMUTHS_DEG = (35.0, 215.0)
_CAMERAS_DRAWN = 255  # to take the median of


def distribution_cameras(camera_distribution: CameraDistribution) -> Cameras:
    """A camera at the front right and one opposite, with the distribution's median elevation, distance and lens."""
    drawn = camera_distribution.sample(0, range(_CAMERAS_DRAWN))
    azimuth = torch.deg2rad(torch.tensor(_AZIMUTHS_DEG))
    elevation = drawn.elevation_rad().median().expand_as(azimuth)
    radius = float(drawn.position().norm(dim=1).median())
    fov = 2 * math.atan(1 / float(drawn.focal[:, 1].median()))
    return Cameras.orbit(azimuth, elevation, radius, fov, camera_distribution.near, camera_distribution.far)


class FixedSamples:
    """Sixteen shapes (latents of seeds 0–15, without truncation) seen by fixed cameras.

    shading: of the training views. Colors that include lighting are not lit again in the image grid.
    """

    def __init__(
        self, generator: Generator, camera_distribution: CameraDistribution, shading: str | None = None
    ) -> None:
        config, device = generator.config, generator.device
        self.generator = generator
        self.shading = preview_shading(shading)
        self.cameras = distribution_cameras(camera_distribution).to(device)
        self.z_geo, self.z_tex = latents(range(SHAPES), config.mapping.z_dim, device)
        self.labels = label_tensor(config.classes, range(SHAPES), device)

    @torch.no_grad()
    def statistics(self) -> dict[str, float]:
        """ "fixed_samples/components" and "fixed_samples/diversity".

        components: mean number of connected components per shape. diversity: standard deviation of the masks of the
        first camera over the shapes, averaged over the pixels; 0 if all shapes look alike, about 0.15 for chairs.
        """
        rendered = self._render(1)
        shapes = rendered.surface.mesh.to("cpu")
        counts = [count_components(shapes[index]) for index in range(SHAPES)]
        diversity = rendered.mask.float().std(0, unbiased=False).mean()
        return {"fixed_samples/components": float(np.mean(counts)), "fixed_samples/diversity": diversity.item()}

    @torch.no_grad()
    def image_grid(self) -> np.ndarray:
        """The shapes in rows of eight, from the front and, in the row below, from behind: [H, W, 3] uint8."""
        w_geo, w_tex = self.generator.map(self.z_geo, self.z_tex, labels=self.labels)
        images = render_styles(self.generator, w_geo, w_tex, self.cameras, shading=self.shading)
        rows = images.reshape(SHAPES // COLUMNS, COLUMNS, *images.shape[1:]).swapaxes(1, 2)
        return image_grid(rows.reshape(-1, *images.shape[2:]), COLUMNS)

    def _render(self, views: int) -> Rendered:
        w_geo, w_tex = self.generator.map(self.z_geo, self.z_tex, labels=self.labels)
        cameras = Cameras.cat([self.cameras[:views]] * SHAPES)
        return self.generator.render(w_geo, w_tex, cameras)
