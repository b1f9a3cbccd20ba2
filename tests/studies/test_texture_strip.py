"""The strip of one mesh, its prompts and three lights."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from studies import texture_strip
from tests.training.test_mesh_texture import textured_box


def test_a_strip_shows_the_mesh_in_gray_and_the_result_under_each_light(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(texture_strip, "SIDE_PX", 64)
    box = textured_box(tmp_path / "box.glb")
    arguments = [str(box), f"a red box={box}", f"a blue box={box}", "--out", str(tmp_path / "strip.png")]
    outcome = CliRunner().invoke(texture_strip.main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0 and "2 rows, each under 3 lights" in outcome.output
    image = np.asarray(Image.open(tmp_path / "strip.png")).astype(int)
    tiles = image[-128:-64, -256:].reshape(64, 4, 64, 3).transpose(1, 0, 2, 3)
    middle = tiles[:, 24:40, 24:40].mean((1, 2))
    assert np.ptp(middle[0]) < 12, "in gray"
    lit = middle[1:]
    assert min(np.abs(a - b).max() for i, a in enumerate(lit) for b in lit[:i]) > 2, "three lights"


def test_a_result_needs_a_prompt_and_a_file() -> None:
    outcome = CliRunner().invoke(texture_strip.main, ["box.glb", "red.glb", "--out", "strip.png"])
    assert outcome.exit_code == 2 and "expected PROMPT=FILE" in outcome.output
