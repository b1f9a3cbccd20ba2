"""`tetragan adapt`: methods with a state, what is kept, and prompts of a dataset."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch

from configs.loader import build_config
from networks.discriminator import build_discriminator, discriminator_names
from networks.pretrained import load_generator
from tests.command_line import Outcome, assert_refused, run
from tests.metrics.model_folders import write_clip
from tests.tetragan.adapt_runs import command, stopped_at_once, write_inputs
from tests.training import tiny
from torch_utils.checkpoint import load_tensors, read_header, save_tensors
from training.adapt import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.safetensors and prior/."""
    return write_inputs(tmp_path_factory.mktemp("adapt"))


@pytest.mark.parametrize("method", ["vsd", "hifa"])
def test_methods_with_a_state_or_a_schedule_resume_exactly(folder, tmp_path, method):
    more = ("--part", "texture", "--method", method, "--steps", 3, "--quiet")
    whole, parts = (command(folder, tmp_path / name, *more) for name in ("whole", "parts"))
    assert run(*whole).status == 0
    with mock.patch.object(loop, "stop_requests", stopped_at_once):
        assert run(*parts).status == 130
    assert run(*parts, "--resume").status == 0
    (first, _), (second, _) = (load_tensors(tmp_path / out / "state.safetensors") for out in ("whole", "parts"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    before, after = load_generator(folder / "net.safetensors"), load_generator(tmp_path / "whole")
    assert any(not torch.equal(p, before.get_parameter(n)) for n, p in after.named_parameters())
    if method == "vsd":
        learned = [value for name, value in first.items() if name.startswith("follower/") and "lora_B" in name]
        assert learned and all(value.any() for value in learned)
        camera = [value for name, value in first.items() if name.startswith("follower/camera_embedding.2")]
        assert camera and all(value.any() for value in camera)
        assert_refused(run(*command(folder, tmp_path / "m", "--mode", "mapping", "--method", "vsd")), "one follower")
        assert run(*command(folder, tmp_path / "one", "--mode", "single", "--method", "vsd", "--steps", 1)).status == 0


def test_prompts_are_the_captions_of_a_dataset(folder, tmp_path):
    data, clip = tiny.write_dataset(tmp_path / "discs"), write_clip(tmp_path / "clip")
    header = json.loads((data / "dataset.json").read_text())
    ids = [shape_id for split in header["splits"].values() for shape_id in split]
    header["splits"] = {"train": ids[:3], "test": ids[3:]}
    (data / "dataset.json").write_text(json.dumps(header))
    for shape_id, words in zip(
        ids, ("red chair", "blue chair", "red chair", "blue car", "red car", "car"), strict=True
    ):
        file = data / "shapes" / shape_id / "meta.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "caption": f"a {words}"}))
    more = ("--steps", 1, "--set", f"text_encoder={clip}", "--set", f"clip={clip}")
    values = list(command(folder, tmp_path / "out", *more))
    values[values.index("--prompt") : values.index("--prompt") + 2] = ["--data", data]
    assert_refused(run(*values), "--data", "add --mode mapping")
    outcome = run(*values, "--mode", "mapping")
    assert outcome.status == 0, outcome.stderr
    assert read_header(tmp_path / "out" / "network.safetensors")["adapted"]["prompts"] == [
        "a red chair",
        "a blue chair",
    ]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "2 captions of discs" in report and "<th>R-precision of held-out captions (3)</th>" in report


def test_what_is_kept(folder, tmp_path):
    """The discriminators next to a network; what a mode cannot keep is refused."""
    shutil.copy(folder / "net.safetensors", tmp_path / "net.safetensors")
    keep = ("--keep", "structure,distances,discriminators", "--steps", 1)

    def kept(*more: object) -> Outcome:
        values = list(command(tmp_path, tmp_path / "out", *more))
        values[values.index("--prior") + 1] = folder / "prior"
        return run(*values)

    assert_refused(kept(*keep), "--keep discriminators", "has none")
    header = read_header(tmp_path / "net.safetensors")
    config = build_config(header["config"], "tiny")
    tensors = {}
    for name in discriminator_names(config):
        own = build_discriminator(config, name).state_dict()
        tensors |= {f"discriminator_{name}/{key}": value for key, value in own.items()}
    (tmp_path / "discriminators").mkdir()
    about = {key: header.get(key) for key in ("nimg", "config", "commit")}
    save_tensors(tmp_path / "discriminators" / "net.safetensors", tensors, {"kind": "discriminators", **about})
    outcome = kept(*keep)
    assert outcome.status == 0, outcome.stderr
    assert "<td>structure, distances, discriminators</td>" in (tmp_path / "out" / "report.html").read_text()
    adapted = read_header(tmp_path / "out" / "network.safetensors")["adapted"]
    assert adapted["keep"] == ["structure", "distances", "discriminators"]
    assert_refused(kept("--keep", "colors", "--resume"), "structure, distances or discriminators", "'colors'")
    assert_refused(kept("--keep", "distances", "--mode", "single", "--resume"), "--set keep_weight=10")
    assert_refused(kept("--keep", "distances", "--mode", "mapping", "--resume"), "with --mode mapping leave it out")
