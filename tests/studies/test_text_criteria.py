"""Criteria of text control: figures of known images, both sides of each, and the mutations that must fail."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from guidance.clip import Clip
from studies.text_criteria import __main__ as text_criteria
from studies.text_criteria.criteria import TextFigures, check_criteria, criteria_markdown, mean_figures, passes_criteria
from studies.text_criteria.figures import (
    GRAY,
    Views,
    change,
    color_distance,
    diversity,
    mean_colors,
    out_of_gamut,
    recolored,
    structure,
)
from studies.text_criteria.targets import Target, choices, parse_target, reference_colors, texts_of
from studies.text_criteria.zero_shot import named_category, named_values, share
from torch_utils.errors import UserError

RED = Target("finish", "red", "chair")


def views(seed=0, count=3):
    """Random boxes of color, on a background that must not count."""
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.rand(count, 2, 3, 8, 8, generator=generator) * 0.4 + 0.3
    mask = torch.zeros(count, 2, 1, 8, 8)
    mask[..., 2:7, 1:6] = 1
    return Views(torch.where(mask > 0, rgb, torch.tensor(0.0)), mask)


def test_mean_color_and_distance_count_the_object_alone():
    found = views()
    expected = found.rgb[..., 2:7, 1:6].mean(dim=(1, 3, 4))
    torch.testing.assert_close(mean_colors(found), expected)
    references = torch.stack([expected[0], torch.ones(3) * 9])
    expected_distance = (expected - expected[0]).norm(dim=1).mean()
    assert color_distance(found, references) == pytest.approx(float(expected_distance), abs=1e-6)
    empty = Views(found.rgb, torch.zeros_like(found.mask))
    assert torch.equal(mean_colors(empty), torch.full((3, 3), 0.5))


def test_the_oracle_has_the_color_and_the_detail():
    source = views()
    color = torch.tensor([0.7, 0.2, 0.2])
    oracle = recolored(source, color)
    assert color_distance(oracle, color[None]) < 0.02
    assert structure(oracle, source) > 0.95
    assert structure(source, source) == pytest.approx(1)


def test_structure_ignores_strength_and_sees_sign_and_absence():
    source = views()
    assert structure(Views(source.rgb * 0.3, source.mask), source) == pytest.approx(1, abs=1e-6)
    assert structure(Views(1 - source.rgb, source.mask), source) == pytest.approx(-1, abs=1e-6)
    assert structure(Views(torch.full_like(source.rgb, 0.4), source.mask), source) == 0
    assert abs(structure(views(seed=5), source)) < 0.2
    # What lies outside the object does not count.
    noisy = Views(torch.where(source.inside, source.rgb, torch.rand_like(source.rgb)), source.mask)
    assert structure(noisy, source) == pytest.approx(1)


def test_out_of_gamut_counts_saturated_pixels():
    source = views()
    assert out_of_gamut(source) == 0
    rgb = source.rgb.clone()
    rgb[0, 0, 1, 2] = 0.0  # five pixels of one row, in one channel
    rgb[0, 1, 2, 3, 1] = 1.0
    assert out_of_gamut(Views(rgb, source.mask)) == pytest.approx(6 / (3 * 2 * 25))


def test_diversity_and_change():
    one = views().rgb[:1].expand(3, -1, -1, -1, -1)
    assert diversity(Views(one, views().mask)) == 0
    gray = Views(torch.full((2, 1, 3, 4, 4), GRAY), torch.ones(2, 1, 1, 4, 4))
    gray.rgb[1] = GRAY - 0.2
    assert diversity(gray) == pytest.approx(0.2, abs=1e-6)
    assert change(gray, Views(torch.full_like(gray.rgb, GRAY), gray.mask)) == pytest.approx(0.2 / 2**0.5, abs=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        diversity(Views(one[:1], views().mask[:1]))


@pytest.mark.parametrize(
    ("prompt", "attribute", "value", "noun"),
    [
        ("a red chair", "finish", "red", "chair"),
        ("A crimson armchair", "finish", "red", "armchair"),
        ("a photo of a wood table", "finish", "wooden", "table"),
        ("a striped chair", "pattern", "striped", "chair"),
        ("a stool", "kind", "stool", "stool"),
    ],
)
def test_prompts_name_their_target(prompt, attribute, value, noun):
    assert parse_target(prompt) == Target(attribute, value, noun)


def test_a_prompt_without_a_known_word_is_refused():
    for prompt in ("a chair", "something cozy"):
        with pytest.raises(UserError, match="names nothing that can be measured"):
            parse_target(prompt)


def test_reference_colors_are_of_their_word():
    red, wooden = reference_colors(RED), reference_colors(Target("finish", "wooden", "chair"))
    assert (red[:, 0] > 0.55).all() and (red[:, 1:] < 0.35).all()
    assert ((wooden[:, 0] > wooden[:, 1]) & (wooden[:, 1] > wooden[:, 2])).all()
    assert reference_colors(Target("kind", "stool", "stool")) is None


def color_clip():
    """A CLIP that sees the brightest channel, and reads red, green, blue; anything else is the fourth dimension."""
    words = ("red", "green", "blue")

    def embed_images(images):
        strongest = images.mean(dim=(2, 3)).argmax(1)
        return torch.eye(4)[strongest]

    def embed_texts(texts):
        rows = [next((i for i, word in enumerate(words) if word in text.split()), 3) for text in texts]
        return torch.eye(4)[rows]

    return Clip(embed_images, embed_texts, 8, 4)


def colored(color, count=4):
    base = views(count=count)
    return Views(base.mask * torch.tensor(color).view(3, 1, 1), base.mask)


def test_the_clip_names_what_it_sees():
    clip = color_clip()
    found = named_values(clip, colored([0.9, 0.1, 0.1]), RED)
    assert found == ["red"] * 8 and share(found, "red") == 1
    mixed = Views(torch.cat([colored([0.9, 0.1, 0.1], 1).rgb, colored([0.1, 0.1, 0.9], 3).rgb]), views(count=4).mask)
    assert share(named_values(clip, mixed, RED), "red") == 0.25
    assert texts_of(Target("finish", "red", "mug"))[choices(RED).index("red")] == "a red mug"
    assert named_category(clip, colored([0.9, 0.1, 0.1]))[0] == "chair"


def test_a_color_is_chosen_among_colors_and_a_material_among_all_finishes():
    assert "marble" not in choices(RED) and "green" in choices(RED)
    assert {"marble", "green"} <= set(choices(Target("finish", "wooden", "mug")))


SOURCE = TextFigures(0.05, 0.5, 1.0, 0.02, 0.20, 1.0, 0.1, 0.0)
ORACLE = TextFigures(1.0, 0.1, 0.9, 0.02, 0.18, 1.0, 0.0, 0.2)
GOOD = TextFigures(0.85, 0.18, 0.75, 0.15, 0.17, 0.97, 0.1, 0.2)


def missed(found, source=SOURCE, oracle=ORACLE):
    return [criterion.name for criterion in check_criteria(found, source, oracle) if criterion.passed is False]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"accuracy": 0.79}, "accuracy"),
        ({"color": 0.21}, "color distance"),
        ({"structure": 0.71}, "structure"),
        ({"gamut": 0.18}, "out of gamut"),
        ({"diversity": 0.16}, "diversity"),
        ({"category": 0.94}, "category"),
        ({"wrong": 0.16}, "wrong prompt"),
    ],
)
def test_each_criterion_has_two_sides(values, name):
    assert missed(GOOD) == []
    assert missed(replace(GOOD, **values)) == [name]


def test_accuracy_must_also_rise_by_a_half():
    assert missed(GOOD, replace(SOURCE, accuracy=0.4)) == ["accuracy"]
    assert not missed(replace(GOOD, accuracy=0.91), replace(SOURCE, accuracy=0.4))


def test_a_target_without_a_color_keeps_the_other_criteria():
    shape = replace(GOOD, color=None, structure=0.1, diversity=0.19)
    criteria = check_criteria(shape, replace(SOURCE, color=None), None)
    assert passes_criteria(criteria) and [criterion.passed for criterion in criteria[1:3]] == [None, None]
    assert "diversity" in missed(replace(shape, diversity=0.17), replace(SOURCE, color=None), None)


def test_seeds_are_averaged():
    found = mean_figures([GOOD, replace(GOOD, accuracy=0.75, color=None)])
    assert found.accuracy == pytest.approx(0.8) and found.color == GOOD.color


def test_the_table_marks_what_is_missed():
    text = criteria_markdown({"a red chair": {"sds": check_criteria(replace(GOOD, gamut=0.9), SOURCE, ORACLE)}}, ["n"])
    row = next(line for line in text.splitlines() if line.startswith("| sds"))
    assert "**0.90**" in row and row.endswith("**no** |") and "0.85" in row and "**0.85**" not in row


def measured(changed, source):
    clip = color_clip()
    found = text_criteria.text_figures(clip, changed, source, RED, [Target("finish", "blue", "chair")])
    before = text_criteria.text_figures(clip, source, source, RED, [])
    oracle = recolored(source, reference_colors(RED).mean(0))
    return missed(found, before, text_criteria.text_figures(clip, oracle, source, RED, []))


def test_what_mutations_leave_misses_a_named_criterion():
    """Saturated colors (no clamp), another word (prompt ignored, sign flipped), nothing (step skipped), one output."""
    source = views(count=4)
    source.rgb[:, :, 1] += 0.15 * source.mask[:, :, 0]
    good = recolored(source, reference_colors(RED).mean(0))
    assert measured(good, source) == []
    assert {"out of gamut", "structure"} <= set(measured(colored([1.0, 0.0, 0.0]), source))
    blue = recolored(source, torch.tensor([0.2, 0.25, 0.6]))
    assert {"accuracy", "color distance", "wrong prompt"} <= set(measured(blue, source))
    assert {"accuracy", "color distance"} <= set(measured(source, source))
    constant = Views(good.rgb[:1].expand(4, -1, -1, -1, -1), good.mask)
    assert "diversity" in measured(constant, source)


def test_a_network_that_is_not_adapted_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_criteria, "load_clip", lambda _: color_clip())
    outcome = CliRunner().invoke(text_criteria.main, ["chair-64", "--out", str(tmp_path), "--count", "2"])
    assert outcome.exit_code == 2 and "is not adapted to a prompt" in outcome.output
