"""Devices by name, and copies between host and device."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch

from torch_utils import distributed
from torch_utils.devices import Download, parse_device, pick_device, share_cards, upload
from torch_utils.errors import UserError


def test_on_the_cpu_nothing_is_copied():
    values = torch.arange(3.0)
    assert upload(values, "cpu") is values
    assert Download(values).read() is values


def test_a_device_is_one_that_this_machine_has(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1) and pick_device("cuda") == torch.device("cuda")
    with pytest.raises(UserError, match=r"^device cuda:2: torch finds cuda:0, cuda:1; use cpu"):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"^device cuda: torch finds no CUDA card; use cpu"):
        pick_device("cuda")


@pytest.fixture
def with_tf32() -> Iterator[tuple[Any, ...]]:
    """The two places that have the flag, with TF32 allowed, as some images for cards have it."""
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = True
    yield places
    for place, allowed in zip(places, before, strict=True):
        place.allow_tf32 = allowed


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_float32_on_a_card_is_not_tf32(monkeypatch, with_tf32, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cpu").type == "cpu" and all(place.allow_tf32 for place in with_tf32)
    assert pick_device(name).type == "cuda" and not any(place.allow_tf32 for place in with_tf32)


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:-1", "cuda:x", "cpu:1", "", "mps"])
def test_a_foreign_device_is_refused(name):
    for function in (parse_device, pick_device):
        with pytest.raises(UserError, match=f"^device {name}: expected auto, cpu, cuda or cuda:N$"):
            function(name)


def test_ranks_take_a_card_each_and_one_process_the_card_that_it_names(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert distributed.start("cuda:1").device == torch.device("cuda", 1)
    assert distributed.start("cuda").device == torch.device("cuda", 0)
    assert chosen == [torch.device("cuda", 1), torch.device("cuda", 0)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^device cuda:1: each of the 2 ranks takes its own card; use cuda$"):
        distributed.start("cuda:1")
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(
        UserError, match=r"^device cuda: this torch has no NCCL, which 2 ranks need; install a CUDA build"
    ):
        distributed.start("cuda")


def test_ranks_wait_for_each_other_longer_than_nccl_would(monkeypatch):
    started = {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda name, **options: started.update({name: options})
    )
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.start("cuda").device == torch.device("cuda", 3)
    assert started["nccl"]["timeout"] >= timedelta(hours=1)


def test_processes_that_render_take_the_cards_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        chosen.append(str(share_cards(pick_device("cuda"))))
        assert share_cards(torch.device("cpu")).type == "cpu" and share_cards(pick_device("cuda:0")).index == 0
    assert chosen == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Every call that waits for the device raises, except those that wait for one event."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode(before)


@pytest.mark.cuda
def test_cuda_copies_do_not_wait(no_waiting):
    values = torch.arange(1000.0)
    first = Download(upload(values, "cuda").add_(1))
    torch.cuda._sleep(10**9)
    assert torch.equal(first.read(), values + 1)
    assert not torch.cuda.current_stream().query(), "reading waited for work that was queued after the copy"
    torch.cuda.current_stream().synchronize()
