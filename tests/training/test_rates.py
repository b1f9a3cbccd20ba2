"""Learning rates over a run."""

import pytest

from tests.command_line import run
from training.gan_step import training_step
from training.optimizer import rate_factor


@pytest.mark.parametrize(
    ("nimg", "decay_kimg", "factor"),
    [(0, 0, 1), (5999, 0, 1), (3000, 3, 1), (4500, 3, 0.5), (6000, 3, 0), (7000, 3, 0)],
)
def test_the_rate_falls_linearly_at_the_end(nimg, decay_kimg, factor):
    assert rate_factor(nimg, 6.0, decay_kimg) == factor


def test_both_networks_follow_the_schedule_also_after_a_resume(monkeypatch, data, config, tmp_path):
    rates = []

    def step(train_state, batch, **options):
        for optimizer in train_state.optimizers:
            rates.append((batch.nimg, optimizer.adam.param_groups[0]["lr"] / optimizer.settings.lr))
        return training_step(train_state, batch, **options)

    monkeypatch.setattr("training.stages.training_step", step)
    schedule = ("--data", data, "--out", tmp_path / "out", "--set", "training.lr_decay_kimg=0.064")
    first = run("train", "--config", config, *schedule, "--set", "training.total_kimg=0.08")
    assert first.status == 0, first.stderr
    longer = run("train", *schedule, "--resume", "--set", "training.total_kimg=0.096")
    assert longer.status == 0, longer.stderr
    at = dict(rates)
    assert at[0] == at[16] == 1 and at[48] == 0.5 and at[80] == 0.25
    assert len(rates) == 2 * 6 * 16 // (sorted(at)[1] - sorted(at)[0])
