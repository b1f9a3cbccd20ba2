"""The included priors load by name without a connection, and the right word wins."""

import pytest
import torch

from dataset_tool.procedural.as_mesh import as_source_mesh
from dataset_tool.procedural.categories import make_shape
from dataset_tool.procedural.finishes import Finish, with_finish
from dataset_tool.sources.orientation import normalize
from guidance.clip import load_clip
from guidance.priors.included import INCLUDED_PRIORS, included_priors, prior_folder
from guidance.priors.load import load_prior
from guidance.priors.prior import add_noise
from guidance.sampler import sample_prior
from guidance.score_distillation import dds
from rendering.camera import orbit_cameras
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.text_priors.data import over
from torch_utils.errors import UserError
from torch_utils.seeding import sample_rng

# Middle shades of the procedural materials, in [0, 1].
COLORS = {
    "red": (0.73, 0.18, 0.16),
    "green": (0.24, 0.42, 0.28),
    "blue": (0.18, 0.3, 0.5),
    "yellow": (0.89, 0.74, 0.22),
}
DIFFUSION = [name for name in ("pixel", "latent") if name in included_priors()]
CLIPS = ("clip-a", "clip-b")
BACKGROUND = 0.7


def nearest_color(image):
    """The color word of an image [3, H, W] in [−1, 1] whose object stands before gray."""
    pixels = (image / 2 + 0.5).flatten(1).t()
    seen = pixels[(pixels - BACKGROUND).abs().amax(1) > 0.15]
    distance = {word: float((seen.mean(0) - torch.tensor(color)).norm()) for word, color in COLORS.items()}
    return min(distance, key=lambda word: distance[word])


def test_they_are_small_and_hold_no_pickles():
    files = [file for file in INCLUDED_PRIORS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 12e6
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".md"}
    for name in included_priors():
        assert (INCLUDED_PRIORS / name / "README.md").is_file(), f"{name} has no card"


@pytest.mark.parametrize("name", DIFFUSION)
def test_samples_have_the_color_of_their_prompt(name, no_network):
    prior = load_prior(name)
    words = [word for word in COLORS for _ in range(3)]
    texts, empty = prior.embed([f"a {word} chair" for word in words]), prior.embed([""])
    drawn = sample_prior(prior, texts, empty, torch.Generator().manual_seed(0), scale=4.0, steps=12)
    with torch.no_grad():
        found = [nearest_color(image) for image in prior.decode(drawn)]
    right = sum(a == b for a, b in zip(found, words, strict=True))
    assert right >= 10, f"{right} of {len(words)}: {found}"


@pytest.mark.parametrize("name", DIFFUSION)
def test_a_prompt_moves_a_gray_object_to_its_color(name, no_network):
    """The direction that distillation takes: the target's channel rises against the other one."""
    prior = load_prior(name)
    images = torch.full((8, 3, prior.resolution, prior.resolution), 2 * BACKGROUND - 1)
    images[:, :, prior.resolution // 4 : -prior.resolution // 4, prior.resolution // 4 : -prior.resolution // 4] = -0.2
    images.requires_grad_()
    x = prior.to_prior(images)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    red, blue = prior.embed(["a red chair"]), prior.embed(["a blue chair"])
    gradient = dds(prior, x, x.detach(), red, blue, prior.embed([""]), torch.full((8,), 0.6), noise)
    (found,) = torch.autograd.grad(x, images, gradient)
    step = -found.mean(dim=(0, 2, 3))
    assert step[0] > 0 > step[2], step


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_names_the_color_of_a_chair(name, no_network):
    """Chairs that no training saw, in plain colors, seen from two sides."""
    clip = load_clip(name)
    words, images = [], []
    for index, word in enumerate(COLORS):
        for row in range(2):
            rng = sample_rng(77, 2 * index + row, "included priors")
            shape = with_finish(make_shape("chair", 77, 2 * index + row), Finish(color=word), rng)
            mesh, _ = normalize(as_source_mesh(shape), "+Y", "+Z", 0.7)
            views = render_views(build_scene(mesh), orbit_cameras([40, 220]), 32, supersample=2).images
            images.append(over(torch.from_numpy(views).permute(0, 3, 1, 2), BACKGROUND) / 2 + 0.5)
            words += [word] * 2
    texts = clip.embed_texts([f"a {word} chair" for word in COLORS])
    found = [list(COLORS)[i] for i in (clip.embed_images(torch.cat(images)) @ texts.t()).argmax(1).tolist()]
    right = sum(a == b for a, b in zip(found, words, strict=True))
    assert right >= 14, f"{right} of {len(words)}: {found}"


@pytest.mark.parametrize("name", CLIPS)
def test_a_synonym_lies_near_its_word(name, no_network):
    clip = load_clip(name)
    crimson, *words = clip.embed_texts([f"a {word} chair" for word in ("crimson", "red", "blue", "green")])
    likeness = [float(crimson @ word) for word in words]
    assert likeness[0] > 0.9 and likeness[0] > max(likeness[1:]) + 0.2, likeness


def test_the_noise_of_a_real_image_is_predicted(no_network):
    """Better than the noise of nothing: at t = 0.5 the error is far below the noise's own variance of 1."""
    prior = load_prior("pixel")
    images = torch.full((4, 3, prior.resolution, prior.resolution), 2 * BACKGROUND - 1)
    t = torch.full((4,), 0.5)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    found = prior.predict(add_noise(images, noise, *prior.alpha_sigma(t)), t, prior.embed([""]))
    assert (found.eps - noise).square().mean() < 0.1


def test_a_folder_comes_before_a_name(tmp_path, monkeypatch):
    assert prior_folder("pixel") == INCLUDED_PRIORS / "pixel"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixel").mkdir()
    assert prior_folder("pixel").resolve() == tmp_path / "pixel"
    with pytest.raises(UserError, match=r"--prior pixels: no such folder or included prior \(included: .*pixel"):
        prior_folder("pixels")
