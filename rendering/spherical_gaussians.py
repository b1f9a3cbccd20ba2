"""Light as a sum of spherical Gaussians, G(v) = a · exp(λ (v · μ − 1)), whose integrals against surfaces are closed.

Wang et al. 2009, "All-frequency rendering of dynamic, spatially-varying reflectance", and DIB-R++ (Chen et al. 2021),
which learns materials under such lights. Values are linear radiance.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rendering.brdf import ShadingPoints, albedos, ggx_alpha, schlick_fresnel, smith_visibility
from rendering.environment_light import resized, solid_angles, texel_directions
from torch_utils.ops.texture import texture

LOBES = 32
FIT_ROWS = 24
FIT_STEPS = 200
# Table of `cosine_integral`: size, range of λ, and midpoints of its quadrature.
SHARE_TABLE, SHARE_SHARPNESS, SHARE_STEPS = (128, 384), (0.05, 3000.0), 256
MIN_SHARPNESS, MAX_SHARPNESS = 0.3, 1e4


@dataclass(frozen=True)
class SphericalGaussians:
    """A sum of K lobes: axes [K, 3] unit vectors μ, sharpness [K, 1] λ > 0, amplitudes [K, 3] a ≥ 0."""

    axes: Tensor
    sharpness: Tensor
    amplitudes: Tensor

    def radiance(self, directions: Tensor) -> Tensor:
        """Radiance [..., 3] from unit directions [..., 3]."""
        return torch.exp(self.sharpness.T * (directions @ self.axes.T - 1)) @ self.amplitudes

    def integral(self) -> Tensor:
        """Integral [3] over all directions: Σ 2π a (1 − exp(−2λ)) / λ."""
        return (lobe_integral(self.sharpness) * self.amplitudes).sum(0)

    def irradiance(self, normals: Tensor) -> Tensor:
        """Integral [..., 3] of radiance · max(n·v, 0) for unit normals [..., 3], by `cosine_integral`."""
        return cosine_integral(normals @ self.axes.T, self.sharpness.T) @ self.amplitudes

    def reflected(self, points: ShadingPoints, visibility: Tensor | None = None) -> Tensor:
        """Radiance [..., 3] from the points to the eye; visibility [..., 1] dims all of it.

        Specular: the GGX lobe as a Gaussian over half vectors, λ = 2/α², a = 1/(πα²), warped to the mirrored direction
        with λ / (4 n·v) (Wang et al. 2009, section 3.3), times the other factors at the lobe's center.
        """
        albedo = albedos(points)
        diffuse = albedo.diffuse / math.pi * self.irradiance(points.normal)
        alpha2 = ggx_alpha(points.roughness).square()
        mirrored = 2 * (points.normal * points.towards_eye).sum(-1, keepdim=True) * points.normal - points.towards_eye
        warped = 2 / alpha2 / (4 * points.cosine)
        product = product_integral(mirrored @ self.axes.T, warped, self.sharpness.T)
        cosine = (mirrored * points.normal).sum(-1, keepdim=True).clamp(min=0)
        half = functional.normalize(mirrored + points.towards_eye, dim=-1)
        fresnel = schlick_fresnel(points.f0, (half * points.towards_eye).sum(-1, keepdim=True))
        masking = smith_visibility(cosine, points.cosine, ggx_alpha(points.roughness))
        specular = (product @ self.amplitudes) * (masking * cosine / (math.pi * alpha2))
        total = diffuse + specular * fresnel * albedo.compensation
        return total if visibility is None else total * visibility


def lobe_integral(sharpness: Tensor) -> Tensor:
    """Integral of exp(λ (v·μ − 1)) over the sphere, for any shape of λ."""
    return 2 * math.pi * -torch.expm1(-2 * sharpness) / sharpness


def product_integral(cosine: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Integral of the product of two lobes of amplitude 1, with the cosine between their axes.

    2π e^{d − l} (1 − e^{−2d}) / d with d = ‖λ₁μ₁ + λ₂μ₂‖ and l = λ₁ + λ₂. Arguments broadcast.
    """
    total = first + second
    # d − l without cancellation: d² − l² = −2 λ₁ λ₂ (1 − cos).
    gap2 = 2 * first * second * (1 - cosine).clamp(min=0)
    length = (total.square() - gap2).clamp(min=1e-12).sqrt()
    return torch.exp(-gap2 / (length + total)) * lobe_integral(length)


def cosine_integral(cosine: Tensor, sharpness: Tensor) -> Tensor:
    """Integral of exp(λ (v·μ − 1)) · max(n·v, 0), with cosine = n·μ. Arguments broadcast.

    A lookup in a table of the exact share of `lobe_integral`, for λ from 0.05 to 3,000.
    """
    cosine, sharpness = torch.broadcast_tensors(cosine, sharpness)
    rows, columns = SHARE_TABLE
    low, high = (math.log(bound) for bound in SHARE_SHARPNESS)
    row = (sharpness.log() - low) / (high - low) * (rows - 1)
    column = (cosine + 1) / 2 * (columns - 1)
    uv = torch.stack([(column + 0.5) / columns, (row + 0.5) / rows], -1).reshape(1, 1, -1, 2)
    table = _cosine_shares(uv.device, uv.dtype)
    return texture(table, uv, filter="bilinear", boundary="clamp").view(cosine.shape) * lobe_integral(sharpness)


