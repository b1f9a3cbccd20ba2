"""Whole runs from the command line: files, schedule, time, and what is refused."""

import errno
import json
import os

import pytest
import torch

from configs.loader import build_config
from networks.layers import resample_filter
from networks.pretrained import discriminators_file, load_generator
from tests.command_line import assert_refused, run
from tests.training import tiny
from tests.training.runs import length, lines, state_tensors
from torch_utils.checkpoint import load_network, load_tensors, save_tensors
from torch_utils.distributed import Ranks
from torch_utils.files import WriteError
from torch_utils.ops.upfirdn2d import upfirdn2d
from training import benchmark
from training.benchmark import arithmetic_time
from training.gan_step import training_step
from training.run import outputs
from training.run.fixed_samples import FixedSamples
from training.run.state_file import save_state


def test_files_of_a_run(finished):
    names = {path.name for path in finished.iterdir() if not path.name.startswith("events.")}
    assert names == {
        "config.yaml", "run.json", "stats.jsonl", "latest.json", "reals.png", "network.safetensors", "report.html",
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
        assert {"loss/generator", "logits/real_rgb", "logits/real_rgb/std", "coverage/fake"} <= line.keys()
        assert line["fixed_samples/components"] >= 1 and line["fixed_samples/diversity"] >= 0
        assert all(isinstance(value, int | float) for value in line.values())


def test_time_besides_training_is_counted_separately(data, config, tmp_path, monkeypatch):
    """On a clock that advances by 1 s a step, 10 s the fixed samples, 100 s a network and 1000 s a state."""
    clock, networks = [0.0], []

    def lasting(seconds, function):
        def wrapped(*args, **options):
            clock[0] += seconds
            return function(*args, **options)

        return wrapped

    def save_network(path, *rest, **options):
        networks.append(path.name)

    monkeypatch.setattr("training.run.outputs.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("training.stages.training_step", lasting(1, training_step))
    monkeypatch.setattr("training.run.fixed_samples.FixedSamples.statistics", lasting(10, FixedSamples.statistics))
    monkeypatch.setattr("training.run.outputs.save_network", lasting(100, save_network))
    monkeypatch.setattr("training.run.outputs.save_state", lasting(1000, save_state))
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
    """Also if a snapshot is due at the end of the run anyway."""
    networks = []
    monkeypatch.setattr("training.run.outputs.save_network", lambda path, *_, **options: networks.append(path.name))
    outcome = run("train", "--config", config, "--data", data, "--out", tmp_path / "out", *length(0.064))
    assert outcome.status == 0, outcome.stderr
    assert networks == ["network-000000064.safetensors", "network.safetensors"]


def test_the_time_of_network_arithmetic_is_counted():
    arithmetic = {
        "aten::mkldnn_convolution": 3.0,
        "aten::convolution_backward": 2.0,
        "tetragan::point_mlp_backward": 1.0,
    }
    rest = {"aten::copy_": 0.5, "tetragan::rasterize_backward": 1.0, "MulBackward0": 0.25, "aten::_fused_adam_": 0.25}
    assert arithmetic_time({**arithmetic, **rest}) == pytest.approx(6)
    assert arithmetic_time(rest) == 0


def test_dry_run_and_benchmark_write_nothing(data, config, tmp_path, capfd):
    before = sorted(tmp_path.rglob("*"))
    dry = run("train", "--config", config, "--data", data, "--dry-run", "--out", tmp_path / "out")
    assert dry.status == 0 and "24 training views at 16²" in dry.stdout and "of training for" in dry.stdout
    timed = run("train", "--config", config, "--benchmark")
    assert timed.status == 0
    assert "profiler" not in capfd.readouterr().err  # written by C++, past sys.stderr
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
        "Network arithmetic",
    ):
        assert phase in timed.stdout, phase
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("seconds", "steps"), [(10.0, [1]), (0.1, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0])])
def test_a_dry_run_makes_few_steps_where_they_are_slow(monkeypatch, seconds, steps):
    made = []
    settings = build_config({}, "defaults")
    batch, share = settings.training.batch, 1 / settings.loss.r1_interval

    def rate(step, minibatches, config, ranks, first=0):
        made.append(first)
        return batch / (seconds * (2 if first == 0 else 1))

    monkeypatch.setattr(benchmark, "_rate", rate)
    found = benchmark._mixed_rate(None, settings, Ranks(), first=2 * seconds)
    assert made == steps
    assert found == pytest.approx(batch / (share * 2 * seconds + (1 - share) * seconds))


def test_init_copies_what_fits_at_another_resolution(finished, data, tmp_path):
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


def test_init_from_a_state_copies_the_discriminators(finished, data, config, tmp_path):
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


