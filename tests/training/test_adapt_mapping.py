"""Many prompts in one network: an offset of the styles that depends on a text, with all else frozen."""

import dataclasses
import json

import pytest
import torch

from guidance.clip import Clip
from networks.generator import Generator
from tests.compare import weights_hash
from tests.training import tiny
from tests.training.test_adapt import CAMERAS, SIDE, prior, tiny_generator
from torch_utils.errors import UserError
from training.adapt.captions import dataset_captions
from training.adapt.guide import Guide
from training.adapt.mapping import (
    build_mapping,
    check_apart,
    draw_text_pair,
    expanded,
    prompt_rows,
    text_vectors,
    with_text,
)
from training.adapt.mapping_job import mapping_objective
from training.adapt.precision import r_precision
from training.adapt.settings import AdaptSettings
from training.adapt.shift import draw_scene, shift_step

PROMPTS = ("0.9", "-0.9")
BATCH = 4
TEXTS = torch.tensor([[1.0, -1, 1, 0], [-1.0, 1, 0, 1]])


def settings(method: str = "asd") -> AdaptSettings:
    values = {"network": "n", "prompt": "two", "source": "0", "prior": "p", "negative": "0", "batch": BATCH}
    return AdaptSettings(**values, mode="mapping", prompts=PROMPTS, method=method, scale=2.0)


def numbers_prior():
    """Prompts are numbers; the one of bad images stands for 0."""
    embed = prior().embed
    return dataclasses.replace(prior(), embed=lambda texts: embed(["0" if "," in text else text for text in texts]))


def trained(part: str, steps: int = 12):
    shift = build_mapping(tiny_generator(), TEXTS.shape[1], part, 2e-2, 0)
    objective = mapping_objective(Guide(diffusion=numbers_prior()), settings())
    for step in range(steps):
        rows = prompt_rows(0, step, BATCH, len(PROMPTS))
        scene = draw_scene(shift.twin, CAMERAS, 0, range(BATCH * step, BATCH * (step + 1)))
        shift_step(shift, draw_text_pair(shift, scene, TEXTS[rows], SIDE, 2, 0.5), step, objective)
    return shift


