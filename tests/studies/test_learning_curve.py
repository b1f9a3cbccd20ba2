"""The stages of a training, drawn end to end."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from studies import learning_curve
from studies.learning_curve import evenly, panels, stages
from studies.learning_study.scores import Score
from torch_utils.errors import UserError


def _run(folder: Path, nimgs: list[int]) -> Path:
    folder.mkdir()
    lines = [{"nimg": nimg, "loss/generator": nimg / 1000, "fixed_samples/diversity": None} for nimg in nimgs]
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def test_a_stage_begins_where_the_one_before_ended(tmp_path: Path) -> None:
    parts = stages([_run(tmp_path / "a", [1000, 3000]), _run(tmp_path / "b", [2000])])
    assert [part.begin for part in parts] == [0, 3000]
    score = Score(nimg=2000, mmd=1.5, cov=40.0, measured="b")
    drawn = {panel.title: panel.series[0].points for panel in panels(parts, [(3000, score)])}
    assert drawn["MMD-CD ×10⁻³"] == ((5.0, 1.5),)
    assert drawn["G loss"] == ((1.0, 1.0), (3.0, 3.0), (5.0, 2.0))
    assert drawn["diversity of masks"] == () and drawn["components a shape"] == ()


def test_snapshots_are_spread_evenly_and_the_last_is_among_them() -> None:
    assert evenly(range(10), 5) == [1, 3, 5, 7, 9]
    assert evenly(range(7), 3) == [2, 4, 6]
    assert evenly(range(2), 3) == [0, 1]


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a training run"):
        stages([tmp_path])


def test_scores_of_two_splits_do_not_replace_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path / "a", [1000])
    (run / "network-000001000.safetensors").write_bytes(b"weights")
    asked = []

    def measure(_file: Path, key: str, *_: object, split: str, **__: object) -> tuple[Score, list[object]]:
        asked.append(split)
        return Score(nimg=1000, mmd=float(len(asked)), measured=key), []

    monkeypatch.setattr(learning_curve, "measure_network", measure)
    dataset = SimpleNamespace(hash=lambda: "0" * 64)
    found = [
        learning_curve._scored(stages([run]), dataset, split, 1, 8, tmp_path / "curve.json")[0][1].mmd  # type: ignore[arg-type]
        for split in ("test", "train", "test", "train")
    ]
    assert asked == ["test", "train"] and found == [1, 2, 1, 2]
