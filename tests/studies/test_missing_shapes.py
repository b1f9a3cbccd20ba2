"""The shapes that a generator does not make are those that its discriminators are surest of."""

import pytest
import torch

from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from networks.discriminator import Discriminator
from studies.missing_shapes import by_kind, load_judges, markdown, sureness
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.data import build_train_state, state_parts
from training.run.state_file import save_state


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> ImageBank:
    return ImageBank(open_dataset(tiny.write_dataset(tmp_path_factory.mktemp("data") / "discs")), "train")


class Brightness(torch.nn.Module):
    """A judge that takes bright images for real."""

    def forward(self, images, _cameras, _labels):
        return 5 + 100 * images.mean((1, 2, 3))


def test_shapes_are_judged_by_the_mean_of_their_views(bank):
    sure, shown = sureness(bank, {"rgb": Brightness(), "mask": Brightness()}, views=2)
    means = []
    for shape in range(len(bank.shape_ids)):
        own = (bank.shape_of == shape).nonzero()[:, 0]
        images, _ = bank.batch(own[[0, -1]])
        assert torch.equal(shown[shape], images[0])
        means.append(torch.stack([images[:, :3].mean(), images[:, 3:].mean()]))
    each = torch.stack(means)
    # Views of one disc are alike, so deviations over views are those over shapes, but for the divisor of the variance.
    expected = ((each - each.mean(0)) / each.std(0, correction=0)).mean(1)
    assert torch.corrcoef(torch.stack([sure, expected]))[0, 1] > 0.999
    assert sure.mean().abs() < 1e-5 and (sure.argsort() == expected.argsort()).all()


def test_kinds_come_surest_first():
    rows = by_kind([0.0, 3.0, 1.0, -1.0], ["chair", "stool", "stool", "chair"])
    assert rows == [("stool", 2, 2.0), ("chair", 2, -0.5)]
    assert markdown(rows).splitlines()[2:] == ["| stool | 2 | 2 |", "| chair | 2 | -0.5 |"]


def test_judges_of_a_state_are_those_that_were_saved(tmp_path, bank):
    settings = tiny.config()
    train_state = build_train_state(settings, Ranks())
    save_state(tmp_path, state_parts(train_state), 8, {"nimg": 8}, settings.model_dump(mode="json"))
    config, judges = load_judges(next(tmp_path.glob("state-*.safetensors")))
    assert config == settings and all(isinstance(judge, Discriminator) for judge in judges.values())
    for head, judge in judges.items():
        own = train_state.discriminators[head].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in judge.state_dict().items())
    assert sureness(bank, judges, 1)[0].isfinite().all()


def test_a_network_without_discriminators_is_refused(tmp_path):
    settings, file = tiny.config(), tmp_path / "network.safetensors"
    save_network(file, build_train_state(settings, Ranks()).generator, settings.model_dump(mode="json"), 8)
    with pytest.raises(UserError, match="no discriminators beside it"):
        load_judges(file)
