"""Distributions of cameras: the published ones by name, any other from YAML."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import yaml
from pydantic import Field, ValidationError, model_validator
from scipy.special import ndtri

from configs.strict import StrictModel, first_mistake
from rendering.camera import Cameras, fov_from_sensor
from torch_utils.errors import UserError
from torch_utils.seeding import uniform

Pair = tuple[float, float]


class ScalarDistribution(StrictModel):
    """The distribution of one number, in exactly one of five forms. A bare number in YAML means `fixed`."""

    fixed: float | None = Field(None, description="always this value")
    uniform: Pair | None = Field(None, description="uniform between two bounds")
    normal: Pair | None = Field(None, description="mean and standard deviation; clipped at ± 3 standard deviations")
    sphere: Pair | None = Field(None, description="elevation, uniform over the area of the sphere, degrees")
    list: tuple[float, ...] | None = Field(None, min_length=1, description="the values in turn, by view")

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"fixed": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_form(self) -> "ScalarDistribution":
        forms = {name: form for name, form in self if form is not None}
        if len(forms) != 1:
            raise ValueError(f"expected one of fixed, uniform, normal, sphere, list, got {sorted(forms) or 'none'}")
        name, form = next(iter(forms.items()))
        if name in ("uniform", "sphere") and form[0] > form[1]:
            raise ValueError(f"{name}: expected the lower bound first, got {list(form)}")
        if name == "normal" and form[1] < 0:
            raise ValueError(f"normal: expected a standard deviation of at least 0, got {form[1]}")
        if not np.isfinite(np.asarray(form)).all():
            raise ValueError(f"{name}: expected finite numbers, got {form}")
        return self

    def bounds(self) -> Pair:
        """Smallest and largest possible value."""
        if self.fixed is not None:
            return self.fixed, self.fixed
        if self.normal is not None:
            mean, std = self.normal
            return mean - 3 * std, mean + 3 * std
        if self.list is not None:
            return min(self.list), max(self.list)
        form = self.uniform or self.sphere
        assert form is not None
        return form

    def draw(self, unit: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Values [N] from uniform numbers [N] in [0, 1) by the inverse distribution; `list` uses the indices."""
        if self.fixed is not None:
            return np.full_like(unit, self.fixed)
        if self.list is not None:
            return np.asarray(self.list, unit.dtype)[indices % len(self.list)]
        if self.normal is not None:
            return self.normal[0] + self.normal[1] * ndtri(np.clip(unit, 1e-9, 1 - 1e-9)).clip(-3, 3)
        if self.sphere is not None:
            low, high = (math.sin(math.radians(bound)) for bound in self.sphere)
            return np.degrees(np.arcsin(low + (high - low) * unit))
        assert self.uniform is not None
        return self.uniform[0] + (self.uniform[1] - self.uniform[0]) * unit


class CameraDistribution(StrictModel):
    """The distribution of a dataset's cameras. They look at the origin, displaced by `target_jitter`."""

    name: str = Field("custom", description="a name for logs")
    azimuth_deg: ScalarDistribution = Field(
        ScalarDistribution(uniform=(0, 360)),
        description="0 sees the front; counter-clockwise seen from above",
    )
    elevation_deg: ScalarDistribution = Field(ScalarDistribution(uniform=(0, 30)), description="above the horizon")
    radius: ScalarDistribution = Field(
        ScalarDistribution(fixed=1.2), description="distance from the origin, world units"
    )
    fov_y_deg: ScalarDistribution = Field(
        ScalarDistribution(fixed=math.degrees(fov_from_sensor(32, 35))), description="vertical field of view"
    )
    roll_deg: ScalarDistribution = Field(ScalarDistribution(fixed=0), description="rotation about the viewing axis")
    target_jitter: Annotated[float, Field(ge=0)] = Field(
        0.0, description="standard deviation of the target, world units per axis"
    )
    near: Annotated[float, Field(gt=0)] = Field(0.1, description="near clip distance, world units")
    far: Annotated[float, Field(gt=0)] = Field(10.0, description="far clip distance, world units")

    @model_validator(mode="after")
    def _check(self) -> "CameraDistribution":
        low, high = self.elevation_deg.bounds()
        if low < -90 or high > 90:
            raise ValueError(f"elevation_deg: expected values in [-90, 90], got {low} to {high}")
        low, high = self.fov_y_deg.bounds()
        if low <= 0 or high >= 180:
            raise ValueError(f"fov_y_deg: expected values inside (0, 180), got {low} to {high}")
        low, high = self.radius.bounds()
        if low <= self.near or high >= self.far:
            raise ValueError(
                f"radius: expected values between near {self.near} and far {self.far}, got {low} to {high}"
            )
        return self

    def sample(self, seed: int, indices: Sequence[int] | torch.Tensor) -> Cameras:
        """One camera per index. Camera i depends on (seed, indices[i]) only, not on order or workers."""
        order = np.asarray(indices, np.int64)
        unit = uniform(seed, order.tolist(), "camera", 8).double().numpy()
        azimuth = np.radians(self.azimuth_deg.draw(unit[:, 0], order))
        elevation = np.radians(self.elevation_deg.draw(unit[:, 1], order))
        radius = self.radius.draw(unit[:, 2], order)
        fov = np.radians(self.fov_y_deg.draw(unit[:, 3], order))
        roll = np.radians(self.roll_deg.draw(unit[:, 4], order))
        angles = [torch.from_numpy(np.ascontiguousarray(value)) for value in (azimuth, elevation, radius, fov)]
        cameras = Cameras.orbit(angles[0], angles[1], angles[2], angles[3], self.near, self.far)
        pose = cameras.camera_to_world
        if np.any(roll):
            pose = pose @ _roll(torch.from_numpy(roll))
        if self.target_jitter:
            offset = self.target_jitter * ndtri(np.clip(unit[:, 5:8], 1e-9, 1 - 1e-9)).clip(-3, 3)
            pose[:, :3, 3] += torch.from_numpy(offset)
        return Cameras(pose.float(), cameras.focal.float(), cameras.principal.float(), self.near, self.far)


