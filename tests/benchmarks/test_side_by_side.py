"""Two image grids on one page."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.demo.side_by_side import GAP_PX, LINE_PX, PAPER, main, trained_in
from torch_utils.errors import UserError


def _run(folder: Path) -> Path:
    folder.mkdir()
    lines = [{"nimg": 1000, "seconds": 20.0}, {"nimg": 30000, "seconds": 400.0}]
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def test_both_image_grids_have_their_captions(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "here.png")
    Image.new("RGB", (256, 128), (0, 0, 255)).save(tmp_path / "included.png")
    arguments = [str(tmp_path / "here.png"), str(tmp_path / "included.png"), "--run", str(_run(tmp_path / "run"))]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "page.png")])
    assert result.exit_code == 0, result.output
    page = np.asarray(Image.open(tmp_path / "page.png"))
    assert page.shape == (LINE_PX + 64, 64 + GAP_PX + 128, 3)
    assert (page[LINE_PX:, :64] == (255, 0, 0)).all() and (page[LINE_PX:, 64 + GAP_PX :] == (0, 0, 255)).all()
    assert (page[LINE_PX:, 64 : 64 + GAP_PX] == PAPER).all()
    assert (page[:LINE_PX, :64] != PAPER).any() and (page[:LINE_PX, 64 + GAP_PX :] != PAPER).any()


def test_the_caption_says_what_the_run_took(tmp_path: Path) -> None:
    assert trained_in(_run(tmp_path / "run")) == "trained here: 30 kimg in 7 min"
    with pytest.raises(UserError, match="cannot be read as a training log"):
        trained_in(tmp_path)


def test_a_missing_image_is_one_clear_line(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.png")
    result = CliRunner().invoke(main, [absent, absent, "--run", str(_run(tmp_path / "run")), "--out", "x.png"])
    assert result.exit_code == 2 and "absent.png: cannot be read as an image" in result.output
