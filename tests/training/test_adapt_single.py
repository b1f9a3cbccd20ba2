"""One sample, moved to a prompt or to views; the network never changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from rendering.camera import Cameras
from tests.compare import weights_hash
from tests.guidance.gaussian_prior import gaussian_prior
from tests.guidance.unet_prior import text, unet_prior
from tests.training import tiny
from tests.training.test_adapt import CAMERAS, SIDE, objective, tiny_generator
from tests.training.test_photos import red_photos
from torch_utils.errors import UserError
from training.adapt.distillation import prompt_texts
from training.adapt.photos import PhotoGuide, learn_renders, photo_objective, round_starts
from training.adapt.settings import AdaptSettings
from training.adapt.single import (
    ReferenceViews,
    Single,
    build_single,
    draw_codes,
    prompt_answer,
    reference_answer,
    rendered_geometry,
    single_step,
)
from training.adapt.single_job import read_reference
from training.photos.learn import SMALL_TUNING, TunedPrior, tune_prior
from training.photos.read import Photos


def single(planes: bool = False, rate: float = 0.05) -> Single:
    network = tiny_generator()
    z = torch.randn(2, 1, network.config.mapping.z_dim, generator=torch.Generator().manual_seed(0))
    return build_single(network, *network.map(*z), rate, planes=planes)


def views_of(other: Single, count: int = 4) -> ReferenceViews:
    """Views of a sample of the network, with its normals and its depth in other units."""
    cameras = CAMERAS.sample(1, range(count))
    with torch.no_grad():
        drawn = draw_codes(other.network, other.codes, cameras, SIDE, 2, 0.0)
        normals, depth, _ = rendered_geometry(drawn, cameras, SIDE, 2)
    return ReferenceViews(drawn.rgb / 2 + 0.5, drawn.mask, cameras, normals, 3 * depth + 1)


@pytest.mark.parametrize("planes", [False, True])
def test_styles_go_where_the_views_are(planes):
    goal = single()
    with torch.no_grad():
        goal.codes.w_geo.add_(0.5), goal.codes.w_tex.sub_(1.0)
    views = views_of(goal)
    assert float(reference_answer(goal, views, 2)[0].loss.detach()) < 1e-4  # the goal itself, but for rounding
    own = single(planes)
    before, start = weights_hash(own.network), [value.clone() for value in own.start.parameters()]
    losses = [float(single_step(own, *reference_answer(own, views, 2), 0.0).loss) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    assert weights_hash(own.network) == before
    assert all(torch.equal(a, b) for a, b in zip(own.start.parameters(), start, strict=True))
    assert len(list(own.codes.parameters())) == (4 if planes else 2)
    assert all(not torch.equal(a, b) for a, b in zip(own.codes.parameters(), start, strict=True))


def test_depth_is_compared_whatever_its_scale():
    goal, own = single(), single()
    with torch.no_grad():
        goal.codes.w_geo.add_(2.0)
    views = replace(views_of(goal), normals=None)

    def cost(sample: Single) -> torch.Tensor:
        answers = [reference_answer(sample, given, 2)[0].loss for given in (views, replace(views, depth=None))]
        return answers[0] - answers[1]

    assert cost(own) > 5e-3 and abs(cost(goal)) < 1e-5
    cost(own).backward()
    assert own.codes.w_geo.grad.abs().max() > 0


def test_a_sample_goes_where_the_prompt_says():
    change = {}
    for prompt in ("0.9", "-0.9"):
        own = single()
        for step in range(6):
            cameras = CAMERAS.sample(0, range(2 * step, 2 * step + 2))
            answer = prompt_answer(
                own, cameras, step, objective(prompt, "0", "sds"), resolution=SIDE, supersample=2, background=0.5
            )
            single_step(own, *answer, 0.0)
        with torch.no_grad():
            images = [draw_codes(own.network, each, cameras, SIDE, 2, 0.5).rgb for each in (own.codes, own.start)]
        change[prompt] = float((images[0] - images[1]).mean())
    assert change["0.9"] > 2e-3 and change["-0.9"] < -2e-3


def test_a_sample_is_held_where_it_began():
    views = views_of(single())
    distances = []
    for weight in (0.0, 100.0):
        own = single()
        with torch.no_grad():
            own.codes.w_tex.add_(1.0)
        for _ in range(10):
            single_step(own, *reference_answer(own, views, 2), weight)
        distances.append(float((own.codes.w_tex - own.start.w_tex).detach().square().mean()))
    assert distances[1] < distances[0]


def test_normals_face_the_camera():
    own = single()
    cameras = CAMERAS.sample(1, range(2))
    with torch.no_grad():
        drawn = draw_codes(own.network, own.codes, cameras, SIDE, 2, 0.0)
        normals, depth, mask = rendered_geometry(drawn, cameras, SIDE, 2)
    inside = mask[:, 0] > 0.99
    towards = torch.nn.functional.normalize(cameras.position(), dim=1)[:, :, None, None]
    assert inside.any() and ((normals * towards).sum(1)[inside] > 0).float().mean() > 0.95
    # The sample is about a sphere of radius 0.3 in the middle, 1.2 from the cameras.
    assert depth[:, 0][inside].min() > 0.85 and depth[:, 0][inside].max() < 1.1


def settings(path, **values) -> AdaptSettings:
    return AdaptSettings(
        network="n",
        prompt="",
        source="a chair",
        prior="",
        mode="single",
        reference=str(path),
        resolution=SIDE,
        **values,
    )


def test_an_image_is_read_with_its_camera(tmp_path):
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[4:12, 4:12] = (255, 0, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "red.png")
    views = read_reference(settings(tmp_path / "red.png", view_deg=(90.0, 0.0)), torch.device("cpu"))
    assert views.rgb.shape == (1, 3, SIDE, SIDE) and views.mask.mean() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(views.cameras.position(), torch.tensor([[1.2, 0.0, 0.0]]), atol=1e-6, rtol=0)
    assert isinstance(views.cameras, Cameras) and views.normals is None
    Image.fromarray(rgba[:, :10]).save(tmp_path / "wide.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "opaque.png")
    for name, message in (("wide", "square"), ("opaque", "no alpha"), ("none", "cannot be read")):
        with pytest.raises(UserError, match=message):
            read_reference(settings(tmp_path / f"{name}.png"), torch.device("cpu"))


def test_posed_views_are_read_with_their_normals_and_depth(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", shapes=1) / "shapes" / "shape0"
    views = read_reference(settings(folder), torch.device("cpu"))
    assert len(views) == 4 and views.rgb.shape[-1] == SIDE and views.normals is None
    np.savez(folder / "normal.npz", normal=np.ones((4, 16, 16, 3), np.float16))
    views = read_reference(settings(folder), torch.device("cpu"))
    assert views.normals is not None and views.rows([2, 0]).normals.shape == (2, 3, SIDE, SIDE) and views.depth is None
    np.savez(folder / "depth.npz", depth=np.ones((4, 16, 16), np.float32))
    views = read_reference(settings(folder), torch.device("cpu"))
    assert views.rows([2, 0]).depth.shape == (2, 1, SIDE, SIDE)
    np.savez(folder / "normal.npz", normal=np.ones((3, 16, 16, 3), np.float16))
    with pytest.raises(UserError, match="has 3 views"):
        read_reference(settings(folder), torch.device("cpu"))
    (folder / "normal.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="cannot be read"):
        read_reference(settings(folder), torch.device("cpu"))


def photo_guide_of(wanted: float, had: float, words: str = "a sks chair") -> PhotoGuide:
    """A prior of images of one gray, before and after it has "learned" another."""

    def flat(value: float):
        network = lambda x_t, timestep, text: torch.full_like(x_t, value)  # noqa: E731
        return replace(
            gaussian_prior("sample", channels=3), embed=lambda prompts: text(len(prompts)), resolution=SIDE
        ).with_network(network)

    base = flat(had)
    return PhotoGuide(
        Photos(()), TunedPrior(base, flat(wanted), words), SMALL_TUNING, prompt_texts(base, words, "a chair")
    )


def test_a_sample_becomes_like_the_photos():
    """Brighter where the tuned prior wants brighter images; photos that add nothing move nothing at all with dds."""
    change = {}
    for wanted in (0.9, -0.9, 0.2):
        own, given = single(), settings("").model_copy(update={"photos": "p", "method": "dds", "scale": 2.5})
        says = photo_objective(photo_guide_of(wanted, 0.2), given, None)
        for step in range(6):
            cameras = CAMERAS.sample(0, range(2 * step, 2 * step + 2))
            answer = prompt_answer(own, cameras, step, says, resolution=SIDE, supersample=2, background=0.5)
            single_step(own, *answer, 0.0)
        with torch.no_grad():
            images = [draw_codes(own.network, each, cameras, SIDE, 2, 0.5).rgb for each in (own.codes, own.start)]
        change[wanted] = float((images[0] - images[1]).mean())
    assert change[0.9] > 2e-3 and change[-0.9] < -2e-3 and change[0.2] == 0


def test_rounds_are_spread_over_the_steps():
    assert (
        round_starts(300, 0) == {} and round_starts(300, 2) == {100: 1, 200: 2} and round_starts(3, 2) == {1: 1, 2: 2}
    )
    with pytest.raises(UserError, match="needs more than 3 --steps, got 3"):
        round_starts(3, 3)


def test_a_round_learns_cleaned_renders(monkeypatch):
    """The renders go in with the photos' weight; the later the round, the less of them is changed."""
    prior = replace(unet_prior(), resolution=8)
    tuning = replace(SMALL_TUNING, steps=8, class_images=2, class_steps=2, batch=2, variants=1)
    given = AdaptSettings(
        network="n", prompt="a chair", source="a chair", prior="p", mode="single", photos="p", resolution=8, steps=10
    )
    images, moved = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, []
    for step in (1, 9):
        priors = tune_prior(prior, red_photos(), "a chair", tuning)
        guide = PhotoGuide(red_photos(), priors, tuning, prompt_texts(prior, priors.words, "a chair"))
        before = {name: value.detach().clone() for name, value in priors.adapted.parameters.items()}
        cleaned = learn_renders(guide, given, images, step)
        assert any(not torch.equal(value, before[name]) for name, value in priors.adapted.parameters.items())
        moved.append(float((cleaned - prior.to_prior(images)).square().mean()))
    assert moved[1] < moved[0]
