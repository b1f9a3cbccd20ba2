"""The shapes that a generator does not make are those of the highest logits."""

import json

import pytest
import torch
from PIL import Image

from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from metrics.images.missing_shapes import logit_table, mean_by_class, standardized_logits
from networks.discriminator import Discriminator
from networks.pretrained import load_discriminator_networks
from tests.command_line import assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.run.state_file import save_state
from training.train_state import build_train_state, state_parts


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> ImageBank:
    return ImageBank(open_dataset(tiny.write_dataset(tmp_path_factory.mktemp("data") / "discs")), "train")


class Brightness(torch.nn.Module):
    """A discriminator that takes bright images for real."""

    def forward(self, images, _cameras, _labels):
        return 5 + 100 * images.mean((1, 2, 3))


def test_a_shape_has_the_mean_logit_of_its_views(bank):
    logits, shown = standardized_logits(bank, {"rgb": Brightness(), "mask": Brightness()}, views=2)
    means = []
    for shape in range(len(bank.shape_ids)):
        own = (bank.shape_of == shape).nonzero()[:, 0]
        images, _ = bank.batch(own[[0, -1]])
        assert torch.equal(shown[shape], images[0])
        means.append(torch.stack([images[:, :3].mean(), images[:, 3:].mean()]))
    each = torch.stack(means)
    # All views of a disc are alike, so standardizing over views is standardizing over shapes, but for the divisor.
    expected = ((each - each.mean(0)) / each.std(0, correction=0)).mean(1)
    assert torch.corrcoef(torch.stack([logits, expected]))[0, 1] > 0.999
    assert logits.mean().abs() < 1e-5 and (logits.argsort() == expected.argsort()).all()


def test_classes_come_highest_logit_first():
    rows = mean_by_class([0.0, 3.0, 1.0, -1.0], ["chair", "stool", "stool", "chair"])
    assert rows == [("stool", 2, 2.0), ("chair", 2, -0.5)]
    assert logit_table(rows).splitlines()[2:] == ["| stool | 2 | 2 |", "| chair | 2 | -0.5 |"]


def test_discriminators_of_a_state_are_those_that_were_saved(tmp_path, bank):
    settings = tiny.config()
    train_state = build_train_state(settings, Ranks())
    save_state(tmp_path, state_parts(train_state), 8, {"nimg": 8}, settings.model_dump(mode="json"))
    config, discriminators = load_discriminator_networks(next(tmp_path.glob("state-*.safetensors")))
    assert config == settings and all(isinstance(network, Discriminator) for network in discriminators.values())
    for head, network in discriminators.items():
        own = train_state.discriminators[head].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    assert standardized_logits(bank, discriminators, 1)[0].isfinite().all()


def test_a_network_without_discriminators_is_refused(tmp_path):
    settings, file = tiny.config(), tmp_path / "network.safetensors"
    save_network(file, build_train_state(settings, Ranks()).generator, settings.model_dump(mode="json"), 8)
    with pytest.raises(UserError, match="no discriminators next to it"):
        load_discriminator_networks(file)


def test_the_report_shows_the_shapes_and_their_classes(tmp_path):
    data, settings = tiny.write_dataset(tmp_path / "discs"), tiny.config()
    for path in data.glob("shapes/*/meta.json"):
        side = "right" if path.parent.name == "shape5" else "left"
        path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"side": side}}))
    state = build_train_state(settings, Ranks())
    save_state(tmp_path, state_parts(state), 8, {"nimg": 8}, settings.model_dump(mode="json"))
    network = next(tmp_path.glob("state-*.safetensors"))
    call = ("diagnose", "missing", "--network", network, "--data", data, "--out", tmp_path / "out", "--device", "cpu")
    outcome = run(*call, "--by", "side")
    assert outcome.status == 0, outcome.stderr
    table = (tmp_path / "out" / "missing.md").read_text()
    assert table in outcome.stdout and "| left | 5 |" in table and "| right | 1 |" in table
    with Image.open(tmp_path / "out" / "missing.png") as image:
        assert image.size == (8 * 16, 16)
    assert_refused(run(*call, "--by", "sides"), "no shape has an attribute 'sides'; they have side")
    assert_refused(run(*call, "--by", "side", "--split", "tset"), "--split tset")
