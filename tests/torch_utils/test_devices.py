"""Copies between host and device."""

from collections.abc import Iterator

import pytest
import torch

from torch_utils.devices import Download, upload


def test_on_the_cpu_nothing_is_copied():
    values = torch.arange(3.0)
    assert upload(values, "cpu") is values
    assert Download(values).read() is values


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