@functools.cache
def _cosine_shares(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The table [1, rows, columns, 1]: rows are log λ, columns n·μ from −1 to 1.

    With t = n·v, the azimuth around n integrates to 2π exp(λ (t c − 1)) I₀(λ √(1 − t²) √(1 − c²)).
    """
    if torch.device(device).type != "cpu" or dtype != torch.float32:
        return _cosine_shares().to(device, dtype)
    rows, columns = SHARE_TABLE
    low, high = (math.log(bound) for bound in SHARE_SHARPNESS)
    sharpness = torch.linspace(low, high, rows, dtype=torch.float64).exp()[:, None, None]
    cosine = torch.linspace(-1, 1, columns, dtype=torch.float64)[:, None]
    polar = (torch.arange(SHARE_STEPS, dtype=torch.float64) + 0.5) * (math.pi / 2 / SHARE_STEPS)
    t, sine = polar.cos(), polar.sin()
    sines = sine * (1 - cosine.square()).clamp(min=0).sqrt()
    # i0e is I₀ · exp(−x), which moves into the exponential.
    around = torch.exp(sharpness * (t * cosine - 1 + sines)) * torch.special.i0e(sharpness * sines)
    shares = (t * sine * around).mean(2) * math.pi**2 / lobe_integral(sharpness[..., 0])
    return shares.float()[None, ..., None]


def fit_lobes(image: Tensor, lobes: int = LOBES, *, rows: int = FIT_ROWS, steps: int = FIT_STEPS) -> SphericalGaussians:
    """Lobes whose sum is close to an environment [H, 2H, 3] of linear radiance, by gradient descent.

    Half of the lobes start at the brightest places, the others evenly around. The loss is the squared difference over
    solid angle, both filtered to `rows` rows and compressed by a square root where they are brighter than the mean, so
    that a sun does not hide the sky; the total light of the result is that of the image.
    """
    with torch.no_grad():
        target = resized(image.detach().float(), rows)
        directions, weight = texel_directions(rows, target), solid_angles(rows, target)[..., None] / (4 * math.pi)
        mean = (target * weight).sum((0, 1)).mean().clamp(min=1e-6)
        axes, widths, colors = _start(target, directions, lobes, mean)
    parameters = [part.requires_grad_() for part in (axes, widths, colors)]
    optimizer = torch.optim.Adam(parameters, 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 0.001)
    for _ in range(steps):
        difference = _compressed(_gaussians(axes, widths, colors).radiance(directions), mean)
        loss = ((difference - _compressed(target, mean)).square() * weight).sum() / mean.square()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found = _gaussians(axes, widths, colors)
        wanted = (target * weight).sum((0, 1)) * 4 * math.pi
        scale = wanted / found.integral().clamp(min=1e-9)
        return SphericalGaussians(found.axes, found.sharpness, found.amplitudes * scale)


def _compressed(radiance: Tensor, mean: Tensor) -> Tensor:
    bright = radiance.clamp(min=1e-12) / mean
    return mean * torch.where(bright > 1, 2 * bright.clamp(min=1).sqrt() - 1, bright)


def _gaussians(axes: Tensor, widths: Tensor, colors: Tensor) -> SphericalGaussians:
    sharpness = widths.exp().clamp(MIN_SHARPNESS, MAX_SHARPNESS)
    return SphericalGaussians(functional.normalize(axes, dim=1), sharpness, colors.exp())


def _start(target: Tensor, directions: Tensor, lobes: int, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Axes [K, 3], logarithms of the sharpness [K, 1] and of the amplitudes [K, 3]."""
    even = lobes - lobes // 2
    index = torch.arange(even, dtype=torch.float32) + 0.5
    y = 1 - 2 * index / even
    angle = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - y.square()).sqrt()
    axes = [*torch.stack([ring * angle.cos(), y, ring * angle.sin()], 1).to(target)]
    places, rest = directions.reshape(-1, 3), target.sum(2).reshape(-1).clone()
    for _ in range(lobes // 2):
        axes.append(places[rest.argmax()])
        rest = rest * (1 - torch.exp(30 * (places @ axes[-1] - 1)))
    stacked = torch.stack(axes)
    nearest = (places @ stacked.T).argmax(0)
    colors = target.reshape(-1, 3)[nearest].clamp(min=0.02 * float(mean))
    width = torch.where(torch.arange(lobes, device=target.device) < even, math.log(even / 2), math.log(20.0))
    colors = torch.where(width[:, None] < math.log(15.0), colors * 0.3, colors)
    return stacked, width[:, None].to(target), colors.log()