def _roll(angle: torch.Tensor) -> torch.Tensor:
    """Rotations [N, 4, 4] about the camera's own z axis."""
    matrix = torch.eye(4, dtype=angle.dtype).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0] = angle.sin()
    matrix[:, 0, 1] = -angle.sin()
    return matrix


def _published(name: str, highest_deg: float) -> CameraDistribution:
    """GET3D's cameras: radius 1.2, 32 mm sensor, 35 mm lens, all azimuths, elevation uniform from 0."""
    return CameraDistribution(name=name, elevation_deg=ScalarDistribution(uniform=(0, highest_deg)))


CAMERA_DISTRIBUTIONS = {
    name: _published(name, highest_deg)
    for name, highest_deg in {
        "car": 30,
        "chair": 30,
        "motorbike": 30,
        "animal": 45,
        "human": 20,
        "house": 30,
        "table": 30,
    }.items()
}
# Procedural categories without a published distribution. Mugs are seen from above, planes from below, too.
CAMERA_DISTRIBUTIONS["lamp"] = _published("lamp", 30)
CAMERA_DISTRIBUTIONS["mug"] = CameraDistribution(name="mug", elevation_deg=ScalarDistribution(uniform=(5, 50)))
CAMERA_DISTRIBUTIONS["plane"] = CameraDistribution(name="plane", elevation_deg=ScalarDistribution(uniform=(-20, 40)))
# The 50 views of LN3Diff: every fifth camera of a path that climbs by 0.36° and turns by 0.08 rad a step.
CAMERA_DISTRIBUTIONS["ln3diff"] = CameraDistribution(
    name="ln3diff",
    azimuth_deg=ScalarDistribution(list=tuple(math.degrees(0.4 * view) % 360 for view in range(50))),
    elevation_deg=ScalarDistribution(list=tuple(1.8 * view for view in range(50))),
    fov_y_deg=ScalarDistribution(fixed=math.degrees(fov_from_sensor(512, 525))),
)


def load_camera_distribution(name_or_path: str | Path) -> CameraDistribution:
    """A distribution by its name or from a YAML file. UserError if it is neither or invalid."""
    name = str(name_or_path)
    if name in CAMERA_DISTRIBUTIONS:
        return CAMERA_DISTRIBUTIONS[name]
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"--camera: expected one of {', '.join(CAMERA_DISTRIBUTIONS)} or a YAML file, got {name!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--camera {path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"--camera {path}: expected a mapping such as 'radius: 1.2', got {type(values).__name__}")
    return parse_camera_distribution({"name": path.stem, **values}, str(path))


def parse_camera_distribution(values: dict[str, Any], source: str) -> CameraDistribution:
    """A camera distribution from plain values. `source` names them in the UserError."""
    try:
        return CameraDistribution.model_validate(values)
    except ValidationError as error:
        raise UserError(f"camera distribution {source}: {first_mistake(error)}"[:400]) from None


def dump_camera_distribution(camera_distribution: CameraDistribution) -> dict[str, Any]:
    """Plain values for `parse_camera_distribution`. A fixed number is written as a number."""
    values = camera_distribution.model_dump(mode="json", exclude_none=True)
    return {
        key: value["fixed"] if isinstance(value, dict) and "fixed" in value else value for key, value in values.items()
    }
