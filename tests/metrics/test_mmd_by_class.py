"""What each class of shapes adds to the distance."""

import json

import pytest
import torch

from metrics.shapes.mmd_by_class import class_distances, class_table
from tests.command_line import assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from training.train_state import build_train_state


def test_classes_add_up_to_the_whole():
    generated, training = torch.tensor([2.0, 10.0, 4.0, 4.0]), torch.tensor([1.0, 2.0, 1.0, 2.0])
    distances = class_distances([("chair",), ("stool",), ("chair",), ("chair",)], generated, training)
    assert [(each.name, each.shapes) for each in distances] == [("stool", 1), ("chair", 3)]
    assert distances[1].mmd == pytest.approx(10 / 3) and distances[1].reference == pytest.approx(4 / 3)
    assert [each.excess for each in distances] == pytest.approx([2.0, 1.5])
    assert class_table(distances).splitlines()[-1] == "| **all** | 4 | 5.00 | 1.50 | 3.500 |"


def test_a_network_is_compared_with_each_class(tmp_path):
    settings, file = tiny.config(), tmp_path / "network.safetensors"
    save_network(file, build_train_state(settings, Ranks()).generator, settings.model_dump(mode="json"), 8)
    data = tiny.write_dataset(tmp_path / "discs")
    header = json.loads((data / "dataset.json").read_text())
    header["splits"] = {"train": ["shape0", "shape1"], "test": ["shape2", "shape3", "shape4", "shape5"]}
    (data / "dataset.json").write_text(json.dumps(header))
    for path in data.glob("shapes/*/meta.json"):
        side = "right" if path.parent.name == "shape5" else "left"
        path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"side": side}}))
    call = ("diagnose", "classes", "--network", file, "--data", data, "--out", tmp_path / "out", "--device", "cpu")
    outcome = run(*call, "--by", "side")
    assert outcome.status == 0, outcome.stderr
    table = (tmp_path / "out" / "classes.md").read_text()
    assert table in outcome.stdout
    assert "| left | 3 |" in table and "| right | 1 |" in table and "| **all** | 4 |" in table
    assert_refused(run(*call, "--by", "sides"), "no shape has an attribute 'sides'; they have side")
