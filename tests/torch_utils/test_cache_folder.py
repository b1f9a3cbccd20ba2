import os
import tempfile
from pathlib import Path

from torch_utils.cache_folder import cache_folder


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    monkeypatch.delenv("TETRAGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which is no value, says the standard

    def no_home(_self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder() == Path(tempfile.gettempdir()) / f"tetragan-{os.getuid()}"


def test_the_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("TETRAGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder()) == "/somewhere/tetragan"
    monkeypatch.setenv("TETRAGAN_CACHE", "/elsewhere")
    assert str(cache_folder()) == "/elsewhere"
