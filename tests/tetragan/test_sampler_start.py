"""The start of commands that sample: what they need is imported without the garbage collector, which then goes on."""

import gc

import pytest

from tetragan import options


@pytest.fixture
def unfrozen():
    yield
    gc.unfreeze()
    gc.enable()


def test_the_collector_rests_only_during_the_imports(unfrozen, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(options.importlib, "import_module", lambda name: seen.append((name, gc.isenabled())))
    before = gc.get_freeze_count()
    options._import_sampling()
    assert seen == [("sampling.sample_run", False), ("tetragan.sampler", False)]
    assert gc.isenabled() and gc.get_freeze_count() > before


def test_the_collector_goes_on_after_an_import_that_fails(unfrozen, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(options.importlib, "import_module", broken)
    with pytest.raises(ImportError):
        options._import_sampling()
    assert gc.isenabled()
