"""Whole runs by the command line: files, schedule, exact resume, interruption, and what is refused."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.command_line import assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import load_network, load_tensors, save_tensors
from training import loop
from training.probe import Probe
from training.step import training_step

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_dataset(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return tiny.write_config(tmp_path_factory.mktemp("config") / "tiny.yaml")


@pytest.fixture(scope="module")
def finished(data, config, tmp_path_factory) -> Path:
    """A complete run of ten minibatches."""
    out = tmp_path_factory.mktemp("run") / "out"
    outcome = run("train", "--config", config, "--data", data, "--out", out)
    assert outcome.status == 0, outcome.stderr
    return out


def state_tensors(folder: Path) -> dict[str, torch.Tensor]:
    name = json.loads((folder / "latest.json").read_text())["state"]
    return load_tensors(folder / name)[0]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def length(total_kimg: float) -> tuple[str, str]:
    return "--set", f"training.total_kimg={total_kimg}"


def learnt(folder: Path) -> list[dict]:
    """The lines of stats.jsonl without what depends on the machine."""
    timed = {"seconds", "other_seconds", "images_per_second", "memory_peak_mb"}
    return [{key: value for key, value in line.items() if key not in timed} for line in lines(folder)]


def test_files_of_a_run(finished):
    names = {path.name for path in finished.iterdir() if not path.name.startswith("events.")}
    assert names == {
        "config.yaml", "run.json", "stats.jsonl", "latest.json", "reals.png", "network.safetensors",
        "state-000000064.safetensors", "state-000000080.safetensors",
        "network-000000064.safetensors", "network-000000080.safetensors",
        "samples-000000000.png", "samples-000000064.png", "samples-000000080.png",
    }  # fmt: skip
    assert any(path.name.startswith("events.out.tfevents") for path in finished.iterdir())
    network = load_network(finished / "network.safetensors")
    assert network.nimg == 80 and network.header["data"] == "discs"
    state = state_tensors(finished)
    assert all(torch.equal(value, state[f"average/{name}"]) for name, value in network.state.items())


def test_schema_of_the_statistics(finished):
    assert [line["nimg"] for line in lines(finished)] == [16, 32, 48, 64, 80]
    for line in lines(finished):
        assert line["minibatches"] == line["nimg"] // 8 and line["skipped_steps"] == 0
        assert line["images_per_second"] > 0 and line["memory_peak_mb"] > 0 and line["seconds"] > 0
        assert {"loss/generator", "logits/real_rgb", "logits/real_rgb/deviation", "coverage/fake"} <= line.keys()
        assert line["probe/components"] >= 1 and line["probe/diversity"] >= 0
        assert all(isinstance(value, int | float) for value in line.values())


def test_time_beside_the_training_counts_apart(data, config, tmp_path, monkeypatch):
    """On a clock that only a step (1 s), the probe (10 s), a network (100 s) and a state (1000 s) move."""
    clock, networks = [0.0], []

    def lasting(seconds, function):
        def wrapped(*args, **options):
            clock[0] += seconds
            return function(*args, **options)

        return wrapped

    def save_network(path, *rest, **options):
        networks.append(path.name)

    monkeypatch.setattr("training.loop.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("training.loop.training_step", lasting(1, training_step))
    monkeypatch.setattr("training.loop.Probe.figures", lasting(10, Probe.figures))
    monkeypatch.setattr("training.loop.save_network", lasting(100, save_network))
    monkeypatch.setattr("training.loop.save_state", lasting(1000, loop.save_state))
    out = tmp_path / "out"
    outcome = run("train", "--config", config, "--data", data, "--out", out)
    assert outcome.status == 0, outcome.stderr
    # Eight images a step; states at 0, 32, 64 and 80 images, networks (under two names) at 64 and 80.
    assert [line["images_per_second"] for line in lines(out)] == [8.0] * 5
    assert [line["seconds"] for line in lines(out)] == [2, 4, 6, 8, 10]
    assert [line["other_seconds"] for line in lines(out)] == [1000, 1010, 2020, 2030, 3240]
    assert networks == [
        "network-000000064.safetensors", "network.safetensors", "network-000000080.safetensors", "network.safetensors",
    ]  # fmt: skip
    assert "0.08 kimg in 1h 14m: 10s of training (8.0 img/s), 1h 14m of log lines" in outcome.stderr


def test_the_last_network_is_written_once(data, config, tmp_path, monkeypatch):
    """Also where the run's end is the moment for a snapshot anyway."""
    networks = []
    monkeypatch.setattr("training.loop.save_network", lambda path, *_, **options: networks.append(path.name))
    outcome = run("train", "--config", config, "--data", data, "--out", tmp_path / "out", *length(0.064))
    assert outcome.status == 0, outcome.stderr
    assert networks == ["network-000000064.safetensors", "network.safetensors"]


