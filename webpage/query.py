"""What a client may ask of the API: one frozen model per address, checked before anything is computed."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sampling.directions import parse_moves
from torch_utils.errors import UserError

MAX_SEED = 2**31 - 1
PCA_AXES = 4
FileEnding = Literal["glb", "obj", "usdz"]


class SampleQuery(BaseModel):
    """Which sample: one of seeds, or a point of the pad between four of them, moved along principal axes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape_seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of the shape.")
    texture_seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Seed of the texture; left out, that of the shape."
    )
    truncation: float = Field(0.7, ge=0, le=2, description="ψ: 1 gives the full variety, 0 the average shape.")
    label: int | None = Field(None, ge=0, alias="class", description="Class of a conditional network.")
    corners: str | None = Field(
        None,
        pattern=r"^\d{1,10}(,\d{1,10}){3}$",
        description="Four seeds at the corners of the pad: top left, top right, bottom left, bottom right. "
        "They replace shape_seed and texture_seed.",
    )
    latent: str | None = Field(
        None,
        max_length=200,
        description="A sample of --latents, by a name that /api/info lists; it replaces the seeds.",
    )
    x: float = Field(0.5, ge=0, le=1, description="Place on the pad, from left to right.")
    y: float = Field(0.5, ge=0, le=1, description="Place on the pad, from top to bottom.")
    shape_pca: str = Field(
        "",
        max_length=64,
        description="Moves along the first principal axes of the shape's styles, e.g. 1.5,-0.5: "
        "standard deviations from -4 to 4.",
    )
    texture_pca: str = Field("", max_length=64, description="The same for the texture's styles.")

    move: str = Field(
        "",
        max_length=2000,
        description="Moves along attributes that /api/info lists, e.g. type=armchair:2,legs=star:-1, "
        "from -4 to 4 standard deviations.",
    )

    def corner_seeds(self) -> list[int] | None:
        """The four seeds of the pad, or None."""
        return None if self.corners is None else [int(seed) for seed in self.corners.split(",")]

    def moves(self) -> tuple[list[float], list[float]]:
        """How far along the principal axes of shape and of texture. ValueError for text that is no such list."""
        return _moves("shape_pca", self.shape_pca), _moves("texture_pca", self.texture_pca)

    def axis_steps(self) -> dict[str, float]:
        """`moves` by the names of the principal axes."""
        shape, texture = self.moves()
        named = (("shape", shape), ("texture", texture))
        return {f"{side}-{row + 1}": step for side, steps in named for row, step in enumerate(steps)}


class MeshQuery(SampleQuery):
    """A sample as a mesh file."""

    texture_size: int = Field(
        1024, ge=0, le=4096, description="Side of the texture, px; 0 gives the bare geometry, which is ready sooner."
    )
    faces: int = Field(8000, ge=12, le=1_000_000, description="Simplify to at most so many faces.")


class ImageQuery(SampleQuery):
    """A sample as an image."""

    resolution: int = Field(128, ge=16, le=1024, description="Side, px.")
    azimuth: float = Field(35.0, ge=-360, le=360, description="Degrees; 0 sees the front.")


Query = TypeVar("Query", bound=SampleQuery)


class BadQuery(ValueError):
    """A query that cannot be answered; its text says which value and what was expected."""


def parse_query(kind: type[Query], items: list[tuple[str, str]], classes: int) -> Query:
    """The query of a URL's parameters. BadQuery for unknown or repeated names, and values out of range.

    classes: of the network; 0 for an unconditional one.
    """
    values: Mapping[str, Any] = dict(items)
    if len(values) != len(items):
        raise BadQuery("a parameter is given twice")
    try:
        query = kind.model_validate(values)
        query.moves()
        steps = parse_moves(query.move.split(","), "move") if query.move else {}
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadQuery(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except UserError as error:
        raise BadQuery(str(error)) from None
    if any(abs(step) > 4 for step in steps.values()):
        raise BadQuery("move: expected steps from -4 to 4")
    seeds = query.corner_seeds() or []
    if any(seed > MAX_SEED for seed in seeds):
        raise BadQuery(f"corners: expected seeds from 0 to {MAX_SEED}")
    if query.label is not None and query.label >= classes:
        known = f"the classes are 0 to {classes - 1}" if classes else "the network is unconditional"
        raise BadQuery(f"class: {known}")
    return query


def _moves(name: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise BadQuery(f"{name}: expected numbers with commas between, such as 1.5,-0.5") from None
    if len(numbers) > PCA_AXES or not all(-4 <= number <= 4 for number in numbers):
        raise BadQuery(f"{name}: expected at most {PCA_AXES} numbers from -4 to 4")
    return numbers
