"""A run whose gradients stay non-finite goes back to its last state with lower rates, if it may."""

import json
import math

import pytest
import torch

from metrics.images.detectors import Detector
from metrics.images.frechet import frechet_distance_of_features
from networks.generator import Generator
from tests.command_line import assert_refused, run
from tests.training import tiny
from tests.training.runs import lines, state_tensors
from torch_utils.checkpoint import load_network
from torch_utils.errors import UserError
from training.gan_step import training_step
from training.run.validation import ImageValidation


@pytest.fixture
def poisoned(monkeypatch):
    """Real views become NaN from the seventh minibatch on, until the learning rates were halved `cured` times."""

    def poison(cured: int) -> list[float]:
        rates: list[float] = []

        def step(train_state, batch, **options):
            rate = train_state.generator_adam.adam.param_groups[0]["lr"]
            rates.append(rate)
            if batch.iteration >= 6 and rate > 0.002 * 0.5**cured:
                batch.reals.rgb[0, 0, 0, 0] = math.nan
            return training_step(train_state, batch, **options)

        monkeypatch.setattr("training.stages.training_step", step)
        return rates

    return poison


LIMITS = ("--set", "training.max_skipped_steps=2")


def test_without_permission_the_run_stops(poisoned, data, config, tmp_path):
    poisoned(1)
    outcome = run("train", "--config", config, "--data", data, "--out", tmp_path / "out", *LIMITS)
    assert_refused(outcome, "gradients were not finite for 2 steps in a row", "training.rollbacks")


def test_the_run_goes_back_to_its_state_with_half_the_rates(poisoned, data, config, tmp_path):
    rates, out = poisoned(2), tmp_path / "out"
    allowed = (*LIMITS, "--set", "training.rollbacks=2")
    outcome = run("train", "--config", config, "--data", data, "--out", out, *allowed)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr.count("Rolled back to the state at 0.032 kimg") == 2
    assert json.loads((out / "run.json").read_text())["rolled_back"] == [
        {"nimg": 32, "rate_factor": 0.5},
        {"nimg": 32, "rate_factor": 0.25},
    ]
    assert [line["nimg"] for line in lines(out)] == [16, 32, 48, 64, 80]
    assert rates[-1] == 0.25 * 0.002 and all(torch.isfinite(value).all() for value in state_tensors(out).values())


def test_a_resumed_run_keeps_the_lower_rates(poisoned, data, config, tmp_path):
    rates, out = poisoned(1), tmp_path / "out"
    allowed = (*LIMITS, "--set", "training.rollbacks=1")
    assert run("train", "--config", config, "--data", data, "--out", out, *allowed).status == 0
    longer = ("--set", "training.total_kimg=0.096")
    assert run("train", "--data", data, "--out", out, "--resume", *longer).status == 0
    assert rates[-1] == 0.5 * 0.002 and load_network(out / "network.safetensors").nimg == 96


def test_snapshots_are_compared_with_held_out_shapes_and_training_views(tmp_path, monkeypatch):
    data = tiny.write_dataset(tmp_path / "data", shapes=10)
    header = json.loads((data / "dataset.json").read_text())
    header["splits"]["train"], header["splits"]["val"] = header["splits"]["train"][:6], header["splits"]["train"][6:]
    (data / "dataset.json").write_text(json.dumps(header))
    out, config = tmp_path / "out", tiny.write_config(tmp_path / "tiny.yaml")
    brightness = Detector("brightness", "key", lambda images: images.float().mean((2, 3)))
    monkeypatch.setattr("metrics.images.detectors.lite0_detector", lambda device: brightness)
    images = ("--set", "training.validation_images=10")
    outcome = run("train", "--config", config, "--data", data, "--out", out, *images)
    assert outcome.status == 0, outcome.stderr
    assert [line["nimg"] for line in lines(out) if line.get("validation/fd_lite0", -1) > 0] == [64, 80]
    assert "FD (Lite0)" in (out / "report.html").read_text()
    scores = {line["nimg"]: line["validation/mmd_cd"] for line in lines(out) if "validation/mmd_cd" in line}
    assert list(scores) == [64, 80] and all(0 < score < 1000 for score in scores.values())
    assert all(0 < line["validation/cov_cd"] <= 100 for line in lines(out) if line["nimg"] in scores)
    best = load_network(out / "best_network.safetensors")
    assert best.nimg == min(scores, key=scores.__getitem__)
    monkeypatch.setattr("metrics.images.detectors.lite0_detector", not_installed)
    off = ("--out", tmp_path / "off", *images, "--set", "training.validation_shapes=0")
    silent = run("train", "--config", config, "--data", data, *off)
    assert silent.status == 0 and not (tmp_path / "off" / "best_network.safetensors").exists()
    assert not any(name.startswith("validation/") for line in lines(tmp_path / "off") for name in line)


def not_installed(device):
    raise UserError("--detector lite0: its packages are not installed")


def test_the_image_score_is_the_distance_between_views_and_samples():
    settings = tiny.config().model_copy(update={"classes": 2})
    generator, data, batches = Generator(settings).eval(), tiny.data(settings, noise=0.3), []

    def features(images):
        batches.append(images)
        return images.float().flatten(1)[:, ::37]

    validation = ImageValidation(generator, data, 20, Detector("pixels", "key", features))
    views = torch.cat(batches)
    expected = (data.bank.images[:, :3] * 127.5 + 127.5).round().clamp(0, 255)
    assert torch.equal(views.float(), expected)
    score = validation.scores()["validation/fd_lite0"]
    samples = torch.cat(batches)[20:]
    assert samples.shape == views.shape and samples.dtype == torch.uint8 and len(samples.unique(dim=0)) == 20
    assert score == frechet_distance_of_features(features(views), features(samples)) > 0
    assert validation.scores()["validation/fd_lite0"] == score
    with torch.no_grad():
        list(generator.texture_head.parameters())[-1].add_(0.5)
    assert validation.scores()["validation/fd_lite0"] != score
