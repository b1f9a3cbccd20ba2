"""Logs and states with former names of statistics, counters and settings can still be read."""

import json

import torch

from tests.command_line import run
from tests.training.runs import state_tensors
from torch_utils.checkpoint import load_tensors, save_tensors
from training.run.run_log import read_stats


def test_logs_with_former_names_are_read(tmp_path):
    old = {
        "nimg": 10, "logits/real_rgb": 0.1, "logits/real_rgb/deviation": 0.2, "loss/repair": 0.3,
        "probe/components": 2.0, "probe/diversity": 0.1,
    }  # fmt: skip
    current = {
        "nimg": 10, "logits/real_rgb": 0.1, "logits/real_rgb/std": 0.2, "loss/fallback_surface": 0.3,
        "fixed_samples/components": 2.0, "fixed_samples/diversity": 0.1,
    }  # fmt: skip
    path = tmp_path / "stats.jsonl"
    path.write_text(json.dumps(old) + "\n" + json.dumps(current) + "\n")
    assert read_stats(path) == [current, current]


def test_an_old_state_resumes(finished, data, tmp_path):
    """Without a setting that came later, and with the former name of a counter."""
    out = tmp_path / "out"
    out.mkdir()
    tensors, header = load_tensors(finished / "state-000000064.safetensors")
    del header["config"]["training"]["generator_delay_kimg"]
    header["counters"]["number"] = header["counters"].pop("iteration")
    save_tensors(out / "state-000000064.safetensors", tensors, header)
    (out / "latest.json").write_text('{"state": "state-000000064.safetensors", "nimg": 64}')
    (out / "config.yaml").write_text(
        (finished / "config.yaml").read_text().replace("  generator_delay_kimg: 0.0\n", "")
    )
    outcome = run("train", "--out", out, "--resume", "--data", data)
    assert outcome.status == 0, outcome.stderr
    expected = state_tensors(finished)
    assert all(torch.equal(value, expected[name]) for name, value in state_tensors(out).items())
