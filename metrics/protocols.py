"""Protocols: one versioned YAML file (`metrics/protocols/`) with every setting that changes a number."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError

from configs.loader import nearest
from configs.strict import StrictModel, first_mistake
from torch_utils.errors import UserError

FOLDER = Path(__file__).parent / "protocols"

Normalization = Literal["none", "longest_side", "reference_mean_std", "unit_box"]
Distance = Literal["cd", "emd", "emd_approx", "lfd"]
ShapeMetric = Literal["validity", "jsd", "f_score", "memorization"]


class ImageProtocol(StrictModel):
    """How images are rendered and compared."""

    count: PositiveInt | None = Field(
        description="generated images; real images at most as many; null: views_per_shape of each generated shape"
    )
    views_per_shape: PositiveInt = Field(1, description="successive images, each by its own camera, show one shape")
    resize: Literal["get3d-2022", "clean"] = Field(
        "get3d-2022", description="get3d-2022: inside the detector; clean: PIL bicubic"
    )
    truncation: Annotated[float, Field(ge=0, le=2)] = Field(1.0, description="ψ of the generator")
    camera: str | None = Field(
        None, description="camera distribution, by name or file; null: the dataset's (chair without one)"
    )
    resolution: PositiveInt | None = Field(
        None, description="side, px; null: the dataset's (128 without one), at most the generator's"
    )
    background: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="gray behind the shapes, sRGB")
    normals: bool = Field(False, description="also the scores of images of normals")


class Protocol(StrictModel):
    """Counts, normalization and the list of scores. Numbers of different protocols are not comparable."""

    name: str
    version: PositiveInt = Field(description="increased with every change that can change a number")
    description: str
    max_references: PositiveInt | None = Field(None, description="at most this many references; null: the whole split")
    generated_per_reference: PositiveInt = Field(1, description="generated shapes for every reference")
    max_training: PositiveInt = Field(
        1000, description="at most this many training shapes, for memorization and the train-vs-test reference"
    )
    normalization: Normalization = Field(
        "none",
        description="none; longest_side: divided by the longest side of the box, not centered; reference_mean_std: "
        "minus the references' mean, divided by one scalar standard deviation; unit_box: centered, longest side 1",
    )
    points: PositiveInt = Field(2048, description="surface points per shape")
    truncation: Annotated[float, Field(ge=0, le=2)] = Field(1.0, description="ψ of the generator")
    distances: tuple[Distance, ...] = ("cd",)
    emd_points: PositiveInt = Field(512, description="points per shape for EMD")
    shape_metrics: tuple[ShapeMetric, ...] = ()
    crossing_shapes: Annotated[int, Field(ge=0)] = Field(
        20, description="shapes that are searched for self-intersections"
    )
    images: ImageProtocol | None = None
    first_seed: Annotated[int, Field(ge=0)] = Field(0, description="seeds are first_seed, first_seed + 1, …")


def protocol_names() -> list[str]:
    """Names of the included protocols."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_protocol(name_or_path: str) -> Protocol:
    """An included protocol by name, or the user's own YAML file. UserError names the nearest name or the bad field."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            names = protocol_names()
            hint = nearest(name_or_path, names) or f"; expected one of {', '.join(names)}"
            raise UserError(f"--protocol {name_or_path}: no such protocol{hint}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Protocol.model_validate(values)
    except OSError as error:
        raise UserError(f"--protocol {path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--protocol {path}: is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        raise UserError(f"--protocol {path}: {first_mistake(error)}") from None
