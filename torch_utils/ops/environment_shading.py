"""`environment_shading`: surface points under an environment that was filtered once for every roughness.

    environment_shading(normal [P, 3], towards_eye [P, 3], base_color [P, 3], metallic [P, 1], roughness [P, 1],
                        mirror [H + 2, W, 3], filtered [L, R + 2, C, 3], irradiance [R' + 2, C', 3],
                        table [S, S, 2], knots [L + 1])
        → specular [P, 3], diffuse [P, 3]

The split-sum approximation (Karis 2013, "Real shading in Unreal") with conserved energy (Turquin 2019, "Practical
multiple scattering compensation", eq. 16): linear radiance towards the eye, from the GGX layer and from the base below
it. normal, towards_eye: of any length. base_color: linear; metallic, roughness in [0, 1].

mirror, filtered, irradiance: equirectangular images with one row more at each end, beyond the poles. Row 0 is straight
up (+Y), the middle column looks along +X, and columns run from there towards +Z. `filtered[l]` is seen at roughness
`knots[l + 1]`, `mirror` at `knots[0]`; between them, values are interpolated. irradiance: divided by π. table: (A, B)
such that the layer reflects f0·A + B of uniform light; rows are roughness, columns n·v, both from 0 to 1.

All float32 or float64. Gradient: once, to the first five arguments; straight up and down, the azimuth has none. If one
of the others needs a gradient, plain PyTorch runs. Bitwise repeatable, on the CPU for any number of threads.
Errors: TypeError, ValueError "environment_shading(): expected …, got …".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from torch_utils.ops.autograd import differentiable, differentiable_once
from torch_utils.ops.checks import FLOATING, check_tensor
from torch_utils.ops.loading import use_kernel
from torch_utils.ops.texture import texture

# Reflectance at normal incidence of a dielectric with refractive index 1.5, as glTF fixes it.
DIELECTRIC_F0 = 0.04
MIN_COSINE = 1e-4
# Least share of uniform light that a single scattering of the layer reflects.
MIN_ALBEDO = 1e-4


def environment_shading(
    normal: Tensor,
    towards_eye: Tensor,
    base_color: Tensor,
    metallic: Tensor,
    roughness: Tensor,
    mirror: Tensor,
    filtered: Tensor,
    irradiance: Tensor,
    table: Tensor,
    knots: Tensor,
) -> tuple[Tensor, Tensor]:
    """See the module's text."""
    surface = (normal, towards_eye, base_color, metallic, roughness)
    environment = (mirror, filtered, irradiance, table, knots)
    _check(surface, environment)
    learned = torch.is_grad_enabled() and any(part.requires_grad for part in environment)
    if learned or not use_kernel(normal.device.type, "environment_shading"):
        return environment_shading_reference(*surface, *environment)
    return _environment_shading(*(part.contiguous() for part in (*surface, *environment)))


def _check(surface: tuple[Tensor, ...], environment: tuple[Tensor, ...]) -> None:
    op, normal = "environment_shading", surface[0]
    check_tensor(op, "normal", normal, ("P", 3), FLOATING)
    names = ("towards_eye", "base_color", "metallic", "roughness")
    for name, value, width in zip(names, surface[1:], (3, 3, 1, 1), strict=True):
        check_tensor(op, name, value, (normal.shape[0], width), (normal.dtype,), normal.device)
    mirror, filtered, irradiance, table, knots = environment
    types = (normal.dtype,)
    check_tensor(op, "mirror", mirror, ("H + 2", "W", 3), types, normal.device)
    check_tensor(op, "filtered", filtered, ("L", "R + 2", "C", 3), types, normal.device)
    check_tensor(op, "irradiance", irradiance, ("R' + 2", "C'", 3), types, normal.device)
    check_tensor(op, "table", table, ("S", table.shape[0] if table.dim() else 0, 2), types, normal.device)
    check_tensor(op, "knots", knots, (filtered.shape[0] + 1,), types, normal.device)
    for name, image in (("mirror", mirror), ("filtered", filtered), ("irradiance", irradiance)):
        if min(image.shape) < 1 or image.shape[-3] < 3:
            raise ValueError(f"{op}(): expected {name} of 3 rows or more, got {list(image.shape)}")
    if table.shape[0] < 2:
        raise ValueError(f"{op}(): expected table of 2 rows or more, got {list(table.shape)}")


# ---------------------------------------------------------------------------------------------------------- reference


