"""`tetragan adapt` from the command line, with a tiny network and a tiny prior of random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from networks.pretrained import load_generator
from sampling.trained_generator import load
from tests.command_line import assert_refused, run
from tests.metrics.model_folders import write_clip
from tests.tetragan.adapt_runs import command, stopped_at_once, write_inputs
from torch_utils.checkpoint import load_network, load_tensors, read_header, save_tensors
from training.adapt import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.safetensors and prior/."""
    return write_inputs(tmp_path_factory.mktemp("adapt"))


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "red"
    outcome = run(*command(folder, out, "--steps", 4, "--part", "texture", "--keep", "distances"))
    assert outcome.status == 0, outcome.stderr
    assert "4 steps of 2 images of 8 px: about" in outcome.stderr and "MiB" in outcome.stderr
    assert "a red chair from 'a chair'" in outcome.stdout
    return out


def test_the_result_is_an_ordinary_network(folder, adapted, tmp_path):
    before, after = load_generator(folder / "net.safetensors"), load_generator(adapted)
    moved = [n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert moved and all("texture" in name for name in moved)
    header = read_header(adapted / "network.safetensors")
    assert header["data"] == "discs" and header["adapted"]["prompt"] == "a red chair" and header["nimg"] == 8
    assert load(adapted).sample(seed=1).render().shape == (32, 32, 3)
    outcome = run("generate", "--network", adapted, "--seeds", "0", "--format", "none", "--out", tmp_path / "made")
    assert outcome.status == 0, outcome.stderr


def test_sheets_and_report(adapted):
    assert [path.name for path in sorted(adapted.glob("sheet-*.png"))] == [f"sheet-{k:06d}.png" for k in range(5)]
    text = (adapted / "report.html").read_text()
    for part in ("a chair → a red chair", "dds, guidance scale 2.5", "Loss", "sheet-000004.png", "4 of 4"):
        assert part in text


def test_other_images_in_the_folder_do_not_matter(adapted, tmp_path):
    shutil.copytree(adapted, tmp_path / "own")
    shutil.copy(adapted / "sheet-000000.png", tmp_path / "own" / "sheet-best.png")
    outcome = run("adapt", "--out", tmp_path / "own", "--resume")
    assert outcome.status == 0, outcome.stderr
    assert "sheet-best" not in (tmp_path / "own" / "report.html").read_text()


def test_a_resumed_adaptation_is_the_undisturbed_one(folder, adapted, tmp_path):
    out = tmp_path / "red"
    call = command(folder, out, "--part", "texture", "--keep", "distances", "--quiet")
    outcome = run(*call, "--steps", 2)
    assert outcome.status == 0 and not outcome.stderr, outcome.stderr
    assert_refused(run(*command(folder, out)), "--resume")
    assert_refused(run("adapt", "--out", out, "--resume", "--prompt", "a car"), "leave out --prompt")
    assert_refused(run(*call, "--resume", "--set", "seed=9"), "has seed 0, but this one has 9")
    assert run(*call, "--resume", "--steps", 3).status == 0
    assert run("adapt", "--out", out, "--resume", "--steps", 4, "--quiet").status == 0
    (first, header), (second, other) = (load_tensors(path / "state.safetensors") for path in (adapted, out))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert header["settings"] == other["settings"]


def test_a_stopped_adaptation_goes_on(folder, adapted, tmp_path, monkeypatch):
    """Ctrl-C after the first step: the state is whole, and the rest is bitwise the same."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", stopped_at_once)
        outcome = run(*command(folder, tmp_path, "--steps", 4, "--part", "texture", "--keep", "distances"))
    assert outcome.status == 130 and "--resume" in outcome.stderr
    assert run("adapt", "--out", tmp_path, "--resume").status == 0
    first, second = (load_tensors(path / "state.safetensors")[0] for path in (adapted, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("mode", ["shift", "single"])
def test_a_network_that_has_changed_is_not_resumed(folder, tmp_path, mode):
    """As that of a training run, which goes on meanwhile."""
    inputs, out = write_inputs(tmp_path / "inputs"), tmp_path / "out"
    assert run(*command(inputs, out, "--mode", mode, "--steps", 1)).status == 0
    file = load_network(inputs / "net.safetensors")
    file.state["w_average_tex"] += 1
    shutil.copy(inputs / "net.safetensors", tmp_path / "before.safetensors")
    save_tensors(inputs / "net.safetensors", file.state, file.header)
    outcome = run("adapt", "--out", out, "--resume", "--steps", 2)
    assert_refused(outcome, f"--resume: {inputs / 'net.safetensors'} is not the network", "give another --out")
    shutil.copy(tmp_path / "before.safetensors", inputs / "net.safetensors")
    outcome = run("adapt", "--out", out, "--resume", "--steps", 2)
    assert outcome.status == 0 and "1 steps of 2 images" in outcome.stderr, outcome.stderr


def test_a_file_of_prompts(folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\na blue chair\n")
    call = [
        value for value in command(folder, tmp_path / "out", "--steps", 1) if value not in ("--prompt", "a red chair")
    ]
    outcome = run(*call, "--prompts-file", prompts)
    assert outcome.status == 0, outcome.stderr
    made = [load_generator(tmp_path / "out" / name) for name in ("a-red-chair", "a-blue-chair")]
    assert any(not torch.equal(a, b) for a, b in zip(*(net.parameters() for net in made), strict=True))
    assert_refused(run(*call, "--prompts-file", prompts), "--resume")
    assert run(*call, "--prompts-file", prompts, "--resume").status == 0


def test_clip_guides_and_another_evaluates(folder, tmp_path):
    guides, evaluates = (write_clip(tmp_path / name) for name in ("clip", "other"))
    values = list(command(folder, tmp_path / "out", "--steps", 1, "--set", f"clip={evaluates}"))
    values[values.index("--prior") + 1] = guides
    outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<td>clip</td>" in text and "CLIP: cosine of images and prompt" in text
    header = read_header(tmp_path / "out" / "network.safetensors")
    assert header["adapted"]["method"] == "clip" and header["adapted"]["prior"] == "clip"
    values[values.index("--out") + 1] = tmp_path / "screened"
    assert run(*values, "--set", "screened=1").status == 0
    before, after = (load_generator(tmp_path / name) for name in ("out", "screened"))
    assert any(not torch.equal(p, after.get_parameter(n)) for n, p in before.named_parameters())
    assert_refused(run(*command(folder, tmp_path / "b", "--set", "screened=2")), "--set screened", "--method clip")
    values[values.index("--out") + 1] = tmp_path / "b"
    assert_refused(run(*values, "--method", "dds"), "--method dds: needs a diffusion prior")
    assert_refused(run(*command(folder, tmp_path / "b", "--method", "clip")), "--method clip: needs a CLIP")
    more = ("--set", f"second_prior={guides}")
    assert_refused(run(*command(folder, tmp_path / "b", *more)), "second_prior", "--method clip")


def test_one_sample_moves_to_words_or_to_an_image(folder, tmp_path):
    more = ("--mode", "single", "--sample", 3, "--steps", 2)
    outcome = run(*command(folder, tmp_path / "words", *more, "--set", "planes=true"))
    assert outcome.status == 0, outcome.stderr
    image = torch.zeros(16, 16, 4, dtype=torch.uint8)
    image[4:12, 4:12] = 255
    Image.fromarray(image.numpy()).save(tmp_path / "white.png")
    call = ["adapt", "--network", folder / "net.safetensors", "--mode", "single", "--reference", tmp_path / "white.png"]
    Image.new("RGBA", (16, 16)).save(tmp_path / "nothing.png")
    outcome = run(*call[:-1], tmp_path / "nothing.png", "--out", tmp_path / "none")
    assert_refused(outcome, f"--reference {tmp_path / 'nothing.png'}", "shows nothing")
    outcome = run(*call, "--out", tmp_path / "image", "--steps", 2, "--set", "threads=1")
    assert outcome.status == 0, outcome.stderr
    for name in ("words", "image"):
        assert len(trimesh.load_mesh(tmp_path / name / "sample.glb", merge_primitives=True).faces) > 10
        assert {"w_geo", "w_tex"} <= load_tensors(tmp_path / name / "styles.safetensors")[0].keys()
        assert "<th>sample</th>" in (tmp_path / name / "report.html").read_text()
    drawn = ["generate", "--network", folder / "net.safetensors", "--texture-size", 64, "--out", tmp_path / "drawn"]
    outcome = run(*drawn, "--latents", tmp_path / "image" / "styles.safetensors")
    assert outcome.status == 0, outcome.stderr
    made, again = (trimesh.load_mesh(path / "sample.glb") for path in (tmp_path / "image", tmp_path / "drawn"))
    assert np.array_equal(made.vertices, again.vertices)
    assert_refused(run(*drawn, "--latents", tmp_path / "words" / "styles.safetensors"), "planes")
    resumed = run("adapt", "--out", tmp_path / "image", "--resume", "--steps", 3)
    assert resumed.status == 0, resumed.stderr
    assert_refused(run(*call[:3], *call[5:], "--out", tmp_path / "b"), "--mode single")
    assert_refused(run(*call, "--prompt", "a car", "--out", tmp_path / "b"), "one of --prompt")


def test_one_network_learns_many_prompts(folder, tmp_path):
    clip, prompts = write_clip(tmp_path / "clip"), tmp_path / "prompts.txt"
    prompts.write_text("a {red|blue} chair\n")
    more = ("--mode", "mapping", "--steps", 2, "--set", f"text_encoder={clip}", "--part", "texture")
    values = list(command(folder, tmp_path / "out", *more))
    values[values.index("--prompt") : values.index("--prompt") + 2] = ["--prompts-file", prompts]
    outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
    assert "a red chair, a blue chair" in (tmp_path / "out" / "report.html").read_text()
    resumed = run("adapt", "--out", tmp_path / "out", "--resume", "--steps", 3)
    assert resumed.status == 0, resumed.stderr
    header = read_header(tmp_path / "out" / "network.safetensors")
    assert header["text"] == {"encoder": str(clip), "source": "a chair"}
    assert header["adapted"]["prompts"] == ["a red chair", "a blue chair"]

    def images(network: Path, name: str, *more: object) -> bytes:
        call = ("generate", "--network", network, "--seeds", "0-1", "--format", "none", "--workers", 1)
        made = run(*call, "--out", tmp_path / name, *more)
        assert made.status == 0, made.stderr
        return (tmp_path / name / "samples.png").read_bytes()

    plain = images(tmp_path / "out", "plain")
    assert plain == images(folder / "net.safetensors", "before")
    assert images(tmp_path / "out", "red", "--prompt", "a red chair") != plain
    assert json.loads((tmp_path / "red" / "samples.json").read_text())["made_by"]["prompt"] == "a red chair"
    call = ("generate", "--network", folder / "net.safetensors", "--format", "none", "--out", tmp_path / "no")
    assert_refused(run(*call, "--prompt", "a red chair"), "knows no texts", "--mode mapping")
    assert_refused(run(*values, "--method", "clip", "--resume"), "leave out --method clip")
    assert_refused(run(*values, "--method", "sds", "--resume"), "has method dds, but this one has sds")
