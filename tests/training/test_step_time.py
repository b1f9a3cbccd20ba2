"""How long a step takes where the host does not wait for it: until the device is done."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.adapt.loop import measure_steps
from training.step_time import step_seconds

CARD = torch.device("cuda", 0)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a card, in order."""
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: calls.append("keep"))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append("restore"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    return calls


def test_a_step_lasts_until_the_device_is_done_and_its_random_numbers_are_restored(seen: list[str]) -> None:
    step_seconds(lambda: seen.append("step"), CARD)
    assert seen == ["keep", "step", "wait", "step", "wait", "restore"]
    seen.clear()
    step_seconds(lambda: seen.append("step"))
    assert seen == ["step", "step"]


def test_the_estimate_of_an_adaptation_waits_too(seen: list[str]) -> None:
    settings = SimpleNamespace(steps=10, batch=2, resolution=64)
    job: Any = SimpleNamespace(settings=settings, rehearse=lambda step: seen.append("step"), device=CARD)
    said: list[str] = []
    measure_steps(job, said.append)
    assert seen == ["step", "wait", "step", "wait"]
    assert said[0].startswith("10 steps of 2 images of 64 px: about ")
