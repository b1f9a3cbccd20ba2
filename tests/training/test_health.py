"""Signs of failure are reported once when they show and once when they are gone. Also durations and log files."""

import io
import json
import math

import pytest
from rich.console import Console

from training.loop import due
from training.run.health import PATIENCE, Health
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog, duration, truncate_stats

HEALTHY = {
    "nimg": 20000.0, "skipped_steps": 0, "geometry/empty": 0.0, "coverage/fake": 0.2, "coverage/real": 0.22,
    "fixed_samples/components": 1.1, "fixed_samples/diversity": 0.15, "sign/real_rgb": 0.4, "sign/fake_rgb": -0.4,
    "sign/real_mask": 0.2, "sign/fake_mask": -0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    "name, change",
    [
        ("vanishing surface", {"geometry/empty": 0.1}),
        ("vanishing surface", {"coverage/fake": 0.05}),
        ("floaters", {"fixed_samples/components": 9.0}),
        ("saturated discriminator", {"sign/real_rgb": 0.99, "sign/fake_rgb": -0.99}),
        ("saturated discriminator", {"sign/real_mask": 0.99, "sign/fake_mask": -0.99}),
        ("collapse", {"fixed_samples/diversity": 0.01}),
    ],
)
def test_a_symptom_is_reported_once_after_some_lines_and_when_it_is_gone(name, change):
    health = Health()
    assert health.observe(HEALTHY) == []
    said = [health.observe(HEALTHY | change) for _ in range(PATIENCE + 2)]
    assert [bool(messages) for messages in said] == [False] * (PATIENCE - 1) + [True, False, False]
    assert said[PATIENCE - 1][0].startswith(f"Sign of failure, {name}: ") and health.active == [name]
    assert health.observe(HEALTHY) == [f"Recovered: {name}."] and health.active == []


def test_skipped_steps_are_reported_at_once_and_only_while_new_ones_come():
    health = Health()
    assert "non-finite gradients" in health.observe(HEALTHY | {"skipped_steps": 1})[0]
    assert health.observe(HEALTHY | {"skipped_steps": 1}) == ["Recovered: non-finite gradients."]


def test_the_warm_up_is_no_failure():
    health = Health()
    for nimg in range(500, 3000, 500):
        start = {"nimg": nimg, "geometry/empty": 0.2, "fixed_samples/components": 8.0, "fixed_samples/diversity": 0.0}
        assert health.observe(HEALTHY | start) == []


def test_due_at_multiples_of_the_interval():
    assert [nimg for nimg in range(8, 100, 8) if due(nimg - 8, nimg, 0.02)] == [24, 40, 64, 80]


def test_durations():
    assert [duration(s) for s in (5, 65, 3700, 100000)] == ["5s", "1m 05s", "1h 01m", "1d 03h"]


def test_the_progress_bar_shows_the_speed_of_training_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("training.run.run_log.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("training.run.run_log.Console", lambda **_: Console(file=io.StringIO(), force_terminal=True))
    with RunLog(None, 1000, 0, quiet=False) as log:
        for nimg in (8, 16, 24, 32):
            if nimg == 24:
                clock[0] += 100  # a snapshot
                log.restart_rate()
            clock[0] += 1
            log.advance(nimg)
        text = log._progress.tasks[0].fields["text"]
    assert "8.0 img/s" in text, text


def test_non_finite_numbers_are_null_on_disk_and_nan_when_read(tmp_path):
    with RunLog(tmp_path, 100, 0, quiet=True) as log:
        log.record({"nimg": 10, "images_per_second": 1.0, "loss/a": math.nan, "loss/b": -math.inf, "loss/c": 0.5})
    text = (tmp_path / "stats.jsonl").read_text()
    assert text == '{"nimg": 10, "images_per_second": 1.0, "loss/a": null, "loss/b": null, "loss/c": 0.5}\n'
    (line,) = RunFolder(tmp_path).stats()
    assert math.isnan(line["loss/a"]) and math.isnan(line["loss/b"]) and line["loss/c"] == 0.5


def test_lines_past_the_state_and_incomplete_ones_are_dropped(tmp_path):
    path = tmp_path / "stats.jsonl"
    path.write_text("".join(json.dumps({"nimg": nimg}) + "\n" for nimg in (10, 20, 30)) + '{"nimg": 4')
    truncate_stats(path, 20)
    assert path.read_text() == '{"nimg": 10}\n{"nimg": 20}\n'
    path.write_text('{"nimg": 10}\n{"ni')
    truncate_stats(path, 100)
    assert path.read_text() == '{"nimg": 10}\n'
