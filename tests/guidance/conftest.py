"""Folders of tiny priors, written once for all tests."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guidance.tiny_priors import write_prior


@pytest.fixture(scope="session")
def prior_folder(tmp_path_factory) -> Callable[[str], Path]:
    """prior_folder(family): a folder of that family; do not change it."""
    root = tmp_path_factory.mktemp("priors")

    def folder(family: str) -> Path:
        if not (root / family).exists():
            write_prior(root / family, family)
        return root / family

    return folder


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Every attempt to open a socket fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
