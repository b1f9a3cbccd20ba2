"""Splits of a dataset: by hash of the id, in given shares, and the advice for few shapes."""

import pytest

from dataset_tool.format.splits import few_shapes_advice, hash_splits, parse_shares, split_counts
from torch_utils.errors import UserError


def test_hash_splits_depend_on_the_id_alone():
    ids = [f"shape-{i}" for i in range(3000)]
    splits = hash_splits(reversed(ids))
    shares = [len(splits[name]) / 3000 for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    assert sorted(name for part in splits.values() for name in part) == sorted(ids)
    fewer = hash_splits(ids[:1000])
    assert all(set(fewer[name]) <= set(splits[name]) for name in splits)
    small = hash_splits(ids[:10])
    assert [len(small[name]) for name in ("train", "val", "test")] == [7, 1, 2]
    assert [len(part) for part in hash_splits(["only"]).values()] == [1, 0, 0]
    assert hash_splits([]) == {"train": [], "val": [], "test": []}


@pytest.mark.parametrize(
    ("text", "count", "sizes"),
    [
        ("90/5/5", 40, [36, 2, 2]),
        ("90/5/5", 3, [2, 0, 1]),
        ("100/0/0", 10, [10, 0, 0]),
        ("50/50/0", 5, [3, 2, 0]),
    ],
)
def test_shares_of_splits(text, count, sizes):
    splits = hash_splits([f"shape-{i}" for i in range(count)], parse_shares(text))
    assert [len(splits[name]) for name in ("train", "val", "test")] == sizes


def test_other_shares_move_as_few_shapes_as_possible():
    ids = [f"shape-{i}" for i in range(2000)]
    usual, larger = hash_splits(ids), hash_splits(ids, parse_shares("90/5/5"))
    assert [len(larger[name]) / 2000 for name in ("train", "val", "test")] == pytest.approx([0.9, 0.05, 0.05], abs=0.02)
    assert set(usual["train"]) < set(larger["train"]) and set(larger["test"]) < set(usual["test"])


@pytest.mark.parametrize("text", ["90/5", "90/5/6", "0/50/50", "a/b/c", "-10/55/55", "90 5 5"])
def test_shares_that_are_none(text):
    with pytest.raises(UserError, match="expected percentages of train, val and test that sum to 100"):
        parse_shares(text)


def test_counts_and_advice():
    def splits(train, test):
        return {"train": ["x"] * train, "val": ["y"] * 2, "test": ["z"] * test}

    assert split_counts(splits(210, 60)) == "210 shapes train, 2 validate, 60 test"
    assert split_counts(splits(1, 0)) == "1 shape trains, 2 validate, 0 test"
    assert few_shapes_advice(splits(210, 60)) == []
    assert few_shapes_advice(splits(50, 60)) == [
        'Few shapes: train with --config chair --set augment.mode=ada (docs/training.md, "Small sets").'
    ]
    [line] = few_shapes_advice(splits(210, 9))
    assert "--split train" in line and "below 30 test shapes" in line and "augment" not in line
    [line] = few_shapes_advice(splits(5, 2))
    assert "augment.mode=ada" in line and "--split train" in line
    assert few_shapes_advice(splits(0, 2))[0].startswith("No shape trains; give shares")


@pytest.mark.parametrize("text", ["20/0/80", "10/0/90", "1/9/90"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_large_shares_of_test_leave_a_shape_to_train_and_none_is_in_two_splits(text, count):
    ids = [f"shape-{i}" for i in range(count)]
    splits = hash_splits(ids, parse_shares(text))
    assert sorted(name for part in splits.values() for name in part) == ids and splits["train"]
