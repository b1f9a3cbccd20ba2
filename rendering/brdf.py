"""The metallic-roughness reflectance of glTF 2.0 (appendix B), with conserved energy. All values are linear light.

A GGX microfacet layer (Walter et al. 2007, "Microfacet models for refraction") with α = roughness² lies on a diffuse
base. What the layer loses to scattering between facets is given back by scaling it (Turquin 2019, "Practical multiple
scattering compensation", eq. 16), and the base gets the light that the layer lets through. So a white surface of any
metallic and roughness reflects exactly what reaches it (the white furnace test), as Blender's Principled BSDF does.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.environment_shading import DIELECTRIC_F0, MIN_COSINE, Albedos, layer_albedos

Diffuse = Literal["lambert", "disney"]
# Smaller values of roughness² make the lobe narrower than float32 can resolve.
MIN_ALPHA = 1e-3
TABLE_SIDE = 256
TABLE_NODES = 48
# Nodes of the quadrature behind the table, along the azimuth (half a turn) and the polar coordinate.
TABLE_SAMPLES = (24, 64)


@dataclass(frozen=True)
class ShadingPoints:
    """Surface points to be lit, with any leading dimensions.

    position, normal, towards_eye [..., 3]: world; the last two of unit length (`EnvironmentLight` takes any length).
    base_color [..., 3]: linear, in [0, 1]. metallic, roughness [..., 1] in [0, 1].
    """

    position: Tensor
    normal: Tensor
    towards_eye: Tensor
    base_color: Tensor
    metallic: Tensor
    roughness: Tensor

    @property
    def f0(self) -> Tensor:
        """Reflectance at normal incidence [..., 3] (glTF 2.0, appendix B.3.1)."""
        return DIELECTRIC_F0 + (self.base_color - DIELECTRIC_F0) * self.metallic

    @property
    def cosine(self) -> Tensor:
        """Cosine [..., 1] between normal and view direction, at least `MIN_COSINE`."""
        normal, towards_eye = (functional.normalize(part, dim=-1) for part in (self.normal, self.towards_eye))
        return (normal * towards_eye).sum(-1, keepdim=True).clamp(min=MIN_COSINE)


def ggx_alpha(roughness: Tensor) -> Tensor:
    """Width of the GGX distribution, roughness² (Burley 2012, section 5.4), at least `MIN_ALPHA`."""
    return roughness.square().clamp(min=MIN_ALPHA)


def ggx_distribution(normal: Tensor, half: Tensor, alpha: Tensor) -> Tensor:
    """Density of facet normals D(h) [..., 1], 1/sr (Walter et al. 2007, eq. 33). normal, half [..., 3] unit vectors."""
    cosine = (normal * half).sum(-1, keepdim=True).clamp(min=0)
    # 1 − (n·h)² from the cross product: the difference itself has no digits left near the center of the lobe.
    sine2 = torch.linalg.cross(normal, half).square().sum(-1, keepdim=True)
    return (alpha / (sine2 + (alpha * cosine).square())).square() / math.pi


def smith_visibility(cosine_light: Tensor, cosine_eye: Tensor, alpha: Tensor) -> Tensor:
    """Height-correlated masking and shadowing G₂ / (4 n·l n·v) (Heitz 2014, eq. 99)."""
    a2 = alpha.square()
    light = cosine_eye * (cosine_light.square() * (1 - a2) + a2).sqrt()
    eye = cosine_light * (cosine_eye.square() * (1 - a2) + a2).sqrt()
    return 0.5 / (light + eye).clamp(min=1e-9)


def schlick_fresnel(f0: Tensor, cosine: Tensor) -> Tensor:
    """Fresnel reflectance [..., 3] at the cosine [..., 1] between view and facet (Schlick 1994, eq. 15)."""
    return f0 + (1 - f0) * (1 - cosine.clamp(0, 1)) ** 5


def disney_diffuse(cosine_light: Tensor, cosine_eye: Tensor, cosine_half: Tensor, roughness: Tensor) -> Tensor:
    """Factor [..., 1] on Lambert's diffuse term: brighter rims on rough surfaces.

    Burley 2012, section 5.3, in the form that conserves energy (Lagarde and de Rousiers 2014, listing 7).
    """
    f90 = 0.5 * roughness + 2 * roughness * cosine_half.square()
    light = 1 + (f90 - 1) * (1 - cosine_light.clamp(0, 1)) ** 5
    eye = 1 + (f90 - 1) * (1 - cosine_eye.clamp(0, 1)) ** 5
    return light * eye * (1 - roughness * (1 - 1 / 1.51))


def albedos(points: ShadingPoints) -> Albedos:
    """What the points reflect of uniform light towards the eye."""
    table = split_sum_table(points.roughness.device, points.roughness.dtype)
    return layer_albedos(points.cosine, points.base_color, points.metallic, points.roughness, table)


def reflectance(points: ShadingPoints, towards_light: Tensor, diffuse: Diffuse = "lambert") -> Tensor:
    """BRDF · n·l [..., 3], 1/sr, for unit vectors towards_light [..., 3]; 0 below the surface."""
    cosine_light = (points.normal * towards_light).sum(-1, keepdim=True).clamp(min=0)
    cosine_eye = points.cosine
    half = functional.normalize(towards_light + points.towards_eye, dim=-1)
    cosine_half = (points.towards_eye * half).sum(-1, keepdim=True)
    alpha = ggx_alpha(points.roughness)
    of = albedos(points)
    specular = ggx_distribution(points.normal, half, alpha) * smith_visibility(cosine_light, cosine_eye, alpha)
    specular = specular * schlick_fresnel(points.f0, cosine_half) * of.compensation
    base = of.diffuse / math.pi
    if diffuse == "disney":
        base = base * disney_diffuse(cosine_light, cosine_eye, cosine_half, points.roughness)
    return (specular + base) * cosine_light


@functools.cache
def split_sum_table(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """(A, B) such that the layer reflects f0·A + B of uniform light (Karis 2013, "Real shading in Unreal").

    The table [256, 256, 2]: rows are roughness, columns n·v, both from 0 to 1 (`environment_shading`, `split_sum`).
    It is integrated at `TABLE_NODES`² points, which are dense near grazing angles, and interpolated by a cubic spline.
    """
    if torch.device(device).type != "cpu" or dtype != torch.float32:
        return split_sum_table().to(device, dtype)
    nodes = torch.linspace(0, 1, TABLE_NODES)
    with torch.no_grad():
        cosines = nodes.square().clamp(min=MIN_COSINE)
        values = torch.stack([_split_sum_row(cosines, float(roughness)) for roughness in nodes]).double().numpy()
    from scipy.interpolate import RectBivariateSpline  # a tenth of a second that only this table is worth

    line = np.linspace(0, 1, TABLE_SIDE)
    splines = [RectBivariateSpline(nodes, nodes, values[..., channel], s=0) for channel in (0, 1)]
    table = np.stack([spline(line, np.sqrt(line)) for spline in splines], -1)
    return torch.from_numpy(table.clip(0, 1)).float()


def _split_sum_row(cosine: Tensor, roughness: float) -> Tensor:
    """(A, B) [S, 2] for cosines [S] at one roughness.

    The facets that the eye sees are parametrized evenly by the unit square (Dupuy and Benyoub 2023, "Sampling visible
    GGX normals with spherical caps"), and the smooth rest, G₂ / G₁ · F, is summed at Gauss-Legendre nodes. The
    steepest facets have little weight, but lose light: the substitution share = 1 − s³ gives them more nodes.
    """
    alpha = max(roughness**2, MIN_ALPHA)
    turns, steps = TABLE_SAMPLES
    azimuth = ((torch.arange(turns) + 0.5) * (math.pi / turns))[:, None, None]
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    s, weight = (torch.from_numpy(row).float()[:, None] / 2 for row in (nodes + 1, weights))
    share, weight = 1 - s**3, 3 * s**2 * weight
    sine = (1 - cosine.square()).sqrt()
    # The view direction in the space where the facets form a hemisphere.
    length = (cosine.square() + (alpha * sine).square()).sqrt()
    view_x, view_z = alpha * sine / length, cosine / length
    z = (1 - share) * (1 + view_z) - view_z
    ring = (1 - z.square()).clamp(min=0).sqrt()
    x, y, z = (ring * azimuth.cos() + view_x) * alpha, ring * azimuth.sin() * alpha, z + view_z
    norm = (x.square() + y.square() + z.square()).sqrt().clamp(min=1e-12)
    facing = ((x * sine + z * cosine) / norm).clamp(0, 1)
    light = (2 * facing * z / norm - cosine).clamp(min=0)
    # G₂ / G₁ of Smith's height-correlated form.
    eye_root = (cosine.square() * (1 - alpha**2) + alpha**2).sqrt()
    light_root = (light.square() * (1 - alpha**2) + alpha**2).sqrt()
    masking = light * (cosine + eye_root) / (light * eye_root + cosine * light_root).clamp(min=1e-12)
    fresnel = (1 - facing) ** 5
    parts = ((1 - fresnel) * masking, fresnel * masking)
    return torch.stack([(part * weight).sum(0).sum(0) / turns for part in parts], -1)
