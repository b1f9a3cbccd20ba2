"""`dataset.json`, the header of a dataset (specified in FORMAT.md)."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from configs.strict import first_mistake
from rendering.camera_distribution import CameraDistribution, dump_camera_distribution
from torch_utils.errors import UserError
from torch_utils.files import parse_json

SPLITS = ("train", "val", "test")


class Header(BaseModel):
    """The fields of `dataset.json`. Readers ignore unknown fields, writers keep them."""

    model_config = ConfigDict(frozen=True, extra="allow")
    format: Literal["tetragan-dataset"] = "tetragan-dataset"
    version: Literal[1] = 1
    category: str = Field("object", description="what the images show")
    classes: tuple[str, ...] = Field((), description="class names; empty = unconditional")
    labels: dict[str, int] = Field({}, description="index into `classes` by shape id")
    camera_distribution: CameraDistribution = Field(
        CameraDistribution(), description="the distribution that the cameras were drawn from"
    )
    resolution: PositiveInt = Field(description="side of the stored views, px")
    views: PositiveInt = Field(description="views per shape")
    image_format: Literal["png", "webp", "other"] = "png"
    renderer: dict[str, Any] = Field({}, description="name and settings of the renderer")
    seed: int = 0
    splits: dict[str, tuple[str, ...]] = Field({}, description="shape ids of train, val and test")
    content: str = Field("", description="SHA-256 over the shapes' meta.json; empty until the render is complete")

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, values: Any) -> Any:
        """Read the former key `camera_law`."""
        if isinstance(values, dict) and "camera_law" in values:
            values = dict(values)
            values.setdefault("camera_distribution", values.pop("camera_law"))
        return values

    @model_validator(mode="after")
    def _check(self) -> "Header":
        unknown = set(self.splits) - set(SPLITS)
        if unknown:
            raise ValueError(f"splits: expected {', '.join(SPLITS)}, got {', '.join(sorted(unknown))}")
        for shape_id in (shape_id for ids in self.splits.values() for shape_id in ids):
            if not is_safe_id(shape_id):
                raise ValueError(f"splits: {shape_id!r} is not a shape id")
        wrong = next((name for name, label in self.labels.items() if not 0 <= label < len(self.classes)), None)
        if wrong is not None:
            raise ValueError(f"labels: {wrong} has class {self.labels[wrong]} of {len(self.classes)}")
        return self


def is_safe_id(name: str) -> bool:
    """Whether `name` is valid as the name of a shape's folder."""
    return bool(name) and not name.startswith(".") and not set(name) & set('/\\:*?"<>|\0') and len(name.encode()) <= 200


def parse_header(data: bytes, source: str) -> Header:
    """The header from the bytes of dataset.json. UserError naming `source` if it is invalid."""
    values = parse_json(data, source)
    if not isinstance(values, dict) or values.get("format") != "tetragan-dataset":
        raise UserError(f"{source}: not a TetraGAN dataset; see dataset_tool/FORMAT.md")
    if values.get("version") != 1:
        raise UserError(f"{source}: format version {values.get('version')!r}; this program reads version 1")
    try:
        return Header.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {first_mistake(error)}"[:400]) from None


def header_values(header: Header) -> dict[str, Any]:
    """Plain values for `dataset.json`."""
    return header.model_dump(mode="json", exclude={"camera_distribution"}) | {
        "camera_distribution": dump_camera_distribution(header.camera_distribution)
    }


def digest(values: Any) -> str:
    """SHA-256 of plain values in canonical JSON."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
