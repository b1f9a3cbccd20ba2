"""What each kind of shape adds to the distance."""

import json

import click
import pytest
import torch

from studies.mmd_by_class import compare, main, markdown
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from training.data import build_train_state


def test_kinds_add_up_to_the_whole():
    generated, training = torch.tensor([2.0, 10.0, 4.0, 4.0]), torch.tensor([1.0, 2.0, 1.0, 2.0])
    kinds = compare([("chair",), ("stool",), ("chair",), ("chair",)], generated, training)
    assert [(kind.name, kind.shapes) for kind in kinds] == [("stool", 1), ("chair", 3)]
    assert kinds[1].mmd == pytest.approx(10 / 3) and kinds[1].floor == pytest.approx(4 / 3)
    assert [kind.excess for kind in kinds] == pytest.approx([2.0, 1.5])
    assert markdown(kinds).splitlines()[-1] == "| **all** | 4 | 5.00 | 1.50 | 3.500 |"


def test_a_network_is_held_against_each_kind(tmp_path, capsys):
    settings, file = tiny.config(), tmp_path / "network.safetensors"
    save_network(file, build_train_state(settings, Ranks()).generator, settings.model_dump(mode="json"), 8)
    data = tiny.write_dataset(tmp_path / "discs")
    header = json.loads((data / "dataset.json").read_text())
    header["splits"] = {"train": ["shape0", "shape1"], "test": ["shape2", "shape3", "shape4", "shape5"]}
    (data / "dataset.json").write_text(json.dumps(header))
    for path in data.glob("shapes/*/meta.json"):
        side = "right" if path.parent.name == "shape5" else "left"
        path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"side": side}}))
    base = ["--network", str(file), "--data", str(data), "--out", str(tmp_path / "out"), "--by"]
    main([*base, "side"], standalone_mode=False)
    table = capsys.readouterr().out
    assert "| left | 3 |" in table and "| right | 1 |" in table and "| **all** | 4 |" in table
    assert (tmp_path / "out" / "kinds.md").read_text() in table
    with pytest.raises(click.ClickException, match="no shape has an attribute 'sides'; they have side"):
        main([*base, "sides"], standalone_mode=False)