# The command, killing itself in the seventh minibatch: after the state at 32 images and the line at 48.
KILLED = """
import os, signal, sys
import training.loop
step = training.loop.training_step
def dies(trainee, batch, *rest):
    if batch.number == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(trainee, batch, *rest)
training.loop.training_step = dies
import tetragan
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
    assert learnt(out) == learnt(finished)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_saves_the_state_and_says_how_to_go_on(data, config, tmp_path, monkeypatch, signal_number):
    out = tmp_path / "out"

    def interrupted(trainee, batch, *rest):
        if batch.number == 2:
            os.kill(os.getpid(), signal_number)
        return training_step(trainee, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("training.loop.training_step", interrupted)
        outcome = run("train", "--config", config, "--data", data, "--out", out)
    assert outcome.status == 130, outcome.stderr
    assert f"--out {out} --resume" in outcome.stderr.splitlines()[-1]
    _, header = load_tensors(out / json.loads((out / "latest.json").read_text())["state"])
    assert header["counters"]["nimg"] == 24 and [line["nimg"] for line in lines(out)] == [16, 24]
    outcome = run("train", "--data", data, "--out", out, "--resume", "--set", "training.total_kimg=0.032")
    assert outcome.status == 0 and [line["nimg"] for line in lines(out)] == [16, 24, 32]


def test_dry_run_and_benchmark_write_nothing(data, config, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    dry = run("train", "--config", config, "--data", data, "--dry-run", "--out", tmp_path / "out")
    assert dry.status == 0 and "24 training views at 16²" in dry.stdout and "kimg" in dry.stdout
    timed = run("train", "--config", config, "--benchmark")
    assert timed.status == 0
    for phase in (
        "img/s",
        "mapping",
        "planes",
        "SDF of the grid",
        "extraction",
        "raster",
        "texture",
        "composite",
        "R1",
    ):
        assert phase in timed.stdout, phase
    assert sorted(tmp_path.rglob("*")) == before


def test_init_takes_what_fits_at_another_resolution(finished, data, tmp_path):
    other = tiny.write_config(
        tmp_path / "other.yaml",
        backbone={"plane_resolution": 16},
        training={"total_kimg": 0.008, "lr_generator": 1e-9, "lr_discriminator": 1e-9},
    )
    bigger = tiny.write_dataset(tmp_path / "bigger", resolution=32)
    outcome = run(
        "train", "--config", other, "--set", "data.resolution=32", "--data", bigger, "--out", tmp_path / "out",
        "--init", finished / "network.safetensors",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    assert "Started from" in outcome.stderr and "new: the discriminators, backbone" in outcome.stderr
    source = load_network(finished / "network.safetensors").state
    network = load_network(tmp_path / "out" / "network.safetensors").state
    same = [name for name, value in source.items() if value.shape == network[name].shape and "w_average" not in name]
    assert len(same) > 20
    for name in same:
        torch.testing.assert_close(network[name], source[name], atol=1e-6, rtol=1e-4)


def test_init_from_a_state_brings_the_discriminators(finished, data, config, tmp_path):
    state = finished / json.loads((finished / "latest.json").read_text())["state"]
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out", "--init", state,
        "--set", "training.total_kimg=0.008", "--set", "training.lr_generator=1e-9",
        "--set", "training.lr_discriminator=1e-9",
    )  # fmt: skip
    assert outcome.status == 0 and "new:" not in outcome.stderr
    old, new = state_tensors(finished), state_tensors(tmp_path / "out")
    torch.testing.assert_close(new["discriminator_rgb/entry.weight"], old["discriminator_rgb/entry.weight"])
    torch.testing.assert_close(new["generator/backbone.constant"], old["average/backbone.constant"])


def test_mistakes_are_one_line(finished, data, config, tmp_path):
    out = tmp_path / "out"
    base = ("train", "--config", config, "--data", data, "--out", out)
    assert_refused(
        run("train", "--config", config, "--data", data, "--out", finished), "already holds a run", "--resume"
    )
    assert_refused(run(*base, "--set", "loss.gama=1"), "loss.gama", "did you mean 'loss.gamma'")
    assert_refused(run("train", "--config", "chiar", "--data", data, "--out", out), "did you mean 'chair'")
    assert_refused(run("train", "--config", config, "--data", tmp_path / "none", "--out", out), str(tmp_path / "none"))
    assert_refused(run(*base, "--set", "data.resolution=24"), "24")
    assert_refused(run(*base, "--set", "classes=2"), "has 0 classes")
    assert_refused(run(*base, "--resume"), "no state to resume")
    assert_refused(run(*base, "--init", tmp_path / "none.safetensors"), "no such file")
    assert_refused(run("train", "--config", config, "--out", out), "--data is missing")
    assert_refused(run("train", "--config", config, "--data", data), "--out is missing")
    assert_refused(run("train", "--data", data, "--out", out), "--config is missing")
    assert_refused(run(*base, "--resume", "--dry-run"), "leave out")
    assert not out.exists(), "a refused command left something behind"


def test_a_start_that_was_killed_at_once_can_be_made_again(finished, data, config, tmp_path):
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


def test_wrong_checkpoints_are_refused(finished, data, config, tmp_path):
    out = tmp_path / "out"
    base = ("train", "--config", config, "--data", data, "--out", out, "--init")
    network = finished / "network.safetensors"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(network.read_bytes()[:-100])
    assert_refused(run(*base, broken), "broken.safetensors", "cut short")
    torch.save({"weight": torch.zeros(2)}, broken)
    assert_refused(run(*base, broken), "pickle")
    save_tensors(broken, {"unknown": torch.zeros(2)}, {"kind": "network", "config": {}})
    assert_refused(run(*base, broken), "none of its tensors fits")
    save_tensors(broken, {"unknown": torch.zeros(2)}, {"kind": "recipe"})
    assert_refused(run(*base, broken), "recipe")
    assert not out.exists()


def test_a_complete_run_resumes_to_itself(finished, data, config):
    """Also with --config, whose length does not count: the run keeps its own."""
    longer = config.parent / "longer.yaml"
    longer.write_text(config.read_text().replace("total_kimg: 0.08", "total_kimg: 9.0"))
    before = state_tensors(finished)
    outcome = run("train", "--config", longer, "--data", data, "--out", finished, "--resume")
    assert outcome.status == 0, outcome.stderr
    assert all(torch.equal(value, before[name]) for name, value in state_tensors(finished).items())
    assert lines(finished)[-1]["nimg"] == 80


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


def test_a_state_from_before_a_setting_existed_resumes(finished, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    tensors, header = load_tensors(finished / "state-000000064.safetensors")
    del header["config"]["training"]["generator_delay_kimg"]
    save_tensors(out / "state-000000064.safetensors", tensors, header)
    (out / "latest.json").write_text('{"state": "state-000000064.safetensors", "nimg": 64}')
    (out / "config.yaml").write_text(
        (finished / "config.yaml").read_text().replace("  generator_delay_kimg: 0.0\n", "")
    )
    outcome = run("train", "--out", out, "--resume", "--data", data)
    assert outcome.status == 0, outcome.stderr
    expected = state_tensors(finished)
    assert all(torch.equal(value, expected[name]) for name, value in state_tensors(out).items())


def test_resume_refuses_what_would_not_be_the_same_run(finished, data, config, tmp_path):
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


def test_a_run_of_nan_stops_with_the_cause(data, config, tmp_path):
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out", "--set", "loss.gamma=1e38",
        "--set", "loss.r1_interval=1", "--set", "training.max_skipped_steps=4",
    )  # fmt: skip
    assert_refused(outcome, "not finite for 4 steps in a row", "discriminators")


def test_a_full_disk_leaves_the_last_state(data, config, tmp_path, monkeypatch):
    out, save = tmp_path / "out", loop.save_state

    def full(folder, parts, nimg, *rest):
        if nimg > 32:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(folder, parts, nimg, *rest)

    monkeypatch.setattr(loop, "save_state", full)
    assert_refused(run("train", "--config", config, "--data", data, "--out", out), "No space left", "--resume")
    assert json.loads((out / "latest.json").read_text())["nimg"] == 32


def test_quiet_says_nothing(data, config, tmp_path):
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out", "--quiet",
        "--set", "training.total_kimg=0.016",
    )  # fmt: skip
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "")


def test_classes(tmp_path, config):
    data = tiny.write_dataset(tmp_path / "classes", classes=2)
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out",
        "--set", "classes=2", "--set", "training.total_kimg=0.016",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    assert load_network(tmp_path / "out" / "network.safetensors").config["classes"] == 2