def styles(generator: Generator, text: torch.Tensor | None = None, truncation: float = 1.0):
    z = torch.randn(2, 5, generator.config.mapping.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return generator.map(*z, text=text, truncation=truncation)


def test_a_text_starts_as_a_no_op():
    twin = tiny_generator()
    own = with_text(twin, TEXTS.shape[1], 0)
    for text in (None, TEXTS[:1], TEXTS[1:]):
        for a, b in zip(styles(own, text, 0.7), styles(twin, None, 0.7), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("part", ["texture", "both"])
def test_each_prompt_is_followed_and_all_else_stays(part):
    shift = trained(part)
    assert weights_hash(shift.twin) == weights_hash(tiny_generator())
    before = shift.twin.state_dict()
    assert all(torch.equal(value, shift.average.state_dict()[name]) for name, value in before.items())
    for a, b in zip(styles(shift.average), styles(shift.twin), strict=True):
        assert torch.equal(a, b)  # without a text it is the network before
    scene = draw_scene(shift.twin, CAMERAS, 9, range(4))
    with torch.no_grad():
        bright, dark = (draw_text_pair(shift, scene, text[None].expand(4, -1), SIDE, 2, 0.5) for text in TEXTS)
    assert float((bright.images - bright.twin_images).mean()) > 2e-3
    assert float((dark.images - dark.twin_images).mean()) < -2e-3
    meshes = [shift.generator.mesh(styles(shift.generator, text[None])[0]).mesh.vertices for text in TEXTS]
    same = meshes[0].shape == meshes[1].shape and torch.equal(*meshes)
    assert same == (part == "texture")


def test_truncation_leads_to_the_average_of_the_text():
    generator = trained("texture").generator
    generator.text = TEXTS[0]
    w_tex = styles(generator, truncation=0.0)[1]
    average_geo, average_tex = generator.averages()
    torch.testing.assert_close(w_tex, average_tex.expand_as(w_tex))
    assert torch.equal(average_geo, generator.w_average_geo) and not torch.equal(average_tex, generator.w_average_tex)


def test_templates():
    assert expanded("a {red|dark  blue} {chair|stool}") == [
        "a red chair", "a red stool", "a dark blue chair", "a dark blue stool",
    ]  # fmt: skip
    assert expanded("a {red|} chair") == ["a red chair", "a chair"] and expanded("a chair") == ["a chair"]
    for text in ("a {red chair", "a red} chair", "a {{red}} chair"):
        with pytest.raises(UserError, match="braces"):
            expanded(text)
    ten = "{" + "|".join("0123456789") + "}"
    assert len(expanded(ten * 4)) == 10_000
    with pytest.raises(UserError, match="100,000 prompts"):
        expanded(ten * 5)


def test_text_vectors_are_differences_from_the_source():
    table = {"a chair": [1.0, 0.0], "a red chair": [0.8, 0.6], "a blue chair": [0.6, 0.8]}
    vectors = text_vectors(lambda texts: torch.tensor([table[text] for text in texts]), list(table), "a chair")
    assert not vectors[0].any()
    torch.testing.assert_close(vectors[1:].square().mean(1), torch.ones(2))


def test_prompts_that_a_text_encoder_cannot_tell_apart_are_refused():
    table = {"a chair": [1.0, 0.0], "a red chair": [0.8, 0.6], "a zip chair": [0.8, 0.6], "a zap chair": [1.0, 1e-7]}
    for prompts, pair in (
        (["a red chair", "a zip chair"], "'a zip chair' from 'a red chair'"),
        (["a red chair", "a zap chair"], "'a zap chair' from 'a chair'"),
    ):
        vectors = text_vectors(lambda texts: torch.tensor([table[text] for text in texts]), prompts, "a chair")
        check_apart(prompts[:1], vectors[:1], "a chair")
        with pytest.raises(UserError, match=pair):
            check_apart(prompts, vectors, "a chair")


def test_prompts_are_the_distinct_captions_of_the_training_split(tmp_path):
    data = tiny.write_dataset(tmp_path / "discs", shapes=6)
    header = json.loads((data / "dataset.json").read_text())
    ids = [f"shape{k}" for k in range(6)]
    header["splits"] = {"train": ids[:4], "val": ids[4:5], "test": ids[5:]}
    (data / "dataset.json").write_text(json.dumps(header))
    captions = ["a red  disc", "A disc", "a Red disc", "a blue disc", "a blue disc", "a green disc"]

    def write(captions: list[str]) -> None:
        for shape_id, caption in zip(ids, captions, strict=True):
            file = data / "shapes" / shape_id / "meta.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), "caption": caption}))

    write(captions)
    found = dataset_captions(data, "a disc")
    assert found.train == ("a red disc", "a blue disc") and found.held_out == ("a green disc",)
    (data / "shapes" / "shape0" / "meta.json").write_text("{")  # one bad file
    assert dataset_captions(data, "a disc").train == ("a Red disc", "a blue disc")
    (data / "shapes" / "shape0" / "meta.json").write_text("{}")
    write(["", "a disc"] * 3)
    with pytest.raises(UserError, match="no shape of its training split has a caption besides 'a disc'"):
        dataset_captions(data, "a disc")


def test_r_precision_is_high_where_each_caption_is_drawn_and_low_where_they_are_swapped():
    """The "CLIP" sees the mean color before the gray, less what all images share."""
    generator = with_text(tiny_generator(), TEXTS.shape[1], 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in generator.text_tex.parameters():
            parameter.normal_(std=2.0)
    seen: list[torch.Tensor] = []

    def colors(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize((images - 0.5).mean((2, 3)), dim=1)

    def record(images: torch.Tensor) -> torch.Tensor:
        seen.append(colors(images))
        return seen[-1]

    def measured(embed_images, texts: torch.Tensor) -> float:
        clip = Clip(embed_images, lambda _: texts, SIDE, 3)
        return r_precision(generator, clip, ["first", "second"], TEXTS, CAMERAS, 0.5, 0)

    measured(record, torch.eye(2, 3))
    shared, means = torch.cat(seen).mean(0), torch.stack([images.mean(0) for images in seen])

    def embed(images: torch.Tensor) -> torch.Tensor:
        return colors(images) - shared

    drawn, swapped = measured(embed, means - shared), measured(embed, means.flip(0) - shared)
    assert drawn >= 0.75 and drawn + swapped == 1.0


def test_prompts_of_a_step_depend_on_seed_and_step_alone():
    rows = prompt_rows(0, 3, 64, 5)
    assert torch.equal(rows, prompt_rows(0, 3, 64, 5)) and not torch.equal(rows, prompt_rows(0, 4, 64, 5))
    assert set(rows.tolist()) == set(range(5))