def test_init_without_config_takes_the_configuration_too(finished, data, tmp_path):
    for name, source in (("run", finished), ("network", finished / "network.safetensors")):
        outcome = run("train", "--data", data, "--out", tmp_path / name, "--init", source, *length(0.008))
        assert f"those of {source}; training.total_kimg=0.008, training.threads=1" in outcome.stderr
        assert outcome.status == 0, outcome.stderr
        expected = (finished / "config.yaml").read_text().replace("total_kimg: 0.08", "total_kimg: 0.008")
        assert (tmp_path / name / "config.yaml").read_text() == expected
    base = ("train", "--data", data, "--out", tmp_path / "refused", "--init")
    assert_refused(run(*base, finished, "--set", "loss.gama=1"), "did you mean 'loss.gamma'")
    assert_refused(run(*base, tmp_path / "none.safetensors"), "no such file")
    assert not (tmp_path / "refused").exists()


def test_discriminators_come_from_another_run(finished, data, config, tmp_path):
    """A generator with other weights and the discriminators of `finished`. A network without any is refused."""
    base = ("train", "--config", config, "--data", data)
    assert run(*base, "--out", tmp_path / "other", *length(0.008), "--set", "training.seed=1").status == 0
    still = ("--set", "training.lr_generator=1e-9", "--set", "training.lr_discriminator=1e-9")
    start = (*base, *length(0.008), *still, "--init", tmp_path / "other", "--discriminators")
    outcome = run(*start, finished, "--out", tmp_path / "out")
    assert outcome.status == 0 and f"and the discriminators of {finished}." in outcome.stderr, outcome.stderr
    source, other, new = (state_tensors(path) for path in (finished, tmp_path / "other", tmp_path / "out"))
    for name, value in new.items():
        if name.startswith(("discriminator_rgb/", "discriminator_mask/")):
            torch.testing.assert_close(value, source[name], msg=name)
    name = "discriminator_rgb/entry.weight"
    assert not torch.equal(source[name], other[name])
    torch.testing.assert_close(new["generator/backbone.constant"], other["average/backbone.constant"])
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((finished / "network.safetensors").read_bytes())
    assert_refused(
        run(*start, alone, "--out", tmp_path / "refused"), "--discriminators", "no discriminators", "a run or a state"
    )
    assert_refused(
        run(*base, "--discriminators", finished, "--out", tmp_path / "refused"), "--discriminators goes with --init"
    )
    assert not (tmp_path / "refused").exists()


def test_init_from_a_run_takes_its_newest_state(finished, data, config, tmp_path):
    base = ("train", "--config", config, "--data", data, *length(0.008))
    states = []
    for name, source in (("a", finished), ("b", finished / "state-000000080.safetensors")):
        outcome = run(*base, "--out", tmp_path / name, "--init", source)
        assert outcome.status == 0 and "new:" not in outcome.stderr, outcome.stderr
        states.append(state_tensors(tmp_path / name))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_init_from_an_exported_state_finds_its_discriminators(finished, data, config, tmp_path):
    state = finished / json.loads((finished / "latest.json").read_text())["state"]
    exported_file = tmp_path / "export" / "disc-16.safetensors"
    exported = run("export", "--network", state, "--out", exported_file, "--half")
    assert exported.status == 0, exported.stderr
    assert "/discriminators/" in exported.stdout
    average = load_network(finished / "network.safetensors").state
    for name, value in load_network(exported_file).state.items():
        torch.testing.assert_close(value, average[name], atol=1e-3, rtol=1e-3)
    larger = tiny.write_dataset(tmp_path / "larger", resolution=32)
    for folder, resolution, views in (("same", 16, data), ("larger", 32, larger)):
        outcome = run(
            "train", "--config", config, "--data", views, "--out", tmp_path / folder, "--init", exported_file,
            "--set", "training.total_kimg=0.008", "--set", "training.lr_generator=1e-9",
            "--set", "training.lr_discriminator=1e-9", "--set", f"data.resolution={resolution}",
        )  # fmt: skip
        assert outcome.status == 0, outcome.stderr
        assert "the discriminators" not in outcome.stderr
        old, new = state_tensors(finished), state_tensors(tmp_path / folder)
        more = int(resolution > 16)
        for name in ("first", "second", "skip"):
            for block in range(2):
                torch.testing.assert_close(
                    new[f"discriminator_rgb/blocks.{block + more}.{name}.weight"],
                    old[f"discriminator_rgb/blocks.{block}.{name}.weight"],
                    atol=1e-3,
                    rtol=1e-3,
                )
        assert ("discriminator_rgb/entry" in outcome.stderr) == (resolution > 16)


