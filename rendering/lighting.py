"""Light on surfaces. All values here are linear light."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

# "pbr": metallic-roughness surfaces under an environment (`environment_light.py`). "normals": no colors, but the
# normals of the faces (`normal_colors`).
Shading = Literal["albedo", "soft", "pbr", "normals"]
LightName = Literal["studio", "sky"]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A large, distant lamp.

    towards: direction to the lamp, world axes. intensity: linear, on a surface that faces the lamp. size in [0, 1]:
    0 is a point, which lights normals up to 90° away from it; 1 is half of the sky.
    """

    towards: Vector
    intensity: float
    size: float


@dataclass(frozen=True)
class Lighting:
    """Lamps, and a hemisphere that fades from `sky` at +Y to `ground` at −Y; linear intensities."""

    lights: tuple[Light, ...]
    sky: float
    ground: float


# A key light at the upper right of the front, a weaker light at the left, one behind, and a bright room. A white
# surface that faces the key light stays just below 1; the underside gets about a quarter of that.
STUDIO = Lighting(
    lights=(
        Light((0.45, 0.75, 0.6), 0.42, 0.5),
        Light((-0.8, 0.35, 0.5), 0.16, 0.7),
        Light((0.1, 0.5, -0.9), 0.12, 0.5),
    ),
    sky=0.45,
    ground=0.22,
)

# An overcast sky over a gray floor, no lamps.
SKY = Lighting(lights=(), sky=0.98, ground=0.3)
LIGHTINGS: dict[LightName, Lighting] = {"studio": STUDIO, "sky": SKY}


def irradiance(normals: Tensor, lighting: Lighting = STUDIO, visibility: Tensor | None = None) -> Tensor:
    """Light that reaches surfaces with unit normals [P, 3], linear [P, 1]. There are no cast shadows.

    visibility [P, 1]: unblocked share of the hemisphere (`rendering/ambient_occlusion.py`). It dims the light of the
    hemisphere, but not that of the lamps.
    """
    height = normals[:, 1:2]
    total = lighting.ground + (lighting.sky - lighting.ground) * (0.5 + 0.5 * height)
    if visibility is not None:
        total = total * visibility
    for light in lighting.lights:
        towards = functional.normalize(normals.new_tensor(light.towards), dim=0)
        cosine = (normals @ towards)[:, None]
        # A large lamp also lights surfaces turned away from its center ("wrapped" cosine).
        total = total + light.intensity * ((cosine + light.size) / (1 + light.size)).clamp(min=0)
    return total


def sheen(
    normals: Tensor, towards_eye: Tensor, lighting: Lighting = STUDIO, visibility: Tensor | None = None
) -> Tensor:
    """Light that a satin coating reflects towards the eye, linear [P, 1]. It makes the form of dark surfaces visible.

    normals, towards_eye: unit vectors [P, 3]. The reflectance is Schlick's approximation for a refractive index of 1.5,
    reduced at grazing angles as on rough surfaces. The reflected environment is as blurred as `irradiance`.
    """
    cosine = (normals * towards_eye).sum(1, keepdim=True)
    mirrored = 2 * cosine * normals - towards_eye
    share = 0.04 + 0.2 * (1 - cosine.clamp(0, 1)) ** 5
    return share * irradiance(mirrored, lighting, visibility)


def normal_colors(normals: Tensor) -> Tensor:
    """Unit normals [P, 3] as sRGB colors in [0, 1]: (normal + 1) / 2."""
    return (normals + 1) / 2


def facing(normals: Tensor, towards_eye: Tensor) -> Tensor:
    """Normals [P, 3] flipped to the side of vectors to the eye [P, 3]: open surfaces are seen from both sides."""
    away = (towards_eye * normals).sum(1, keepdim=True) < 0
    return torch.where(away, -normals, normals)


def reflected(
    base_linear: Tensor,
    normals: Tensor | None,
    shading: Shading,
    lighting: Lighting = STUDIO,
    visibility: Tensor | None = None,
) -> Tensor:
    """Linear light [P, 3] from surfaces of linear base color [P, 3], at most 1.

    shading: "albedo" returns the base color, "soft" multiplies it by the `irradiance`. ValueError for others.
    """
    if shading == "albedo":
        return base_linear
    if shading != "soft" or normals is None:
        raise ValueError("reflected(): expected soft shading and normals, or albedo")
    return (base_linear * irradiance(normals, lighting, visibility)).clamp(max=1)
