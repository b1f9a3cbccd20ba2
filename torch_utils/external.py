"""Programs in environments of their own that some commands drive."""

import os
from pathlib import Path

BLENDER_VARIABLE = "TETRAGAN_BLENDER"
BLENDER_FOLDER = ".venv-blender"


def blender_python() -> Path | None:
    """The Python with Blender's module: named by the variable, else in the folder that `make blender` makes, here or
    beside the project; None where there is none.
    """
    named = os.environ.get(BLENDER_VARIABLE)
    folders = [Path.cwd(), Path(__file__).parents[1]]
    places = [Path(named)] if named else [folder / BLENDER_FOLDER / "bin" / "python" for folder in folders]
    return next((place for place in places if place.is_file()), None)
