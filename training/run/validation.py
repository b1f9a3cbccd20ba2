"""Scores of samples against held-out shapes, followed during a run."""

import torch
from torch import Tensor

from geometry.surface_sampling import sample_surface
from metrics.shapes.mmd_cov_1nna import DistanceMatrix, coverage, minimum_matching_distance
from networks.generator import Generator
from sampling.latents import latents
from torch_utils.ops.chamfer import chamfer_matrix

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
        classes = generator.config.classes
        self.labels = torch.arange(len(held_out), device=generator.device) % classes if classes else None

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
        for first in range(0, len(self.held_out), CHUNK):
            rows = slice(first, first + CHUNK)
            labels = None if self.labels is None else self.labels[rows]
            w_geo, _ = self.generator.map(self.z_geo[rows], self.z_tex[rows], labels=labels)
            points.append(sample_surface(self.generator.mesh(w_geo).mesh, POINTS, draws)[0])
        return torch.cat(points).float()
