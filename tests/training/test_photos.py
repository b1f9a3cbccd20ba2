"""Textures like photos of another object: how photos are read, what a prior learns from them, and what it paints."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidance.priors.prior import DiffusionPrior
from rendering.camera import orbit_cameras
from tests.guidance.unet_prior import base_hash, unet_prior
from tests.training.test_mesh_texture import BLUE, RED, SIDE, prior_of_flat_images, textured_box
from torch_utils.errors import UserError
from training.mesh_texture import prompt
from training.mesh_texture.prompt import (
    PromptMethod,
    PromptSettings,
    normals_image,
    settings_for,
    synthesize_textures,
)  # fmt: skip
from training.mesh_texture.target import read_target
from training.mesh_texture.views import prepare_view
from training.photos.learn import (
    SMALL_TUNING,
    TunedPrior,
    learned_prior,
    subject_words,
    tune_prior,
)
from training.photos.read import Photos, framed_photos, read_photos

QUICK = replace(SMALL_TUNING, steps=12, class_images=2, class_steps=4, batch=2, variants=4)


def disc(color: tuple[int, int, int], side: int = 40, ground: int | None = None) -> np.ndarray:
    """RGBA of a disc; on a gray, or with alpha."""
    y, x = np.mgrid[:side, :side]
    inside = (y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2
    image = np.full((side, side, 4), 255, np.uint8)
    image[..., :3] = np.where(inside[..., None], np.array(color), 128 if ground is None else ground)
    if ground is None:
        image[..., 3] = inside * 255
    return image


def write_photos(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_alpha_or_a_plain_border_says_where_the_object_is(tmp_path):
    red = (200, 30, 20)
    folder = write_photos(tmp_path / "photos", [disc(red), disc(red, ground=240)[:34], disc(red, ground=240)[..., :3]])
    (folder / "notes.txt").write_text("not a photo")
    photos = read_photos(folder)
    assert [tuple(image.shape) for image in photos.images] == [(4, 40, 40), (4, 34, 40), (4, 40, 40)]
    assert photos.notes == ()
    assert torch.equal(photos.images[0], photos.images[2]), "both ways find the same disc"
    color = torch.tensor(red) / 255
    for image in photos.images:
        assert torch.equal(image[:3], color[:, None, None] * image[3:]) and 0 < image[3].mean() < 0.5
    alone = read_photos(write_photos(tmp_path / "one", [disc(red)]))
    assert "holds 1 of the 3 to 5 images" in alone.notes[0]


def test_photos_are_framed_around_their_object(tmp_path):
    photos = read_photos(write_photos(tmp_path / "photos", [disc((255, 0, 0)), disc((0, 0, 255), side=90)]))
    images = framed_photos(photos, 32, 6, np.random.default_rng(0))
    assert images.shape == (12, 3, 32, 32) and images.min() >= 0 and images.max() <= 1
    colored = images.amax(1) - images.amin(1) > 0.5
    sides = colored.any(2).sum(1) / 32
    assert sides.min() > 0.5 and sides.max() < 0.95 and sides.std() > 0.03, "0.6 to 0.9 of the side"
    middles = torch.stack([part.nonzero().float().mean(0) for part in colored])
    assert (middles.std(0) > 0.5).all(), "in several places"
    ground = images[..., 0, 0]
    assert (ground.amax(1) == ground.amin(1)).all() and ground.min() > 0.55 and ground.max() < 0.85


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "holds no image"),
        ([np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)], "its border is not of one color"),
        ([np.zeros((20, 20, 4), np.uint8)], "shows nothing;"),
        ([np.full((20, 20, 3), 7, np.uint8)], "shows nothing;"),
        ([disc((255, 0, 0)) // np.array([1, 1, 1, 3], np.uint8)], "no more than 33% opaque anywhere"),
        ([disc((255, 0, 0))] * 33, "holds 33 images"),
    ],
)
def test_photos_that_cannot_be_used_are_refused(tmp_path, images, said):
    with pytest.raises(UserError, match=said):
        read_photos(write_photos(tmp_path / "photos", images))
    with pytest.raises(UserError, match="no such folder"):
        read_photos(tmp_path / "elsewhere")


def test_a_file_that_is_no_image_is_named(tmp_path):
    folder = write_photos(tmp_path / "photos", [disc((255, 0, 0))])
    (folder / "9.jpg").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"9\.jpg: not a readable image .*remove it"):
        read_photos(folder)


def test_the_object_has_a_word_of_its_own():
    assert [subject_words(words) for words in ("a chair", "The old chair ", "chair")] == [
        "a sks chair", "The sks old chair", "sks chair",
    ]  # fmt: skip
    with pytest.raises(UserError, match="the prompt is empty"):
        subject_words(" ")


def red_photos() -> Photos:
    square = torch.zeros(4, 24, 24)
    square[0, 4:20, 4:20] = square[3, 4:20, 4:20] = 1
    return Photos((square,) * 3)


def test_a_copy_of_the_prior_learns_the_object():
    """The tuned prior predicts redder images than before; the prior itself answers as before."""
    prior, steps = unet_prior(), []
    x, t = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((4,), 0.6)
    before, weights = prior.predict(x, t, prior.embed(["a"])), base_hash(prior.module)
    seconds: list[float] = []
    tuned = tune_prior(
        prior, red_photos(), "a chair", QUICK, lambda: steps.append(1), estimated=seconds.append
    )  # fmt: skip
    assert tuned.words == "a sks chair" and len(steps) == QUICK.steps and seconds[0] > 0
    assert torch.equal(prior.predict(x, t, prior.embed(["a"])).eps, before.eps) and base_hash(prior.module) == weights
    after = tuned.tuned.predict(x, t, prior.embed(["a"]))

    def redness(image: torch.Tensor) -> float:
        return float((image[:, 0] - image[:, 1:].mean(1)).mean())

    assert redness(after.x0) > redness(before.x0) + 0.05
    again = tune_prior(prior, red_photos(), "a chair", QUICK)
    assert torch.equal(again.tuned.predict(x, t, prior.embed(["a"])).eps, after.eps), "an estimate changes nothing"


def test_a_prior_without_attention_is_refused():
    with pytest.raises(UserError, match="no attention that an adapter can learn in"):
        tune_prior(prior_of_flat_images(lambda prompt: RED), red_photos(), "a chair", QUICK)


def test_what_was_learned_is_kept_and_found_again(tmp_path):
    prior, path, bars = unet_prior(), tmp_path / "box.adapter.safetensors", []
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((2,), 0.6)

    def learned(photos: Photos, words: str = "a chair", **more: object) -> torch.Tensor:
        @contextmanager
        def bar(what: str, total: int):
            bars.append(what)
            yield lambda: None

        found = learned_prior(prior, photos, words, QUICK, path, bar=bar, **more)
        return found.tuned.predict(x, t, prior.embed(["a"])).eps

    first = learned(red_photos())
    assert torch.equal(learned(red_photos()), first) and bars == ["learning"]
    fewer = Photos(red_photos().images[:2])
    with pytest.raises(UserError, match=r"--resume: .*from other photos"):
        learned(fewer, resumed=True)
    assert not torch.equal(learned(fewer), first) and bars == ["learning"] * 2
    learned(fewer, "a table")
    assert bars == ["learning"] * 3
    path.write_bytes(b"no adapter")
    assert torch.equal(learned(red_photos()), first) and bars == ["learning"] * 4


def flat(color: tuple[float, float, float]) -> DiffusionPrior:
    """A prior whose every image has one color, whatever the prompt."""
    image = torch.tensor(color)[:, None, None]
    return prior_of_flat_images(lambda prompt: RED).with_network(lambda x_t, timestep, text: image.expand_as(x_t))


def test_the_tuned_prior_paints(tmp_path):
    """What the photos add to a prior of blue things is red; a larger scale goes on that way."""
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)

    def made(wanted: tuple[float, float, float], scale: float, method: PromptMethod = "sds") -> torch.Tensor:
        tuned = TunedPrior(flat(BLUE), flat(wanted), "a sks box")
        settings = PromptSettings(
            tuned.words, method=method, parameterization="maps", size_px=SIDE, steps=15, scale=scale
        )
        textures = synthesize_textures(target, tuned.base, settings, tuned=tuned)
        return textures[0][target.texels(0, SIDE).covered].mean(0)[:3]

    toward = (-0.2, -0.7, 0.1)
    red, part, further, none = made(RED, 1.0), made(toward, 1.0), made(toward, 2.5), made(BLUE, 2.5)
    assert red[0] > red[2] + 0.15 and none[2] > none[0] + 0.15
    assert further[0] > part[0] + 0.1 and further[2] < part[2] - 0.1
    added, nothing = made(RED, 1.0, "dds"), made(BLUE, 2.5, "dds")
    assert added[0] > 0.6 and added[2] < 0.4
    assert (nothing - 0.5).abs().max() < 0.02, "photos that add nothing move nothing"


def test_the_follower_of_pgsd_learns_while_the_texture_is_made(tmp_path, monkeypatch):
    prior = unet_prior()
    tuned = tune_prior(prior, red_photos(), "a chair", QUICK)
    built: list = []
    real = prompt.new_lora
    monkeypatch.setattr(prompt, "new_lora", lambda *values, **more: built.append(real(*values, **more)) or built[-1])
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)
    settings = PromptSettings(tuned.words, method="pgsd", parameterization="maps", size_px=SIDE, steps=3)
    textures = synthesize_textures(target, prior, settings, tuned=tuned)
    assert (textures[0][..., :3] - 0.5).abs().max() > 0.01
    follower = built[0]
    assert all(value.any() for name, value in follower.parameters.items() if ".lora_B." in name)
    assert follower.camera_embedding[-1].weight.any(), "a UNet takes the camera"


def test_the_method_follows_from_the_size_of_the_prior():
    small, large = flat(RED), replace(flat(RED), resolution=512)
    for prior, photos, method, scale in (
        (small, True, "dds", 2.5), (large, True, "pgsd", 1.0), (large, False, "sds", 100.0),
    ):  # fmt: skip
        settings = settings_for(prior, PromptSettings("a chair"), photos=photos)
        assert (settings.method, settings.scale) == (method, scale)
    with pytest.raises(ValueError, match="expected one of sds, dds, got pgsd"):
        settings_for(small, PromptSettings("a chair", method="pgsd"))


def test_a_controlnet_sees_the_normals_of_the_camera(tmp_path):
    """A box from the front: its side faces the camera, as does the background; its rim alone may show another side."""
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)
    front, above = orbit_cameras([0.0], 0.0), orbit_cameras([0.0], 60.0)
    facing = torch.tensor([0.5, 0.5, 1.0])[:, None, None]
    image = normals_image(prepare_view(target, front, 16), front)
    assert image.shape == (1, 3, 16, 16)
    assert ((image[0] - facing).abs().amax(0) < 0.01).float().mean() > 0.9
    tilted = normals_image(prepare_view(target, above, 16), above)[0, :, 7:9, 7:9].mean((1, 2))
    assert tilted[1] > 0.6 and tilted[2] > 0.8, "the top is turned up, and towards the camera"
