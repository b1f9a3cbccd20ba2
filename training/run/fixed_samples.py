"""What the running-average generator draws at fixed latents: the sheet of a snapshot, and the figures of a log line."""

import math

import numpy as np
import torch

from geometry.topology import count_components
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from rendering.images import image_grid
from sampling.generate import preview_shading, render_styles
from sampling.latents import latents

SHAPES = 16
COLUMNS = 8
_AZIMUTHS_DEG = (35.0, 215.0)
_LAW_SAMPLES = 255


def distribution_cameras(camera_distribution: CameraDistribution) -> Cameras:
    """One camera to the front right, one behind, with the median elevation, distance and lens of a distribution."""
    drawn = camera_distribution.sample(0, range(_LAW_SAMPLES))
    azimuth = torch.deg2rad(torch.tensor(_AZIMUTHS_DEG))
    elevation = drawn.elevation_rad().median().expand_as(azimuth)
    radius = float(drawn.position().norm(dim=1).median())
    fov = 2 * math.atan(1 / float(drawn.focal[:, 1].median()))
    return Cameras.orbit(azimuth, elevation, radius, fov, camera_distribution.near, camera_distribution.far)


class Probe:
    """Sixteen fixed shapes (latents of seeds 0–15), seen by fixed cameras, without truncation.

    shading: of the views that the generator learns from; colors that hold light already are not lit again.
    """

    def __init__(
        self, generator: Generator, camera_distribution: CameraDistribution, shading: str | None = None
    ) -> None:
        config, device = generator.config, generator.device
        self.generator = generator
        self.shading = preview_shading(shading)
        self.cameras = distribution_cameras(camera_distribution).to(device)
        self.z_geo, self.z_tex = latents(range(SHAPES), config.mapping.z_dim, device)
        self.labels = torch.arange(SHAPES, device=device) % config.classes if config.classes else None

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """probe/components: separate parts a shape. probe/diversity: spread between the shapes' masks.

        The spread is the standard deviation over the shapes, averaged over the pixels, seen by the first camera: 0 when
        all look alike, about 0.15 for chairs.
        """
        rendered = self._render(1)
        shapes = rendered.surface.mesh.to("cpu")
        counts = [count_components(shapes[index]) for index in range(SHAPES)]
        spread = rendered.mask.float().std(0, unbiased=False).mean()
        return {"probe/components": float(np.mean(counts)), "probe/diversity": spread.item()}

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """The shapes in rows of eight, each seen from the front and, below it, from behind: [H, W, 3] uint8."""
        w_geo, w_tex = self.generator.map(self.z_geo, self.z_tex, labels=self.labels)
        images = render_styles(self.generator, w_geo, w_tex, self.cameras, shading=self.shading)
        rows = images.reshape(SHAPES // COLUMNS, COLUMNS, *images.shape[1:]).swapaxes(1, 2)
        return image_grid(rows.reshape(-1, *images.shape[2:]), COLUMNS)

    def _render(self, views: int) -> Rendered:
        w_geo, w_tex = self.generator.map(self.z_geo, self.z_tex, labels=self.labels)
        cameras = Cameras.cat([self.cameras[:views]] * SHAPES)
        return self.generator.render(w_geo, w_tex, cameras)
