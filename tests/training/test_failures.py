"""Failures provoked in small runs: the terminal names each, from the logged statistics alone."""

import pytest

from tests.command_line import run
from tests.training import tiny
from training.run import health

# Settings that provoke each failure. Without the warm-up of the thresholds it shows within seconds.
PROVOKED = {
    "non-finite gradients": {"training.lr_generator": 1e30, "training.total_kimg": 0.16},
    "vanishing surface": {"geometry.sphere_radius": 0.05, "training.lr_generator": 1e-9, "training.total_kimg": 0.1},
    "saturated discriminator": {  # tiny shapes are easy to tell from discs
        "geometry.sphere_radius": 0.05, "loss.gamma": 0, "training.lr_generator": 1e-9,
        "training.lr_discriminator": 0.01, "training.total_kimg": 0.4,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PROVOKED)
def test_the_terminal_names_what_went_wrong(name, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "WARM_UP_KIMG", 0.0)
    data = tiny.write_dataset(tmp_path / "discs")
    config = tiny.write_config(tmp_path / "tiny.yaml")
    changes = [part for setting in PROVOKED[name].items() for part in ("--set", "{}={}".format(*setting))]
    common = ["--config", config, "--data", data, "--quiet"]
    outcome = run("train", *common, "--out", tmp_path / "out", *changes)
    assert f"Sign of failure, {name}: " in outcome.stderr
    assert "Traceback" not in outcome.stderr
