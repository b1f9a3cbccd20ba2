"""Adaptation: steps with a prior whose score is known. The prompt "0.9" means images of mean 0.9."""

import dataclasses
import functools

import pytest
import torch

from configs.loader import build_config
from guidance.clip import Clip
from networks.generator import Generator
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from studies.soak.inputs import SETTINGS
from tests.compare import weights_hash
from tests.guidance.gaussian_prior import gaussian_prior
from torch_utils.errors import UserError
from training.adapt.distillation import distillation, draw_noise, hifa_answer, method_gradient, prompt_texts
from training.adapt.guide import Guide, clip_directions, clip_scores, guide_objective
from training.adapt.screening import screened_ids
from training.adapt.settings import AdaptSettings, check_prompts, preset_of, prompt_folder, read_prompts
from training.adapt.shift import (
    Answer,
    Pair,
    Shift,
    build_shift,
    distance_loss,
    draw_pair,
    draw_scene,
    shift_step,
)

CAMERAS = CAMERA_DISTRIBUTIONS["chair"]
SIDE = 8


@functools.cache
def prior(kind="epsilon"):
    return gaussian_prior(kind, channels=3)


def tiny_generator() -> Generator:
    torch.manual_seed(0)
    return Generator(build_config(SETTINGS, "tiny")).eval()


def objective(prompt: str, source: str, method="dds", scale=2.0, kind="epsilon"):
    texts = prompt_texts(_float_prompts(prior(kind)), prompt, source)

    def answer(pair: Pair, step: int) -> Answer:
        if method == "hifa":
            return Answer(
                *hifa_answer(prior(kind), pair.images, texts, progress=step / 6, seed=0, step=step, scale=scale)
            )
        return Answer(
            *distillation(method, prior(kind), pair.images, pair.twin_images, texts, seed=0, step=step, scale=scale)
        )

    return answer


def _float_prompts(prior):
    """The prior's prompts are numbers; the one of bad images stands for 0."""
    embed = prior.embed
    return dataclasses.replace(prior, embed=lambda prompts: embed(["0" if "," in text else text for text in prompts]))


def run_steps(shift: Shift, answer, count=3, first=0) -> list:
    results = []
    for step in range(first, first + count):
        scene = draw_scene(shift.twin, CAMERAS, 0, range(2 * step, 2 * step + 2))
        results.append(shift_step(shift, draw_pair(shift, scene, SIDE, 2, 0.5), step, answer))
    return results


def views(shift: Shift, generator: Generator) -> torch.Tensor:
    scene = draw_scene(shift.twin, CAMERAS, 7, range(4))
    with torch.no_grad():
        return generator.render(scene.w_geo, scene.w_tex, scene.cameras, 0.5, SIDE, 2).rgb


@pytest.mark.parametrize("part", ["texture", "geometry", "both"])
def test_only_the_part_moves_and_the_twin_never(part):
    shift = build_shift(tiny_generator(), part, 1e-2)
    before, weights = weights_hash(shift.twin), {n: p.clone() for n, p in shift.generator.named_parameters()}
    results = run_steps(shift, objective("0.9", "0", "sds"))
    assert all(bool(result.finite) for result in results) and float(results[-1].change) > 0
    assert weights_hash(shift.twin) == before == weights_hash(tiny_generator())
    moved = {n.split(".")[0] for n, p in shift.generator.named_parameters() if not torch.equal(p, weights[n])}
    assert moved == {"texture": {"backbone", "texture_head"}, "geometry": {"backbone", "geometry"}}.get(
        part, {"backbone", "geometry", "texture_head"}
    )
    assert {name.split(".")[0] for name in shift.adam.parameters} == moved
    scene = draw_scene(shift.twin, CAMERAS, 0, range(3))
    own, twin = shift.average.mesh(scene.w_geo).mesh, shift.twin.mesh(scene.w_geo).mesh
    same = own.vertices.shape == twin.vertices.shape and torch.equal(own.vertices, twin.vertices)
    assert same == (part == "texture")
    if part == "texture":
        assert torch.equal(own.faces, twin.faces)


@pytest.mark.parametrize("part", ["texture", "both"])
def test_a_null_prompt_moves_nothing(part):
    """DDS of a prompt that is the source is exactly zero, so every weight and moment stays bitwise."""
    shift = build_shift(tiny_generator(), part, 1e-2)
    before = weights_hash(shift.generator)
    results = run_steps(shift, objective("0.4", "0.4"))
    assert [float(result.loss) for result in results] == [0.0] * 3
    assert weights_hash(shift.generator) == weights_hash(shift.average) == before


@pytest.mark.parametrize("method", ["dds", "sds", "asd", "csd", "nfsd", "ism", "hifa"])
def test_images_go_where_the_prompt_says(method):
    """Brighter for "0.9", darker for "-0.9": a flipped sign or an ignored prompt fails."""
    change = {}
    for prompt in ("0.9", "-0.9"):
        shift = build_shift(tiny_generator(), "texture", 1e-2)
        run_steps(shift, objective(prompt, "0", method), 6)
        change[prompt] = float((views(shift, shift.generator) - views(shift, shift.twin)).mean())
    assert change["0.9"] > 5e-3 and change["-0.9"] < -5e-3


def test_flow_methods_need_a_flow_prior():
    x = torch.zeros(1, 3, SIDE, SIDE)
    texts = prompt_texts(_float_prompts(prior()), "0.9", "0")
    for method in ("rfds", "rfds-rev"):
        with pytest.raises(UserError, match="rectified-flow"):
            method_gradient(method, prior(), x, x, texts, draw_noise(x, 0, 0), 2.0)
        gradient = method_gradient(method, prior("flow"), x, x, texts, draw_noise(x, 0, 0), 2.0)
        assert gradient.mean() < 0  # x rises


