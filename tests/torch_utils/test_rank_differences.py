"""Ranks that do not see the same: nodes with other data, machines with other cards."""

from pathlib import Path

import pytest
import torch

from tests.processes import be_rank, free_ports, run_ranks
from torch_utils import distributed
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training import loop
from training.run.run_folder import RunFolder
from training.run.training_run import Progress


def compare(rank: int, world: int, port: int, folder: Path) -> None:
    be_rank(rank, world, port)
    torch.set_num_threads(1)
    ranks = distributed.start("cpu")
    said = []
    for cards in (("NVIDIA H100", "NVIDIA H100"), ("NVIDIA H100", "NVIDIA A100")):
        loop.device_name = lambda _, name=cards[rank]: name
        said += loop.device_notes(ranks)
    distributed.refuse_difference("--data", [24.0, 0.25], ranks)
    try:
        distributed.refuse_difference("--data", [24.0, 0.25 + rank], ranks)
    except UserError as error:
        said.append(str(error))
    (folder / f"{rank}.txt").write_text("\n".join(said), encoding="utf-8")
    distributed.stop(ranks)


def test_every_rank_refuses_other_data_and_says_that_cards_differ(tmp_path: Path) -> None:
    run_ranks(compare, 2, 2, free_ports(1)[0], tmp_path)
    expected = [
        "The ranks run on different devices; each step waits for the slowest of them.",
        "--data: the ranks disagree; every node must see the same files",
    ]
    for rank in range(2):
        assert (tmp_path / f"{rank}.txt").read_text(encoding="utf-8").splitlines() == expected


def test_ranks_do_not_go_on_from_different_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compared = []
    monkeypatch.setattr(distributed, "differ", lambda values, ranks: not compared.append(values))
    with pytest.raises(UserError, match="the ranks disagree; every node must see the same files"):
        loop.refuse_other_states(RunFolder(tmp_path), Progress(nimg=64, iteration=4), Ranks(0, 2))
    assert compared == [[64, 4]]
