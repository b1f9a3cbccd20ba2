"""How a shape is lit in rendered views, by the built-in renderer and by Blender alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from rendering.environment_light import EnvironmentLight
from rendering.lighting import LightName, Shading


@dataclass(frozen=True)
class Look:
    """How surfaces are shaded.

    light: of "soft" shading. environments: of "pbr" shading, one for each view, or one for all. occlusion: whether the
    parts of a shape keep light from each other; the built-in renderer darkens what sees little of the surroundings.
    """

    shading: Shading = "albedo"
    light: LightName = "studio"
    environments: Sequence[EnvironmentLight] = ()
    occlusion: bool = False
