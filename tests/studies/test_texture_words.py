"""Words of prompts, named again in views of the textured mesh."""

import json
from pathlib import Path

import torch
from click.testing import CliRunner

from studies import texture_words
from tests.training.test_mesh_texture import textured_box


def test_views_of_a_textured_mesh_are_named(tmp_path: Path) -> None:
    red = torch.tensor([0.8, 0.05, 0.05]).expand(64, 64, 3)
    box = textured_box(tmp_path / "chair-1.glb", red)
    out = tmp_path / "out"
    out.mkdir()
    (out / "chair-1 a red chair.glb").write_bytes(box.read_bytes())
    call = [str(box), "--prompt", "a red {}", "--steps", "1", "--out", str(out)]
    views = texture_words.views_of(box)
    assert views.rgb.shape == (1, 8, 3, 64, 64)
    color = views.rgb[0, 0, :, 32, 32]
    assert color[0] > 0.7 and color[1] < 0.15, "base colors, without light"
    outcome = CliRunner().invoke(texture_words.main, call, catch_exceptions=False)
    found = json.loads((out / "texture_words.json").read_text())
    assert found["pairs"][0]["prompt"] == "a red chair" and len(found["pairs"][0]["named"]) == 8
    assert found["pairs"][0]["flat"] > 0.9, "clip-b knows the red of the captions"
    assert outcome.exit_code == (0 if found["mean"] >= texture_words.NEEDED else 1)
    missed = CliRunner().invoke(texture_words.main, [*call, "--prompt", "a green {}"], catch_exceptions=False)
    assert missed.exit_code == 1, "one step turns no box green"
    assert (out / "chair-1 a green chair.glb").is_file()
