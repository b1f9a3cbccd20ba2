"""The release criteria on both sides of every threshold, their classifier, and one small check from end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from dataset_tool.dataset import ViewDataset, open_dataset
from dataset_tool.procedural.write import write_shapes
from dataset_tool.render.render_dataset import render_dataset
from dataset_tool.render.render_shape import RenderSettings
from dataset_tool.sources.find_shapes import find_shapes
from metrics.images.classifier import load_classifier
from networks.generator import Generator
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from studies.release_criteria import __main__ as release_criteria
from studies.release_criteria.chair_types import TYPES, TypeRule, make_rule, occurring, threshold_of, type_probabilities
from studies.release_criteria.classifier import (
    ChairClassifier,
    ResNet,
    inputs,
    labels_of,
    load_chair_classifier,
    save_chair_classifier,
)
from studies.release_criteria.classifier_data import (
    CATEGORY,
    UNKNOWN,
    LabeledImages,
    attribute_values,
    chair_attributes,
    gather,
    load_views,
)
from studies.release_criteria.criteria import (
    ColorFigures,
    Figures,
    TrainTestReference,
    check_criteria,
    criteria_markdown,
    passes,
)
from studies.release_criteria.train_classifier import (
    RULES,
    augmented,
    balanced_weights,
    load_rules,
    train_chair_classifier,
)
from torch_utils.checkpoint import save_network
from torch_utils.errors import UserError
from torch_utils.files import write_json

RULE = TypeRule("stool", threshold=0.5, share=0.1, recall=0.9, false_positives=0.004)
REAL = ColorFigures(scatter=10.0, hues=2.0)
REFERENCE = TrainTestReference(mmd=2.0, cov=60.0, single_mmd=8.0)
GOOD = Figures(
    generated=200, references=200, mmd=3.2, cov=45.0, one_nna=70.0, components=1.1, empty=0, of_category=90.0,
    types={"stool": 1}, colors=ColorFigures(16.0, 1.6),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "criterion"),
    [
        ({"generated": 199, "references": 199}, "shapes on each side"),
        ({"references": 200, "generated": 400, "types": {"stool": 9}}, "shapes on each side"),
        ({"mmd": 3.21}, "MMD-CD ×10⁻³, against the train-vs-test reference"),
        ({"cov": 44.9}, "COV-CD %, against the train-vs-test reference"),
        ({"components": 1.11}, "components a shape"),
        ({"empty": 1}, "empty surfaces"),
        ({"of_category": 89.9}, "images of the category %"),
        ({"types": {"stool": 0}}, "types found"),
        ({"colors": ColorFigures(16.1, 1.6)}, "color scatter, against held-out views"),
        ({"colors": ColorFigures(4.9, 1.6)}, "color scatter, against held-out views"),
        ({"colors": ColorFigures(None, 1.6)}, "color scatter, against held-out views"),
        ({"colors": ColorFigures(16.0, 1.59)}, "effective hues, against held-out views"),
        ({"colors": ColorFigures(16.0, 3.41)}, "effective hues, against held-out views"),
    ],
)
def test_each_criterion_alone_decides(change: dict, criterion: str) -> None:
    """GOOD lies exactly on every threshold; one step beyond any of them fails, and fails that criterion alone."""
    assert passes(check_criteria(GOOD, REFERENCE, [RULE], REAL))
    criteria = check_criteria(replace(GOOD, **change), REFERENCE, [RULE], REAL)
    assert [each.name for each in criteria if each.passed is False] == [criterion]
    assert not passes(criteria)


def test_half_the_distance_of_one_chair_repeated_is_a_criterion_of_its_own() -> None:
    criteria = check_criteria(GOOD, replace(REFERENCE, single_mmd=6.4), [RULE], REAL)
    assert passes(criteria)
    criteria = check_criteria(GOOD, replace(REFERENCE, single_mmd=6.3), [RULE], REAL)
    assert [each.name for each in criteria if each.passed is False] == ["MMD-CD ×10⁻³, against one shape repeated"]


def test_a_generator_without_surfaces_fails_without_an_error() -> None:
    nothing = replace(GOOD, mmd=None, cov=None, one_nna=None, components=None, empty=200)
    failed = [each.name for each in check_criteria(nothing, REFERENCE, [RULE], REAL) if each.passed is False]
    assert len(failed) == 5 and "1-NNA-CD %" not in failed
    assert not passes(check_criteria(GOOD, REFERENCE, [], REAL))  # no type to look for is not a pass


def test_without_a_classifier_the_other_criteria_remain() -> None:
    with_classifier = check_criteria(GOOD, REFERENCE, [RULE], REAL)
    shapes = replace(GOOD, of_category=None, types={})
    criteria = check_criteria(shapes, REFERENCE, [], REAL)
    assert [each.name for each in with_classifier if each not in criteria] == [
        "images of the category %",
        "types found",
    ]
    assert passes(criteria) and not passes(check_criteria(replace(shapes, cov=44.9), REFERENCE, [], REAL))
    assert "## Shapes of each type" not in criteria_markdown("Title", {"network": criteria}, {"network": {}}, [], [])


def test_a_type_counts_when_it_occurs_more_often_than_by_mistake() -> None:
    assert [replace(RULE, false_positives=rate).needed(200) for rate in (0.0, 0.004, 0.005, 0.012)] == [1, 1, 2, 3]


def test_the_threshold_excludes_the_other_types() -> None:
    truth = torch.arange(600) < 100
    generator = torch.Generator().manual_seed(0)
    probability = torch.where(truth, 0.8, 0.4) + 0.3 * torch.rand(600, generator=generator)
    rule = make_rule("x", threshold_of(probability, truth), probability, truth)
    assert 0.69 < rule.threshold < 0.7 and rule.false_positives == 2 / 500 and rule.recall == 1
    assert rule.share == pytest.approx(1 / 6)
    assert threshold_of(0.4 * probability, truth) == 0.5
    assert occurring([rule], {"x": torch.tensor([0.1, 0.71, 0.9])}) == {"x": 2}


def test_types_are_sums_over_values_and_means_over_views() -> None:
    values = {name: ("none", *sorted({v for a, vs in TYPES.values() if a == name for v in vs})) for name in ("legs",)}
    values |= {"type": ("armchair", "bench", "chair", "stool"), "back": ("none", *TYPES["spindles"][1], "slats")}
    legs = torch.zeros(4, len(values["legs"]))
    legs[0, values["legs"].index("star")] = 1
    legs[1, values["legs"].index("disc")] = 0.5
    legs[2:, values["legs"].index("sled")] = 1
    found = type_probabilities({"legs": legs, "type": torch.eye(4), "back": torch.eye(4)}, values, views=2)
    assert found["pedestal"].tolist() == [0.75, 0]
    assert found["sled base"].tolist() == [0, 1]
    assert found["armchair"].tolist() == [0.5, 0] and found["spindles"].tolist() == [0.5, 0.5]


def test_a_classifier_round_trips_through_its_folder(tmp_path: Path) -> None:
    labels = labels_of({"category": ("chair", "table"), "legs": ("star", "sled", "disc")})
    torch.manual_seed(0)
    classifier = ChairClassifier(ResNet(len(labels)).eval(), labels)
    save_chair_classifier(classifier, tmp_path)
    back = load_chair_classifier(tmp_path)
    images = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8)
    assert back.values == {"category": ("chair", "table"), "legs": ("star", "sled", "disc")}
    for name, found in back.probabilities(images).items():
        assert torch.equal(found, classifier.probabilities(images)[name])
        assert found.sum(1) == pytest.approx(torch.ones(3))
    # `evaluate` reads the same folder through transformers and gives the same.
    read = load_classifier(tmp_path)
    assert read.values == back.values
    small = images[:, :, :64, :64]
    for name, found in read.probabilities(small).items():
        assert found == pytest.approx(classifier.probabilities(small)[name], abs=1e-5)
    with pytest.raises(UserError, match="multiple of 64"):
        inputs(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a=b"}}))
    with pytest.raises(UserError, match="do not fit the network"):
        load_chair_classifier(tmp_path)
    with pytest.raises(UserError, match=r"train_classifier"):
        load_chair_classifier(tmp_path / "none")
    with pytest.raises(UserError, match=r"rules\.json"):
        load_rules(tmp_path)


def test_the_classifier_learns() -> None:
    """Red squares are chairs, blue ones tables."""
    images = torch.zeros(40, 3, 64, 64, dtype=torch.uint8)
    images[:20, 0, 16:48, 16:48] = 200
    images[20:, 2, 16:48, 16:48] = 200
    values = {CATEGORY: ("chair", "table"), "legs": ("sled", "star")}
    targets = {CATEGORY: torch.arange(40) // 20, "legs": torch.tensor([0, 1] * 10 + [UNKNOWN] * 20)}
    data = LabeledImages(images, targets, [{}] * 40, 1)
    weights = balanced_weights(data, values)
    assert weights[:20].sum() == pytest.approx(0.5) and weights.sum() == pytest.approx(1)
    classifier = train_chair_classifier(data, values, steps=16)
    assert classifier.probabilities(images)[CATEGORY].argmax(1).tolist() == targets[CATEGORY].tolist()
    changed = augmented(images, torch.Generator().manual_seed(0))
    assert changed.min() == -1 and changed.max() <= 1 and changed[:, :, 0, 0].max() == -1  # black stays black


@pytest.fixture(scope="module")
def chairs(tmp_path_factory: pytest.TempPathFactory) -> ViewDataset:
    """Twelve procedural chairs, two views of 64 px each."""
    root = tmp_path_factory.mktemp("chairs")
    write_shapes("chair", 12, 0, root / "shapes")
    settings = RenderSettings(resolution=64, views=2, camera_distribution=CAMERA_DISTRIBUTIONS["chair"], scale=0.7)
    render_dataset(find_shapes(root / "shapes"), root / "data", settings, category="chair")
    return open_dataset(root / "data")


def test_images_keep_their_labels(chairs: ViewDataset) -> None:
    ids = chairs.splits["train"]
    attributes = chair_attributes(chairs, ids)
    values = attribute_values(attributes)
    data = gather(chairs, {"table": chairs}, "train", 2, values)
    half = 2 * len(ids)
    assert data.images.shape == (2 * half, 3, 64, 64) and len(data) == 2 * half
    assert torch.equal(
        data.images[3], torch.from_numpy(chairs.load_premultiplied(ids[1], 1, 64)[..., :3]).permute(2, 0, 1)
    )
    assert [values["legs"][i] for i in data.targets["legs"][:half:2]] == [str(one["legs"]) for one in attributes]
    assert set(data.targets["legs"][half:].tolist()) == {UNKNOWN}
    assert data.targets[CATEGORY][0] == values[CATEGORY].index("chair")
    assert data.targets[CATEGORY][-1] == values[CATEGORY].index("table")


def test_the_included_classifier_knows_chairs(chairs: ViewDataset) -> None:
    classifier = load_chair_classifier(release_criteria.CLASSIFIERS["chair"])
    rules, views = load_rules(release_criteria.CLASSIFIERS["chair"])
    assert {rule.name for rule in rules} <= set(TYPES) and len(rules) >= 10 and views > 1
    ids = chairs.shape_ids()
    found = classifier.probabilities(load_views(chairs, ids, 2))
    predicted = [classifier.values["type"][i] for i in found["type"].argmax(1)[::2]]
    assert (found[CATEGORY].argmax(1) == classifier.values[CATEGORY].index("chair")).double().mean() > 0.9
    assert sum(value == one["type"] for value, one in zip(predicted, chair_attributes(chairs, ids), strict=True)) >= 11


def test_a_check_from_end_to_end(chairs: ViewDataset, tmp_path: Path) -> None:
    from tests.training.tiny import config

    settings = config()
    torch.manual_seed(1)
    save_network(tmp_path / "n.safetensors", Generator(settings), settings.model_dump(mode="json"), 5)
    values = attribute_values(chair_attributes(chairs, chairs.shape_ids()))
    labels = labels_of(values)
    folder, out = tmp_path / "classifier", tmp_path / "out"
    save_chair_classifier(ChairClassifier(ResNet(len(labels)), labels), folder)
    write_json(folder / RULES, {"views": 2, "rules": [vars(RULE)]})
    arguments = [
        "--network",
        tmp_path / "n.safetensors",
        "--data",
        chairs.path,
        "--classifier",
        tmp_path / "classifier",
    ]
    result = CliRunner().invoke(release_criteria.main, [str(a) for a in [*arguments, "--out", out, "--count", 2]])
    assert result.exit_code == 1, result.output
    found = json.loads((out / "release_criteria.json").read_text())
    assert set(found["generators"]) == {"network", "untrained", "collapsed", "gray"}
    assert not any(each["passes"] for each in found["generators"].values())
    figures = found["generators"]["network"]["figures"]
    assert figures["generated"] == figures["references"] == 2
    # One chair repeated is one of the training chairs, so it cannot be nearer than the best of them.
    assert found["train_vs_test_reference"]["mmd"] > 0 and found["train_vs_test_reference"]["single_mmd"] > 0
    text = (out / "release_criteria.md").read_text()
    assert text.startswith("# Release criteria: not passed") and "| stool |" in text

    header = json.loads((chairs.path / "dataset.json").read_text())
    mugs = shutil.copytree(chairs.path, tmp_path / "mugs")
    (mugs / "dataset.json").write_text(json.dumps({**header, "category": "mug"}))
    arguments = ["--network", str(tmp_path / "n.safetensors"), "--data", str(mugs), "--out", str(tmp_path / "of mugs")]
    assert CliRunner().invoke(release_criteria.main, [*arguments, "--count", "2"]).exit_code == 1
    text = (tmp_path / "of mugs" / "release_criteria.md").read_text()
    assert "held-out shapes (mug)" in text and "classifier" not in text and "of each type" not in text


def test_a_collapsed_generator_repeats_one_shape(tmp_path: Path) -> None:
    from tests.training.tiny import config

    settings = config()
    torch.manual_seed(1)
    path = tmp_path / "n.safetensors"
    generator = Generator(settings).eval()
    save_network(path, generator, settings.model_dump(mode="json"), 5)
    source = release_criteria.OneSeed(path, generator, 5, 1.0)
    shapes = source.shapes(range(1, 4))
    assert len(shapes) == 3 and {source.seed(row) for row in range(5)} == {0}
    assert all(torch.equal(shape.mesh.vertices, shapes[0].mesh.vertices) for shape in shapes)
    assert source.key != release_criteria.NetworkSource(path, generator, 5, 1.0).key
    first = release_criteria.NetworkSource(path, generator, 5, 1.0).shapes([0])[0]
    assert torch.equal(first.mesh.vertices, shapes[0].mesh.vertices)
    images = release_criteria.images_of(source, CAMERA_DISTRIBUTIONS["chair"], 2)
    assert images.shape == (10, 4, 64, 64) and images.dtype == torch.uint8


def test_plain_gray_shows_in_the_color_figures_alone() -> None:
    torch.manual_seed(0)
    mask = torch.zeros(3, 1, 64, 64, dtype=torch.uint8)
    mask[:, :, 10:50, 10:50] = 255
    colors = torch.randint(0, 255, (3, 3, 64, 64), dtype=torch.uint8) * (mask // 255)
    painted = torch.cat([colors, mask], 1)
    gray = release_criteria.in_gray(painted)
    assert torch.equal(gray[:, 3:], mask) and gray[:, :3].unique().tolist() == [0, 127]
    assert release_criteria.colors_of(gray) == ColorFigures(pytest.approx(0, abs=1e-6), 1.0)
    found = release_criteria.colors_of(painted)
    assert found.scatter is not None and found.scatter > 20 and found.hues is not None and found.hues > 5
    assert release_criteria.colors_of(painted * 0) == ColorFigures(None, None)
