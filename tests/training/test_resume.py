"""Interrupted runs: they resume exactly and with their history, and only as the same run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click import UsageError

from tests.command_line import assert_refused, run
from tests.training import tiny
from tests.training.runs import learned, length, lines, state_tensors
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError
from torch_utils.process import stop_requests
from training.gan_step import training_step
from training.run.state_file import load_state

ROOT = Path(__file__).parents[2]


# The command kills itself in the seventh minibatch, after the state at 32 images and the log line at 48.
KILLED = """
import os, signal, sys
import training.stages
step = training.stages.training_step
def dies(train_state, batch, **options):
    if batch.iteration == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(train_state, batch, **options)
training.stages.training_step = dies
from tetragan import __main__ as tetragan
sys.argv = ["tetragan", *sys.argv[1:]]
tetragan.main()
"""


def test_a_killed_run_resumes_bitwise(finished, data, config, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, "train", "--config", config, "--data", data, "--out", out]
    killed = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert json.loads((out / "latest.json").read_text())["nimg"] == 32 and lines(out)[-1]["nimg"] == 48
    outcome = run("train", "--data", data, "--out", out, "--resume")
    assert outcome.status == 0, outcome.stderr
    expected, resumed = state_tensors(finished), state_tensors(out)
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), f"{name} differs"
    assert learned(out) == learned(finished)


def test_torchrun_restarts_a_killed_run_from_its_last_state(finished, data, config, tmp_path):
    out, script = tmp_path / "out", tmp_path / "killed.py"
    once = "batch.iteration == 6 and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'"
    script.write_text(KILLED.replace("batch.iteration == 6", once))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1", script]
    done = subprocess.run(
        [*launcher, "train", "--config", config, "--data", data, "--out", out],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["resumed"][0]["nimg"] == 32
    expected, restarted = state_tensors(finished), state_tensors(out)
    for name, value in expected.items():
        assert torch.equal(value, restarted[name]), f"{name} differs"


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2])
def test_interruption_saves_the_state_and_says_how_to_continue(data, config, tmp_path, monkeypatch, signals):
    """Also by two signals at a time: Ctrl-C in a terminal, where torchrun forwards its own."""
    out = tmp_path / "out"

    def interrupted(train_state, batch, **options):
        if batch.iteration == 2:
            for signal_number in signals:
                os.kill(os.getpid(), signal_number)
        return training_step(train_state, batch, **options)

    with monkeypatch.context() as patch:
        patch.setattr("training.stages.training_step", interrupted)
        outcome = run("train", "--config", config, "--data", data, "--out", out)
    assert outcome.status == 130, outcome.stderr
    assert f"--out {out} --resume" in outcome.stderr.splitlines()[-1]
    _, header = load_tensors(out / json.loads((out / "latest.json").read_text())["state"])
    assert header["counters"]["nimg"] == 24 and [line["nimg"] for line in lines(out)] == [16, 24]
    outcome = run("train", "--data", data, "--out", out, "--resume", "--set", "training.total_kimg=0.032")
    assert outcome.status == 0 and [line["nimg"] for line in lines(out)] == [16, 24, 32]


def test_a_second_interruption_stops_at_once(monkeypatch):
    monkeypatch.setattr("torch_utils.process.REPEAT_SECONDS", 0.0)
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_killed_before_its_first_state_can_be_started_again(finished, data, config, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("config.yaml", "run.json"):
        (out / name).write_bytes((finished / name).read_bytes())
    base = ("train", "--config", config, "--data", data, "--out", out, "--set", "training.total_kimg=0.008")
    assert_refused(run(*base, "--resume"), "no state to resume", "start without --resume")
    assert run(*base).status == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("my: file")
    assert_refused(run("train", "--config", config, "--data", data, "--out", tmp_path / "mine"), "already holds a run")


def test_resuming_a_complete_run_changes_nothing(finished, data, config):
    """Also with --config, whose total_kimg is ignored: the run keeps its own."""
    longer = config.parent / "longer.yaml"
    longer.write_text(config.read_text().replace("total_kimg: 0.08", "total_kimg: 9.0"))
    before = state_tensors(finished)
    outcome = run("train", "--config", longer, "--data", data, "--out", finished, "--resume")
    assert outcome.status == 0, outcome.stderr
    assert all(torch.equal(value, before[name]) for name, value in state_tensors(finished).items())
    assert lines(finished)[-1]["nimg"] == 80
    assert f"complete already (0.08 kimg). Train further with, e.g.: tetragan train --data {data} " in outcome.stderr
    assert outcome.stderr.splitlines()[-1].endswith("--resume --set training.total_kimg=0.16")


@pytest.mark.parametrize("loss", ["no pointer", "torn pointer", "pointer to nothing", "torn state"])
def test_without_its_newest_state_a_run_goes_on_from_the_newest_whole_one(finished, data, tmp_path, loss):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    states = sorted(path.name for path in out.glob("state-*"))
    assert len(states) == 2
    if loss == "no pointer":
        (out / "latest.json").unlink()
    elif loss == "torn pointer":
        (out / "latest.json").write_text('{"state": "st')
    elif loss == "pointer to nothing":
        (out / states[-1]).unlink()
    else:
        (out / states[-1]).write_bytes((out / states[-1]).read_bytes()[:5000])
    whole = states[-1] if "pointer" in loss and loss != "pointer to nothing" else states[0]
    outcome = run("train", "--data", data, "--out", out, "--resume")
    assert outcome.status == 0, outcome.stderr
    assert f"continuing from {whole}, the newest whole state." in outcome.stderr
    assert all(torch.equal(value, state_tensors(finished)[name]) for name, value in state_tensors(out).items())


def test_run_json_keeps_the_history(data, config, tmp_path):
    out = tmp_path / "out"
    assert run("train", "--config", config, "--data", data, "--out", out, *length(0.016)).status == 0
    first = json.loads((out / "run.json").read_text())
    assert first.keys() == {"data", "data_hash", "views", "date", "commit", "torch", "threads"}
    for total_kimg in (0.032, 0.048):
        assert run("train", "--data", data, "--out", out, "--resume", *length(total_kimg)).status == 0
    then = json.loads((out / "run.json").read_text())
    resumed = then.pop("resumed")
    assert then == first and [part["nimg"] for part in resumed] == [16, 32]
    assert all(part.keys() == {"nimg", "date", "commit", "torch", "threads"} for part in resumed)
    assert "total_kimg: 0.048" in (out / "config.yaml").read_text()
    (out / "run.json").write_text("{")
    assert run("train", "--data", data, "--out", out, "--resume", *length(0.056)).status == 0
    again = json.loads((out / "run.json").read_text())
    assert again["data_hash"] == first["data_hash"] and [part["nimg"] for part in again["resumed"]] == [48]


def test_resume_refuses_to_change_the_run(finished, data, config, tmp_path):
    base = ("train", "--out", finished, "--resume")
    assert_refused(run(*base, "--data", data, "--set", "loss.gamma=5"), "loss.gamma = 1.0", "--init")
    changed = tiny.write_config(tmp_path / "changed.yaml", loss={"gamma": 7.0})
    assert_refused(run(*base, "--data", data, "--config", changed), "loss.gamma = 1.0", "leave out --config")
    other = tiny.write_dataset(tmp_path / "other", shapes=5)
    assert_refused(run(*base, "--data", other), "other data")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("config.yaml", "run.json", "latest.json"):
        (out / name).write_bytes((finished / name).read_bytes())
    state = json.loads((finished / "latest.json").read_text())["state"]
    (out / state).write_bytes((finished / state).read_bytes()[:5000])
    assert_refused(run("train", "--out", out, "--resume", "--data", data), state)
    (out / "latest.json").write_text("{")
    assert_refused(run("train", "--out", out, "--resume", "--data", data), "latest.json")


@pytest.mark.parametrize(
    "change", [{"counters": 3}, {"counters": None}, {"nimg": "x"}, {"config": [1]}, {"config": None}]
)
def test_a_state_whose_header_holds_other_types_is_one_line(tmp_path, change):
    header = {"kind": "training-state", "nimg": 8, "config": {}, "counters": {}, **change}
    save_tensors(tmp_path / "state-00000008.safetensors", {}, header)
    with pytest.raises((UserError, UsageError)) as caught:
        load_state(tmp_path, {}, tiny.config())
    assert "\n" not in str(caught.value)
