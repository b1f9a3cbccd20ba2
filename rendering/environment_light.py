"""Light from all around: an image of the environment, filtered once for every roughness. Linear radiance inside.

Equirectangular images, as three.js, glTF viewers and Blender's glTF importer lay them out: row 0 is straight up (+Y),
the middle column looks along +X, and columns run from there towards +Z.

    u = 1/2 + atan2(z, x) / 2π,    v = acos(y) / π

The split-sum approximation (Karis 2013) makes a look-up of the integral over the environment:

    reflected ≈ filtered(mirrored direction, roughness) · albedo of the specular layer + irradiance / π · diffuse albedo

Filters that depend on the angle to their center only are convolutions on the sphere. Between two rows of the image they
are circular convolutions along the columns, which a Fourier transform solves exactly: no noise, and differentiable.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from rendering.brdf import ShadingPoints, ggx_alpha, split_sum_table
from torch_utils.devices import upload
from torch_utils.ops.environment_shading import environment_shading, radiance_from

# Rows of the filtered images, and the roughness of each. Roughness 0 is the image itself.
FILTERED_ROWS = 64
LEVELS = (0.0, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0)
IRRADIANCE_ROWS = 32


@dataclass(frozen=True)
class EnvironmentLight:
    """An environment, ready for lookups. Every image has one more row at each end, so that lookups cross the poles.

    mirror [1, H + 2, W, 3]: radiance. filtered [1, L · (R + 2), 2R, 3]: for `LEVELS[1:]`, one below the other.
    irradiance [1, R' + 2, 2R', 3]: divided by π, so a white diffuse surface has this radiance.
    """

    mirror: Tensor
    filtered: Tensor
    irradiance: Tensor

    @property
    def image(self) -> Tensor:
        """The equirectangular image [H, W, 3] that it was made of."""
        return self.mirror[0, 1:-1]

    def radiance(self, directions: Tensor) -> Tensor:
        """Radiance [..., 3] from unit directions [..., 3]."""
        return radiance_from(self.mirror[0], directions)

    def reflected(self, points: ShadingPoints, visibility: Tensor | None = None) -> Tensor:
        """Radiance [..., 3] from the points to the eye.

        visibility [..., 1]: unblocked share of the hemisphere. It dims the irradiance, and reflections by the estimate
        of Lagarde and de Rousiers (2014, listing 26), which spares mirrors seen from the front.
        """
        normal = points.normal
        surface = (normal, points.towards_eye, points.base_color, points.metallic, points.roughness)
        flat, towards_eye, base_color, metallic, roughness = (
            part.reshape(-1, part.shape[-1]).to(normal.dtype) for part in surface
        )
        parts = environment_shading(
            flat,
            towards_eye,
            base_color,
            metallic,
            roughness,
            mirror=self.mirror[0],
            filtered=self.filtered[0].unflatten(0, (len(LEVELS) - 1, -1)),
            irradiance=self.irradiance[0],
            table=split_sum_table(normal.device, normal.dtype),
            knots=_knots(normal.device, normal.dtype),
        )
        specular, diffuse = (part.view(normal.shape) for part in parts)
        if visibility is None:
            return specular + diffuse
        sharp = torch.exp2(-16 * points.roughness - 1)
        open_share = ((points.cosine + visibility).clamp(min=1e-6) ** sharp - 1 + visibility).clamp(0, 1)
        return specular * open_share + diffuse * visibility

    def rotated(self, angle_rad: float) -> "EnvironmentLight":
        """The environment turned by whole columns about +Y, counter-clockwise seen from above."""

        def turned(image: Tensor) -> Tensor:
            return image.roll(-round(angle_rad / (2 * math.pi) * image.shape[2]), 2)

        return EnvironmentLight(turned(self.mirror), turned(self.filtered), turned(self.irradiance))

    def to(self, device: torch.device | str) -> "EnvironmentLight":
        """A copy on `device`."""
        return EnvironmentLight(*(upload(image, device) for image in (self.mirror, self.filtered, self.irradiance)))


def reflected_of_views(
    points: ShadingPoints,
    counts: Sequence[int],
    environments: Sequence[EnvironmentLight],
    visibility: Tensor | None = None,
) -> Tensor:
    """Linear light [P, 3], at most 1, that the points [P, ...] of several views reflect, one view after another.

    counts: points of each view. environments: one for each view, or one for all.
    """
    if len(environments) == 1:
        return environments[0].reflected(points, visibility).clamp(max=1)
    parts = [getattr(points, field.name).split(list(counts)) for field in fields(points)]
    dimmed = [None] * len(counts) if visibility is None else visibility.split(list(counts))
    lit = [
        environment.reflected(ShadingPoints(*part), dim)
        for environment, dim, *part in zip(environments, dimmed, *parts, strict=True)
    ]
    return torch.cat(lit).clamp(max=1)


def environment_light(image: Tensor) -> EnvironmentLight:
    """Filter an equirectangular image [H, W, 3] of linear radiance, W = 2 H. Differentiable.

    ValueError for another shape.
    """
    if image.dim() != 3 or image.shape[2] != 3 or image.shape[1] != 2 * image.shape[0] or image.shape[0] < 2:
        raise ValueError(f"environment_light(): expected image [H, 2 H, 3], got {list(image.shape)}")
    source = resized(image, FILTERED_ROWS)
    images = [_padded(filtered_by_lobe(source, roughness)) for roughness in LEVELS[1:]]
    small = resized(image, IRRADIANCE_ROWS)
    return EnvironmentLight(
        _padded(image)[None].contiguous(),
        torch.cat(images)[None].contiguous(),
        _padded(_convolved(small, _cosine_kernel(IRRADIANCE_ROWS)))[None].contiguous(),
    )


def filtered_by_lobe(image: Tensor, roughness: float) -> Tensor:
    """An environment [R, 2R, 3] filtered by the GGX lobe of a roughness, seen along the normal (Karis 2013)."""
    return _convolved(image, _lobe_kernel(image.shape[0], roughness))


def resized(image: Tensor, rows: int) -> Tensor:
    """An equirectangular image [H, 2H, C] with other rows; each new texel has the mean radiance of its solid angle."""
    if image.shape[0] == rows:
        return image
    weight = solid_angles(image.shape[0], image)[:, :1, None]
    stack = torch.cat([image * weight, weight.expand(-1, image.shape[1], -1)], 2).permute(2, 0, 1)[None]
    if image.shape[0] >= rows:
        stack = functional.adaptive_avg_pool2d(stack, (rows, 2 * rows))
    else:
        stack = functional.interpolate(stack, (rows, 2 * rows), mode="bilinear")
    return (stack[0, :-1] / stack[0, -1:]).permute(1, 2, 0).contiguous()


def solid_angles(rows: int, like: Tensor) -> Tensor:
    """Solid angle, sr, of each texel [R, 2R] of an equirectangular image; their sum is 4π."""
    edges = torch.linspace(0, math.pi, rows + 1, dtype=torch.float64).cos()
    band = (edges[:-1] - edges[1:]) * (math.pi / rows)
    return band.to(like)[:, None].expand(-1, 2 * rows)


def texel_directions(rows: int, like: Tensor) -> Tensor:
    """Unit vector [R, 2R, 3] through the center of each texel of an equirectangular image."""
    polar = ((torch.arange(rows, dtype=torch.float64) + 0.5) * (math.pi / rows))[:, None]
    azimuth = (torch.arange(2 * rows, dtype=torch.float64) + 0.5) * (math.pi / rows) - math.pi
    ring = polar.sin()
    y = polar.cos().expand(-1, 2 * rows)
    return torch.stack([ring * azimuth.cos(), y, ring * azimuth.sin()], -1).to(like)


@functools.cache
def _knots(device: torch.device, dtype: torch.dtype) -> Tensor:
    """`LEVELS` as a tensor."""
    return torch.tensor(LEVELS, dtype=dtype, device=device)


def _padded(image: Tensor) -> Tensor:
    """An image [H, W, C] with a row more at each end: beyond a pole lies the row itself, half a turn away."""
    half = image.shape[1] // 2
    return torch.cat([image[:1].roll(half, 1), image, image[-1:].roll(half, 1)])


def _convolved(image: Tensor, kernel: Tensor) -> Tensor:
    """The filter applied to an image [R, 2R, C]; kernel: `_spectrum` of its weights."""
    spectrum = torch.fft.rfft(image, dim=1)
    kernel = kernel.to(image)
    mixed = torch.complex(
        torch.einsum("oim,imc->omc", kernel, spectrum.real), torch.einsum("oim,imc->omc", kernel, spectrum.imag)
    )
    return torch.fft.irfft(mixed, image.shape[1], dim=1)


@functools.cache
def _lobe_kernel(rows: int, roughness: float) -> Tensor:
    """GGX: D(h) · n·l with n = v, so that n·h = cos(angle / 2)."""
    alpha = ggx_alpha(torch.tensor(roughness, dtype=torch.float64))
    cosine = _cosines(rows)
    half2 = (1 + cosine) / 2
    return _spectrum((alpha / (1 - half2 + alpha.square() * half2)).square() * cosine.clamp(min=0))


@functools.cache
def _cosine_kernel(rows: int) -> Tensor:
    return _spectrum(_cosines(rows).clamp(min=0))


def _cosines(rows: int) -> Tensor:
    """Cosine [R, R, 2R] of the angle between the texels (o, column 0) and (i, column m)."""
    polar = (torch.arange(rows, dtype=torch.float64) + 0.5) * (math.pi / rows)
    turn = torch.arange(2 * rows, dtype=torch.float64) * (math.pi / rows)
    rings = polar.sin()[:, None] * polar.sin()
    return (rings[..., None] * turn.cos() + (polar.cos()[:, None] * polar.cos())[..., None]).clamp(-1, 1)


def _spectrum(weights: Tensor) -> Tensor:
    """Weights [R, R, 2R] with solid angles, of sum 1 for each output row, Fourier transformed along the columns.

    They are even in the angle, so the transform [R, R, R + 1] is real.
    """
    weights = weights * solid_angles(len(weights), weights)[None, :, :1]
    weights = weights / weights.sum((1, 2), keepdim=True)
    return torch.fft.rfft(weights, dim=2).real.float()