def environment_shading_reference(
    normal: Tensor,
    towards_eye: Tensor,
    base_color: Tensor,
    metallic: Tensor,
    roughness: Tensor,
    mirror: Tensor,
    filtered: Tensor,
    irradiance: Tensor,
    table: Tensor,
    knots: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same by look-ups in textures, differentiable through autograd to all arguments but the knots."""
    normal, towards_eye = functional.normalize(normal, dim=-1), functional.normalize(towards_eye, dim=-1)
    facing = (normal * towards_eye).sum(-1, keepdim=True)
    albedo = layer_albedos(facing.clamp(min=MIN_COSINE), base_color, metallic, roughness, table)
    specular = _filtered_radiance(2 * facing * normal - towards_eye, roughness, mirror, filtered, knots)
    return specular * albedo.specular, radiance_from(irradiance, normal) * albedo.diffuse


@dataclass(frozen=True)
class Albedos:
    """What a surface reflects of uniform light, for one view direction.

    specular [..., 3]: by the microfacet layer, with multiple scattering. compensation [..., 3]: factor on the
    single-scattering layer that yields it. diffuse [..., 3]: by the base below, through the layer.
    """

    specular: Tensor
    compensation: Tensor
    diffuse: Tensor


def layer_albedos(
    cosine_eye: Tensor, base_color: Tensor, metallic: Tensor, roughness: Tensor, table: Tensor
) -> Albedos:
    """What points reflect of uniform light. cosine_eye [..., 1]: between normal and view direction."""
    scale, bias = split_sum(cosine_eye, roughness, table).split(1, -1)
    f0 = DIELECTRIC_F0 + (base_color - DIELECTRIC_F0) * metallic
    loss = 1 / (scale + bias).clamp(min=MIN_ALBEDO) - 1
    compensation = 1 + f0 * loss
    dielectric = (DIELECTRIC_F0 * scale + bias) * (1 + DIELECTRIC_F0 * loss)
    diffuse = base_color * (1 - metallic) * (1 - dielectric)
    return Albedos((f0 * scale + bias) * compensation, compensation, diffuse)


def split_sum(cosine_eye: Tensor, roughness: Tensor, table: Tensor) -> Tensor:
    """(A, B) [..., 2] of the table [S, S, 2], bilinear. cosine_eye, roughness [..., 1] in [0, 1]."""
    side = table.shape[0]
    uv = torch.cat([cosine_eye, roughness], -1).reshape(1, 1, -1, 2)
    uv = (uv * (side - 1) + 0.5) / side
    return texture(table[None], uv, filter="bilinear", boundary="clamp").view(*cosine_eye.shape[:-1], 2)


def radiance_from(image: Tensor, directions: Tensor) -> Tensor:
    """Bilinear values [..., 3] of an equirectangular image [H + 2, W, 3] in directions [..., 3]."""
    return _look_up(image[None], _angles(directions))


def _look_up(images: Tensor, angles: tuple[Tensor, Tensor], which: Tensor | None = None) -> Tensor:
    """Bilinear values [..., 3] of one of the images [L, H + 2, W, 3] each, `which` [...], at angles [...]."""
    u, v = angles
    count, height = images.shape[:2]
    # The images lie one below the other, so that all points take one look-up.
    row = v * (height - 2) + 1 if which is None else v * (height - 2) + (which * height + 1)
    uv = torch.stack([u, row / (height * count)], -1).reshape(1, 1, -1, 2)
    return texture(images.flatten(0, 1)[None], uv, filter="bilinear", boundary="wrap").view(*u.shape, 3)


def _filtered_radiance(
    directions: Tensor, roughness: Tensor, mirror: Tensor, filtered: Tensor, knots: Tensor
) -> Tensor:
    """Radiance [P, 3] around directions [P, 3], filtered by the lobe of a roughness [P, 1]."""
    upper = torch.bucketize(roughness.detach().contiguous(), knots.detach()).clamp(1, len(filtered))
    share = ((roughness - knots[upper - 1]) / (knots[upper] - knots[upper - 1])).clamp(0, 1)
    angles = _angles(directions)
    above = _look_up(filtered, angles, upper[:, 0] - 1)
    below = _look_up(filtered, angles, (upper[:, 0] - 2).clamp(min=0))
    below = torch.where(upper == 1, _look_up(mirror[None], angles), below)
    return below + (above - below) * share


def _angles(directions: Tensor) -> tuple[Tensor, Tensor]:
    """u and v [...] of directions [..., 3] in an equirectangular image."""
    x, y, z = directions.unbind(-1)
    flat = x.square() + z.square() + 1e-12
    # Straight up and down, the azimuth has no gradient.
    pole = flat < 2e-12
    x, z = torch.where(pole, torch.full_like(x, 1e-6), x), torch.where(pole, z.detach(), z)
    return 0.5 + torch.atan2(z, x) / (2 * math.pi), 0.5 - torch.atan2(y, flat.sqrt()) / math.pi


# ------------------------------------------------------------------------------------------------- schema and autograd

_INPUTS = (
    "Tensor normal, Tensor towards_eye, Tensor base_color, Tensor metallic, Tensor roughness, Tensor mirror,"
    " Tensor filtered, Tensor irradiance, Tensor table, Tensor knots"
)
torch.library.define("tetragan::environment_shading", f"({_INPUTS}) -> (Tensor, Tensor)")
torch.library.define(
    "tetragan::environment_shading_backward",
    f"(Tensor grad_specular, Tensor grad_diffuse, {_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::environment_shading")
def _fake(normal, *others):
    return torch.empty_like(normal), torch.empty_like(normal)


@torch.library.register_fake("tetragan::environment_shading_backward")
def _fake_backward(grad_specular, grad_diffuse, *inputs):
    return tuple(torch.empty_like(part) for part in inputs[:5])


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_specular, grad_diffuse):
    gradients = _environment_shading_backward(grad_specular.contiguous(), grad_diffuse.contiguous(), *ctx.saved_tensors)
    return (*gradients, None, None, None, None, None)


_environment_shading = differentiable("environment_shading", _backward, _setup_context)
_environment_shading_backward = differentiable_once("environment_shading_backward", "environment_shading")
