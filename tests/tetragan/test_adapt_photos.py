"""`tetragan adapt --mode single --photos`: what is written, what an interruption leaves, and bad input."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import trimesh

from tests.command_line import assert_refused, run
from tests.guidance.tiny_priors import write_prior
from tests.metrics.model_folders import write_clip
from tests.tetragan.adapt_runs import command, stopped_at_once, write_inputs
from tests.training.test_photos import disc, write_photos
from torch_utils.checkpoint import load_tensors
from training.adapt import loop, single_job
from training.photos import learn

FEW = ("--mode", "single", "--photo-steps", 2, "--steps", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.safetensors, prior/ and photos/."""
    folder = write_inputs(tmp_path_factory.mktemp("adapt"))
    write_photos(folder / "photos", [disc((200, 30, 20)), disc((190, 40, 20)), disc((210, 20, 30), ground=250)])
    return folder


def like_photos(folder: Path, out: Path, *more: object) -> tuple:
    """The arguments of `tetragan` for the photos in a folder."""
    values = list(command(folder, out, "--photos", folder / "photos", *FEW, *more))
    values[values.index("--prompt") + 1] = "a chair"
    return tuple(values)


@contextmanager
def no_learning() -> Iterator[None]:
    """Learning photos fails the test."""
    with mock.patch.object(learn, "train_dreambooth", side_effect=AssertionError("it learned again")):
        yield


@pytest.mark.parametrize("method", ["dds", "pgsd"])
def test_a_stopped_adaptation_goes_on_without_learning_again(folder, tmp_path, method):
    """Ctrl-C during the first step, with a round of renders after it: the rest is bitwise the same."""
    more = ("--method", method, "--set", "bootstrap_rounds=1")
    whole, parts = (like_photos(folder, tmp_path / name, *more) for name in ("whole", "parts"))
    outcome = run(*whole)
    assert outcome.status == 0, outcome.stderr
    assert "photos of photos from 'a chair'" in outcome.stdout and "bootstrap round 1 of 1" in outcome.stderr
    with mock.patch.object(loop, "stop_requests", stopped_at_once):
        assert run(*parts).status == 130
    with no_learning():
        outcome = run("adapt", "--resume", "--out", tmp_path / "parts")
    assert outcome.status == 0, outcome.stderr
    assert "has learned these photos before" in outcome.stderr
    (first, _), (second, _) = (load_tensors(tmp_path / out / "state.safetensors") for out in ("whole", "parts"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    learned, _ = load_tensors(tmp_path / "whole" / "adapter.safetensors", "adapter")
    assert any(not torch.equal(value, first[f"subject/{name}"]) for name, value in learned.items()), "a round learns"
    assert any(name.startswith("follower/") for name in first) == (method == "pgsd")
    assert len(trimesh.load_mesh(tmp_path / "whole" / "sample.glb", merge_primitives=True).faces) > 10
    report = (tmp_path / "whole" / "report.html").read_text()
    assert "<td>photos of photos</td>" in report and "in 2 steps, and renders in 1 rounds" in report


def test_what_was_learned_outlives_an_interruption_before_the_first_step(folder, tmp_path):
    call = like_photos(folder, tmp_path / "out")
    with mock.patch.object(single_job, "load", side_effect=KeyboardInterrupt):
        assert run(*call).status == 130
    assert not (tmp_path / "out" / "state.safetensors").exists()
    with no_learning():
        outcome = run(*call)
    assert outcome.status == 0, outcome.stderr


def test_a_resumed_adaptation_keeps_its_photos(folder, tmp_path):
    photos = write_photos(tmp_path / "photos", [disc((20, 30, 200))] * 3)
    values = list(like_photos(folder, tmp_path / "out"))
    values[values.index("--photos") + 1] = photos
    assert run(*values).status == 0
    (photos / "0.png").unlink()
    assert_refused(run("adapt", "--resume", "--out", tmp_path / "out", "--steps", 4), "--resume", "from other photos")


def test_bad_input(folder, tmp_path):
    def refused(*more: object, **changed: object) -> object:
        values = list(like_photos(folder, tmp_path / "out", *more))
        for name, value in changed.items():
            values[values.index(f"--{name}") + 1] = value
        return run(*values)

    assert_refused(refused(mode="shift"), "--photos", "add --mode single")
    assert_refused(refused("--reference", "chair.png"), "--photos", "leave out --reference")
    assert_refused(refused("--source", "a stool"), "--photos", "leave out --source")
    assert_refused(refused(prompt=" "), "prompt is empty")
    assert_refused(refused("--method", "asd"), "--method asd", "sds, dds, pgsd")
    assert_refused(refused(prior=write_clip(tmp_path / "clip")), "--prior", "is a CLIP", "--prior pixel")
    assert_refused(refused("--set", "bootstrap_rounds=3"), "bootstrap_rounds=3", "more than 3 --steps")
    assert_refused(refused(photos=tmp_path / "none"), "--photos", "no such folder", "3 to 5 images")
    (tmp_path / "empty").mkdir()
    assert_refused(refused(photos=tmp_path / "empty"), "holds no image", "3 to 5")
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    assert_refused(
        refused(photos=write_photos(tmp_path / "noise", [noise])), "has no alpha", "border", "rembg i", "0.png"
    )
    without = [value for value in like_photos(folder, tmp_path / "out") if value not in ("--prompt", "a chair")]
    assert_refused(run(*without), "--photos", "add --prompt")
    words = command(folder, tmp_path / "out", "--mode", "single", "--steps", 1)
    assert_refused(run(*words, "--method", "pgsd"), "add --photos")
    assert_refused(run(*words, "--photo-steps", 3), "--photo-steps", "add --photos")
    assert_refused(run(*words, "--set", "bootstrap_rounds=1"), "--set bootstrap_rounds", "add --photos")
    assert not (tmp_path / "out").exists()


def test_a_prior_without_attention_and_a_single_photo(folder, tmp_path):
    photo = write_photos(tmp_path / "photo", [disc((200, 30, 20))])
    values = list(like_photos(folder, tmp_path / "out"))
    values[values.index("--photos") + 1] = photo
    outcome = run(*values)
    assert outcome.status == 0 and "holds 1 of the 3 to 5 images" in outcome.stderr, outcome.stderr
    with mock.patch("guidance.lora.TARGETS", ("no_such_layer",)):
        refused = run(*like_photos(folder, tmp_path / "other"))
    assert_refused(refused, "--photos", "no attention", "--prior pixel")


def test_a_prior_of_latents_learns_photos(folder, tmp_path):
    values = list(like_photos(folder, tmp_path / "out"))
    values[values.index("--prior") + 1] = write_prior(tmp_path / "latent", "unet")
    outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
