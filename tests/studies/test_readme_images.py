"""The images of the README: there, small, on a light ground, each with the command that makes it."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
MAX_BYTES = 1_800_000
# The beginning of each image's name, and of the command that makes it.
COMMANDS = {
    "chairs": "tetragan generate --network chair-",
    "cars": "tetragan generate --network car-",
    "interpolation": "tetragan interpolate --network chair-",
    "swap": "tetragan swap --network chair-",
    "page": "python -m studies.page_image",
    "adapted": "python -m studies.adapted_sheet",
    "texture": "python -m studies.texture_strip",
}


def test_the_images_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    images = {Path(name).name: ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)}
    assert {re.split("[_.]", name)[0] for name in images} == COMMANDS.keys()
    assert sum(path.stat().st_size for path in images.values()) <= MAX_BYTES
    for name, path in images.items():
        kind = re.split("[_.]", name)[0]
        assert COMMANDS[kind] in text, name
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) > 24 or kind != "interpolation"
            pixels = np.asarray(image.convert("RGB"))
        assert np.median(pixels[:4].reshape(-1, 3), axis=0).min() > 200, f"{name}: on a dark ground"
        assert pixels.std() > 10, f"{name}: shows nothing"
