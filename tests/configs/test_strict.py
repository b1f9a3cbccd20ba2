"""How a schema tells the first mistake in a file."""

import pytest
from pydantic import ValidationError, model_validator

from configs.strict import StrictModel, first_mistake


class Span(StrictModel):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Axes(StrictModel):
    x: Span


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"x": {"low": 1}}, "x.high: Field required"),
        ({"x": {"low": 1, "high": 0}}, "x: low is above high"),
        ({"x": {"low": 1, "high": 2, "y": 0}}, "x.y: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named_by_its_field(values: dict, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Axes.model_validate(values)
    assert first_mistake(error.value) == said


def test_a_mistake_of_the_whole_has_no_field() -> None:
    with pytest.raises(ValidationError) as error:
        Span.model_validate({"low": 1, "high": 0})
    assert first_mistake(error.value) == "low is above high"