def test_export_copies_the_discriminators_and_those_of_another_network_are_refused(finished, data, config, tmp_path):
    state = finished / json.loads((finished / "latest.json").read_text())["state"]
    exported_file, copy = tmp_path / "a" / "disc.safetensors", tmp_path / "b" / "disc.safetensors"
    assert run("export", "--network", state, "--out", exported_file).status == 0
    copied = run("export", "--network", exported_file, "--out", copy, "--half")
    assert copied.status == 0 and "/discriminators/" in copied.stdout, copied.stderr
    exact, half = (load_tensors(discriminators_file(path))[0] for path in (exported_file, copy))
    assert exact.keys() == half.keys() and all(value.dtype == torch.float16 for value in half.values())
    alone = run("export", "--network", finished / "network.safetensors", "--out", exported_file)
    assert alone.status == 0 and "/discriminators/" not in alone.stdout
    base = ("train", "--config", config, "--data", data, "--out", tmp_path / "out", "--init")
    changed, header = load_tensors(exported_file)
    save_tensors(exported_file, changed, {**header, "nimg": header["nimg"] + 8})
    assert_refused(run(*base, exported_file), "belongs to another network", "move it away")


def test_larger_planes_start_with_the_same_shapes(finished, data, config, tmp_path):
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out",
        "--init", finished / "network.safetensors", "--set", "backbone.plane_resolution=16",
        "--set", "training.total_kimg=0.008", "--set", "training.generator_delay_kimg=1",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    small = load_generator(finished / "network.safetensors")
    grown = load_generator(tmp_path / "out" / "network.safetensors")
    assert grown.config.backbone.plane_resolution == 2 * small.config.backbone.plane_resolution
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    # The planes are the small ones, upsampled: the new blocks add nothing yet.
    for large, planes in zip(grown.planes(*grown.map(z, z)), small.planes(*small.map(z, z)), strict=True):
        images = planes.flatten(0, 1).permute(0, 3, 1, 2)
        twice = upfirdn2d(images, resample_filter(), up=2, padding=(2, 1, 2, 1), gain=4.0)
        torch.testing.assert_close(large.flatten(0, 1).permute(0, 3, 1, 2), twice, atol=1e-5, rtol=1e-5)


def test_init_with_another_lr_multiplier_is_the_same_network(finished, data, config, tmp_path):
    state = finished / json.loads((finished / "latest.json").read_text())["state"]
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out", "--init", state,
        "--set", "mapping.lr_multiplier=0.001", "--set", "training.total_kimg=0.008",
        "--set", "training.lr_generator=1e-9", "--set", "training.lr_discriminator=1e-9",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    before, after = (load_generator(folder / "network.safetensors") for folder in (finished, tmp_path / "out"))
    z = torch.randn(3, 8)
    torch.testing.assert_close(after.map(z, z), before.map(z, z), atol=1e-5, rtol=1e-5)
    old, new = state_tensors(finished), state_tensors(tmp_path / "out")
    name = "discriminator_rgb/mapping.layers.0.weight"
    torch.testing.assert_close(new[name], old[name] * 100, atol=1e-4, rtol=1e-4)


def test_a_backbone_that_does_not_fit_starts_untrained(finished, data, config, tmp_path):
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out",
        "--init", finished / "network.safetensors", "--set", "backbone.channel_max=4",
        "--set", "backbone.plane_channels=2", "--set", "training.total_kimg=0.008",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    network = load_generator(tmp_path / "out" / "network.safetensors")
    z = torch.randn(2, 8)
    geometry, texture = network.planes(*network.map(z, z))
    assert geometry.std() > 0.1 and texture.std() > 0.1


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


def test_a_run_with_non_finite_gradients_stops_with_the_cause(data, config, tmp_path):
    outcome = run(
        "train", "--config", config, "--data", data, "--out", tmp_path / "out", "--set", "loss.gamma=1e38",
        "--set", "loss.r1_interval=1", "--set", "training.max_skipped_steps=4",
    )  # fmt: skip
    assert_refused(outcome, "not finite for 4 steps in a row", "discriminators")


def test_a_full_disk_leaves_the_last_state(data, config, tmp_path, monkeypatch):
    out, save = tmp_path / "out", save_state

    def full(folder, parts, nimg, *rest):
        if nimg > 32:
            raise WriteError(folder / "state.safetensors", os.strerror(errno.ENOSPC))
        return save(folder, parts, nimg, *rest)

    monkeypatch.setattr(outputs, "save_state", full)
    assert_refused(run("train", "--config", config, "--data", data, "--out", out), "No space left", "--resume")
    assert json.loads((out / "latest.json").read_text())["nimg"] == 32


def test_quiet_prints_nothing(data, config, tmp_path):
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
