"""Light on surfaces. All values here are linear light."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Shading = Literal["albedo", "soft"]
LightName = Literal["studio", "sky"]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A large lamp far away. towards: direction to it, world axes. intensity: linear, on a surface that faces it.

    size in [0, 1]: 0 = a point, whose light ends where a surface turns away by 90°; 1 = half the sky.
    """

    towards: Vector
    intensity: float
    size: float


@dataclass(frozen=True)
class Lighting:
    """Lamps and a hemisphere: `sky` from +Y fading to `ground` from −Y, linear intensities."""

    lights: tuple[Light, ...]
    sky: float
    ground: float


# A key light at the upper right of the front, a weaker one at the left, one behind, and a bright room around. A white
# surface facing the key stays just under 1; the underside keeps a quarter of it.
STUDIO = Lighting(
    lights=(
        Light((0.45, 0.75, 0.6), 0.42, 0.5),
        Light((-0.8, 0.35, 0.5), 0.16, 0.7),
        Light((0.1, 0.5, -0.9), 0.12, 0.5),
    ),
    sky=0.45,
    ground=0.22,
)

# No lamps: an overcast sky over a gray floor.
SKY = Lighting(lights=(), sky=0.98, ground=0.3)
LIGHTINGS: dict[LightName, Lighting] = {"studio": STUDIO, "sky": SKY}


def irradiance(normals: Tensor, lighting: Lighting = STUDIO, visibility: Tensor | None = None) -> Tensor:
    """Light that arrives at surfaces with unit normals [P, 3], linear [P, 1]; no shadows are cast.

    visibility [P, 1]: the share of the hemisphere that nothing blocks (`rendering/ambient_occlusion.py`); it dims the
    hemisphere's light, not the lamps'.
    """
    height = normals[:, 1:2]
    total = lighting.ground + (lighting.sky - lighting.ground) * (0.5 + 0.5 * height)
    if visibility is not None:
        total = total * visibility
    for light in lighting.lights:
        towards = functional.normalize(normals.new_tensor(light.towards), dim=0)
        cosine = (normals @ towards)[:, None]
        # A lamp of some size still lights what has turned away from its middle ("wrapped" cosine).
        total = total + light.intensity * ((cosine + light.size) / (1 + light.size)).clamp(min=0)
    return total


def sheen(
    normals: Tensor, towards_eye: Tensor, lighting: Lighting = STUDIO, visibility: Tensor | None = None
) -> Tensor:
    """Light that a satin coat mirrors towards the eye, linear [P, 1]; it shows the form of surfaces however dark.

    normals, towards_eye: unit vectors [P, 3]. Schlick's Fresnel term of a refractive index of 1.5, damped at grazing
    angles as rough surfaces damp it; the mirrored surroundings are as blurred as `irradiance`.
    """
    cosine = (normals * towards_eye).sum(1, keepdim=True)
    mirrored = 2 * cosine * normals - towards_eye
    share = 0.04 + 0.2 * (1 - cosine.clamp(0, 1)) ** 5
    return share * irradiance(mirrored, lighting, visibility)


def facing(normals: Tensor, points: Tensor, eyes: Tensor) -> Tensor:
    """Normals [P, 3] turned towards the eyes [P, 3] (open and doubled surfaces are seen from both sides)."""
    away = ((eyes - points) * normals).sum(1, keepdim=True) < 0
    return torch.where(away, -normals, normals)


def reflected(
    base_linear: Tensor,
    normals: Tensor | None,
    shading: Shading,
    lighting: Lighting = STUDIO,
    visibility: Tensor | None = None,
) -> Tensor:
    """Linear light [P, 3] that leaves surfaces of linear base color [P, 3]: the base color itself ("albedo"), or
    that in a light ("soft", see `irradiance`), at most 1.
    """
    if shading == "albedo":
        return base_linear
    if normals is None:
        raise ValueError("reflected(): expected normals for soft shading, got None")
    return (base_linear * irradiance(normals, lighting, visibility)).clamp(max=1)
