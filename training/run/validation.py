"""Scores of samples against held-out shapes and real views, followed during a run."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dataset_tool.render.lights import draw_environments
from geometry.surface_sampling import sample_surface
from metrics.images.frechet import frechet_distance_of_features
from metrics.shapes.mmd_cov_1nna import DistanceMatrix, coverage, minimum_matching_distance
from networks.generator import Generator
from rendering.images import to_uint8
from sampling.latents import latents
from sampling.styles import label_tensor
from torch_utils.errors import UserError
from torch_utils.ops.chamfer import chamfer_matrix
from training.data import Data
from training.fakes import render_like_data

if TYPE_CHECKING:
    from metrics.images.detectors import Detector

# Shapes that go through the generator at once, and points of each.
CHUNK, POINTS = 8, 1024


class Validation:
    """MMD and COV by Chamfer distance of as many samples as there are held-out shapes, always of the same seeds.

    A quick figure to follow a run and to choose its best network. `tetragan evaluate` measures a network by a protocol.
    """

    def __init__(self, generator: Generator, held_out: Tensor) -> None:
        """generator: whose samples `scores` measures. held_out: points [R, P, 3] on shapes, world units."""
        self.generator = generator
        self.held_out = held_out[:, :POINTS].to(generator.device).contiguous()
        self.z_geo, self.z_tex = latents(range(len(held_out)), generator.config.mapping.z_dim, generator.device)
        self.labels = label_tensor(generator.config.classes, range(len(held_out)), generator.device)

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """ "validation/mmd_cd" (× 10⁻³, lower is better) and "validation/cov_cd" (%), without truncation."""
        matrix = DistanceMatrix(chamfer_matrix(self.held_out, self._sampled_points()))
        return {
            "validation/mmd_cd": 1e3 * minimum_matching_distance(matrix),
            "validation/cov_cd": 100 * coverage(matrix),
        }

    def _sampled_points(self) -> Tensor:
        """Points on every sample's surface [R, P, 3]; NaN, which is far from everything, for one without a surface."""
        draws = torch.Generator().manual_seed(0)
        points = []
        for part in chunks(range(len(self.held_out))):
            rows = slice(part[0], part[-1] + 1)
            labels = None if self.labels is None else self.labels[rows]
            w_geo, _ = self.generator.map(self.z_geo[rows], self.z_tex[rows], labels=labels)
            points.append(sample_surface(self.generator.mesh(w_geo).mesh, POINTS, draws)[0])
        return torch.cat(points).float()


class ImageValidation:
    """Fréchet distance, in a detector's features, between views of the training set and images of as many samples.

    The samples have the same seeds and cameras each time, without truncation. A figure to follow a run: with so few
    images it is far above that of `tetragan evaluate`, by an amount that stays the same.
    """

    def __init__(self, generator: Generator, data: Data, count: int, detector: "Detector") -> None:
        """generator: whose samples `scores` measures. count: of views, evenly spaced in the training set."""
        self.generator, self.detector, config = generator, detector, generator.config
        self.z_geo, self.z_tex = latents(range(count), config.mapping.z_dim, generator.device)
        self.light = data.light
        self.cameras = data.camera_distribution.sample(0, range(count)).to(generator.device)
        self.labels = label_tensor(config.classes, range(count), generator.device)
        views = [place * len(data.bank) // count for place in range(count)]
        self.reals = torch.cat([self._features(data.bank.batch(part)[0][:, :3]) for part in chunks(views)])

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """ "validation/fd_lite0", lower is better."""
        images = torch.cat([self._features(self._drawn(part)) for part in chunks(range(len(self.reals)))])
        return {"validation/fd_lite0": frechet_distance_of_features(self.reals, images)}

    def _drawn(self, rows: Sequence[int]) -> Tensor:
        chosen = slice(rows[0], rows[-1] + 1)
        labels = None if self.labels is None else self.labels[chosen]
        w_geo, w_tex = self.generator.map(self.z_geo[chosen], self.z_tex[chosen], labels=labels)
        lights = draw_environments(self.light, 0, rows, self.generator.device)
        return render_like_data(self.generator, w_geo, w_tex, self.cameras[chosen], lights).rgb

    def _features(self, rgb: Tensor) -> Tensor:
        """Features [B, D] of images [B, 3, R, R] in [−1, 1]."""
        return self.detector.features(torch.from_numpy(to_uint8(rgb)).permute(0, 3, 1, 2).contiguous())


def image_validation(generator: Generator, data: Data, count: int) -> ImageValidation | None:
    """`ImageValidation` by EfficientNet-Lite0; None where its packages are not installed, or for fewer than two."""
    from metrics.images.detectors import lite0_detector

    if count < 2:
        return None
    try:
        detector = lite0_detector(generator.device)
    except UserError:
        return None
    return ImageValidation(generator, data, count, detector)


def chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    """Consecutive parts of at most `CHUNK` items."""
    for first in range(0, len(items), CHUNK):
        yield items[first : first + CHUNK]
