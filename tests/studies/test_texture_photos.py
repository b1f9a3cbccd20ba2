"""Colors of textured meshes against those of photos."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from studies.texture_photos import main, mean_distance, palette_distance
from tests.training.test_mesh_texture import textured_box
from tests.training.test_photos import disc, write_photos


def test_distances_of_known_colors():
    red, blue = torch.tensor([[1.0, 0, 0]]).expand(50, 3), torch.tensor([[0, 0, 1.0]]).expand(50, 3)
    both = torch.cat([red, blue])
    assert palette_distance(both, both.flip(0)) == 0 and palette_distance(red, blue) > 0.3
    assert mean_distance(red, blue) == pytest.approx(2**0.5)
    purple = both.mean(0, keepdim=True).expand(100, 3)
    assert mean_distance(both, purple) < 1e-6 < palette_distance(both, purple), "the palette sees more than the mean"


def test_meshes_in_the_photos_color_are_near(tmp_path: Path) -> None:
    red = torch.tensor([200.0, 30, 20]) / 255
    box, out = textured_box(tmp_path / "box.glb", red.expand(64, 64, 3)), tmp_path / "out"
    photos = write_photos(tmp_path / "red", [disc((200, 30, 20))] * 3)
    out.mkdir()
    for name in ("box words", "box red dds"):
        (out / f"{name}.glb").write_bytes(box.read_bytes())
    outcome = CliRunner().invoke(main, [str(box), "--photos", str(photos), "--out", str(out)], catch_exceptions=False)
    assert outcome.exit_code == 0 and "over 1 pairs" in outcome.output
    row = json.loads((out / "texture_photos.json").read_text())[0]
    assert max(row["dds"]) < 0.02 < min(row["gray"])
