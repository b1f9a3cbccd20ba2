"""The base of all schemas that are read from files."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Values that cannot be changed after validation; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
