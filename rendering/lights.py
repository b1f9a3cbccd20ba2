"""Point, sun and area lights on metallic-roughness surfaces. Linear radiance; nothing casts shadows.

A light gives `reflected(points)`, the radiance [..., 3] to the eye, as environments and spherical Gaussians do.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rendering.brdf import Diffuse, ShadingPoints, reflectance


class LightSource(Protocol):
    """What lights surfaces."""

    def reflected(self, points: ShadingPoints) -> Tensor:
        """Radiance [..., 3] from the points to the eye."""
        ...


def reflected_of_all(points: ShadingPoints, lights: Iterable[LightSource]) -> Tensor:
    """Radiance [..., 3] from the points to the eye under several lights together."""
    return torch.stack([light.reflected(points) for light in lights]).sum(0)


@dataclass(frozen=True)
class SunLight:
    """Parallel light. towards [3]: direction to the sun, any length. irradiance [3]: on a surface that faces it."""

    towards: Tensor
    irradiance: Tensor
    diffuse: Diffuse = "lambert"

    def reflected(self, points: ShadingPoints) -> Tensor:
        """Radiance [..., 3] from the points to the eye."""
        towards = functional.normalize(self.towards, dim=0).expand_as(points.normal)
        return reflectance(points, towards, self.diffuse) * self.irradiance


@dataclass(frozen=True)
class PointLight:
    """A small lamp at a position [3] with radiant intensity [3]; its light falls with the squared distance."""

    position: Tensor
    intensity: Tensor
    diffuse: Diffuse = "lambert"

    def reflected(self, points: ShadingPoints) -> Tensor:
        """Radiance [..., 3] from the points to the eye."""
        offset = self.position - points.position
        distance2 = offset.square().sum(-1, keepdim=True).clamp(min=1e-12)
        return reflectance(points, offset / distance2.sqrt(), self.diffuse) * self.intensity / distance2


@dataclass(frozen=True)
class AreaLight:
    """A parallelogram that shines to one side, along edge_u × edge_v.

    center, edge_u, edge_v [3]: world; the edges are whole sides. radiance [3]. samples: along each side; reflections of
    surfaces much smoother than a sample is large show the samples apart.
    """

    center: Tensor
    edge_u: Tensor
    edge_v: Tensor
    radiance: Tensor
    samples: int = 8
    diffuse: Diffuse = "lambert"

    def reflected(self, points: ShadingPoints) -> Tensor:
        """Radiance [..., 3] from the points to the eye: midpoints over the light's area."""
        cross = torch.linalg.cross(self.edge_u, self.edge_v)
        area = cross.norm()
        line = (torch.arange(self.samples).to(self.center) + 0.5) / self.samples - 0.5
        total = torch.zeros_like(points.base_color)
        for u in line:
            for v in line:
                offset = self.center + u * self.edge_u + v * self.edge_v - points.position
                distance2 = offset.square().sum(-1, keepdim=True).clamp(min=1e-12)
                towards = offset / distance2.sqrt()
                facing = -(towards * (cross / area)).sum(-1, keepdim=True)
                total = total + reflectance(points, towards, self.diffuse) * (facing.clamp(min=0) / distance2)
        return total * self.radiance * (area / self.samples**2)

    def power(self) -> Tensor:
        """Radiant flux [3], as Blender's lamps are set in watts: π · radiance · area."""
        return math.pi * self.radiance * torch.linalg.cross(self.edge_u, self.edge_v).norm()
