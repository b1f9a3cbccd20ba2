"""A training that does not fit is refused before it starts, with the setting that makes it fit."""

import pytest

from networks.describe import describe
from tests.training import tiny
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training import memory_check
from training.memory_check import memory_of_rank, refuse_too_large


def with_memory(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(memory_check, "memory_of_rank", lambda ranks: int(gib * 2**30))


def test_a_run_that_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check = refuse_too_large(tiny.config(), Ranks())
    assert 0 < check.needed < check.available == pytest.approx(memory_of_rank(Ranks()), rel=0.5)
    needed = check.needed / 2**30
    with_memory(monkeypatch, needed / 1.1)  # within the error of the estimate
    assert "GiB of the" in str(refuse_too_large(tiny.config(), Ranks()))


def test_the_largest_micro_batch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.config(data={"resolution": 128}, training={"batch": 32})
    networks = describe(config)
    needed = (memory_check.memory_check(networks, config, Ranks(), size).needed for size in (4, 8, 16, 32))
    sizes = dict(zip((4, 8, 16, 32), (size / 2**30 for size in needed), strict=True))
    assert sizes[4] < sizes[8] < sizes[16] / 1.01 and sizes[32] > 1.2 * sizes[8]
    with_memory(monkeypatch, 1.01 * sizes[8])
    with pytest.raises(UserError, match=r"a step needs about .* GiB available; try --set training.micro_batch=8$"):
        refuse_too_large(config, Ranks())
    # Eight ranks hold four images each, so nothing smaller keeps the groups whole.
    with_memory(monkeypatch, sizes[4] / 2)
    with pytest.raises(UserError, match=r"lower data.resolution or geometry.cells, or use a larger card"):
        refuse_too_large(config, Ranks(0, 8))


def test_ranks_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = memory_of_rank(Ranks())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_of_rank(Ranks(0, 4)) == pytest.approx(alone / 4, rel=0.2)
