"""Class balance: rare types of shape are shown as often as frequent ones."""

import json
import shutil
from collections import Counter

import torch

from configs.loader import load_config
from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from tests.command_line import assert_refused, run
from torch_utils.distributed import Ranks
from training.class_balance import balanced_views, repeats
from training.data import MinibatchSource, open_data


def with_attributes(data, root):
    """A copy of the tiny dataset whose first shape is the only one with legs like its own."""
    copy = root / "discs"
    shutil.copytree(data, copy)
    for index, path in enumerate(sorted(copy.glob("shapes/*/meta.json"))):
        meta = json.loads(path.read_text())
        meta["attributes"] = {"legs": "star" if index == 0 else "straight", "type": "stool"}
        path.write_text(json.dumps(meta))
    return copy


def test_rare_classes_are_shown_as_often_as_the_most_frequent_one():
    classes = ["chair"] * 12 + ["stool"] * 4 + ["bench"] * 5
    assert repeats(classes) == [1] * 12 + [3] * 4 + [2] * 5
    assert repeats(["chair"] * 3) == [1] * 3


def test_an_epoch_repeats_every_view_of_a_rare_shape(data, tmp_path):
    dataset = open_dataset(with_attributes(data, tmp_path))
    bank = ImageBank(dataset, "train")
    legs = [dataset.meta(shape_id)["attributes"]["legs"] for shape_id in bank.shape_ids]
    assert 0 < legs.count("star") < legs.count("straight"), "the rare shape is in the train split"
    often = Counter(balanced_views(bank, ["legs"]).tolist())
    factor = round(legs.count("straight") / legs.count("star"))
    for view, shape in enumerate(bank.shape_of.tolist()):
        assert often[view] == (factor if legs[shape] == "star" else 1)
    assert torch.equal(balanced_views(bank, ["type"]), torch.arange(len(bank))), "all are of one type"


def test_a_run_shows_the_balanced_epoch(data, config, tmp_path, monkeypatch):
    folder = with_attributes(data, tmp_path)
    settings = load_config(str(config), ["data.balance=[legs]"])
    opened = open_data(folder, settings)
    plain = open_data(folder, load_config(str(config)))
    assert len(opened.epoch) > len(opened.bank) == len(plain.epoch)
    source, size, shown = MinibatchSource(settings, opened, Ranks()), settings.training.batch, Counter()
    batch = opened.bank.batch

    def spy(indices, device):
        shown.update(indices)
        return batch(indices, device)

    monkeypatch.setattr(opened.bank, "batch", spy)
    whole = len(opened.epoch) // size
    for iteration in range(whole):
        source.draw(iteration * size, iteration)
    expected = Counter(opened.epoch)
    assert not shown - expected and sum((expected - shown).values()) == len(opened.epoch) - whole * size


def test_an_attribute_that_no_shape_has_is_refused(data, config, tmp_path):
    folder = with_attributes(data, tmp_path)
    outcome = run(
        "train", "--config", config, "--data", folder, "--out", tmp_path / "out", "--set", "data.balance=[leg]"
    )
    assert_refused(outcome, "'leg'", "legs, type")