def test_textures_are_drawn_as_the_whole_generator_draws_them():
    """One extraction for both generators gives bitwise what two give."""
    shift = build_shift(tiny_generator(), "texture", 1e-2)
    run_steps(shift, objective("0.9", "0"))
    scene = draw_scene(shift.twin, CAMERAS, 0, range(2))
    pair = draw_pair(shift, scene, SIDE, 2, 0.5)
    for images, generator in ((pair.images, shift.generator), (pair.twin_images, shift.twin)):
        whole = generator.render(scene.w_geo, scene.w_tex, scene.cameras, 0.5, SIDE, 2)
        assert torch.equal(images, whole.rgb) and torch.equal(pair.mask, whole.mask)


def test_a_step_without_a_finite_answer_changes_nothing():
    shift = build_shift(tiny_generator(), "texture", 1e-2)
    run_steps(shift, objective("0.9", "0"))
    before = weights_hash(shift.generator)

    def broken(pair: Pair, step: int) -> Answer:
        return Answer((pair.images * torch.nan).sum(), torch.tensor(False))

    assert not bool(run_steps(shift, broken, 1)[0].finite)
    assert weights_hash(shift.generator) == before
    # What is not finite in a prior's gradient counts as 0; what else the loss holds must not move anything either.
    assert not bool(run_steps(shift, lambda pair, step: Answer(pair.images.sum(), torch.tensor(False)), 1)[0].finite)
    assert weights_hash(shift.generator) == before


def test_distances_between_samples():
    """Zero at the twin, with zero gradient; larger when all samples become alike."""
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = distance_loss(images, images.detach().clone())
    (gradient,) = torch.autograd.grad(loss, images)
    assert float(loss.detach()) == 0 and not gradient.any()
    alike = images.detach().clone()
    alike[1:3] = alike[0] * 0.9 + 0.1 * alike[1:3]
    assert distance_loss(alike, images) > 0.05
    # Also where all become alike together, and where there are only two.
    for count in (2, 4):
        close = 0.2 * images.detach()[:count] + 0.4
        assert float(distance_loss(close, images[:count])) > 0.5


def test_prompts(tmp_path):
    assert check_prompts(" a red chair ", "a chair") == ("a red chair", "a chair")
    for wrong in (("", "a chair"), ("a red chair", "  "), ("A chair", "a  chair")):
        with pytest.raises(UserError):
            check_prompts(*wrong)
    path = tmp_path / "prompts.txt"
    path.write_text("a red chair\n\n# more\n a blue chair\n")
    assert read_prompts(path) == ["a red chair", "a blue chair"]
    for text in ("", "# none\n", "a\na\n"):
        path.write_text(text)
        with pytest.raises(UserError):
            read_prompts(path)
    with pytest.raises(UserError):
        read_prompts(tmp_path / "none.txt")
    assert prompt_folder("A red, striped chair!") == "a-red-striped-chair"
    assert prompt_folder("红色的椅子") != prompt_folder("蓝色的椅子")
    assert preset_of(16).batch > preset_of(512).batch and preset_of(16).supersample > preset_of(512).supersample


def _color_clip() -> Clip:
    """A "CLIP" that sees the mean color alone; its texts are three numbers."""

    def embed_texts(texts) -> torch.Tensor:
        colors = [[float(number) for number in text.split()[-3:]] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(colors), dim=1)

    def embed_images(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images.mean((2, 3)), dim=1)

    return Clip(embed_images, embed_texts, SIDE, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_clip_moves_images_along_the_direction_of_the_texts(count):
    change = {}
    for prompt in ("1 0 0", "0 1 1"):
        values = {"network": "n", "prior": "p", "method": "clip", "prompt": prompt, "source": "1 1 1"}
        settings = AdaptSettings(**values)
        shift = build_shift(tiny_generator(), "texture", 1e-2)
        run_steps(shift, guide_objective(Guide(clips=(_color_clip(),) * count), settings), 6)
        color = (views(shift, shift.generator) - views(shift, shift.twin)).mean((0, 2, 3))
        change[prompt] = float(color[0] - color[1:].mean())
    assert change["1 0 0"] > 5e-3 and change["0 1 1"] < -5e-3


def test_screened_latents_are_those_whose_images_fit_the_prompt():
    twin, clip = tiny_generator(), _color_clip()
    values = {"network": "n", "prior": "p", "method": "clip", "prompt": "1 0 0", "source": "1 1 1", "batch": 8}
    settings = AdaptSettings(**values, screened=2)
    ids = screened_ids(twin, clip, CAMERAS, settings)
    scene = draw_scene(twin, CAMERAS, 0, range(20))
    with torch.no_grad():
        images = twin.render(scene.w_geo, scene.w_tex, scene.cameras, settings.background, SIDE).rgb
    red = clip.embed_images(images / 2 + 0.5)[:, 0]
    assert sorted(ids) == sorted(red.topk(2).indices.tolist()) and len(set(ids)) == 2
    chosen = draw_scene(twin, CAMERAS, 0, range(4), [ids[0]] * 4)
    torch.testing.assert_close(chosen.w_tex, scene.w_tex[[ids[0]] * 4])
    assert torch.equal(chosen.cameras.camera_to_world, scene.cameras.camera_to_world[:4])


def test_prompts_that_a_clip_cannot_tell_apart_are_refused():
    with pytest.raises(UserError, match="are the same to this CLIP"):
        clip_directions((_color_clip(),), "1 0 0", "2 0 0")


def test_scores_are_cosines_with_both_prompts():
    images = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE)
    scores = clip_scores(_color_clip(), images, "1 0 0", "1 1 0")
    assert scores == pytest.approx({"1 0 0": 1.0, "1 1 0": 0.5**0.5})
