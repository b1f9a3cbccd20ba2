"""Shared fixtures, and the rule that a test is skipped only where `allowed_skips.txt` says so."""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("TETRAGAN_SHARED_DATA", ROOT.parent / "shared" / "data"))
ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory) -> Iterator[Path]:
    """Decoded views go to a folder of this test run, also those of child processes."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TETRAGAN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real models at {SHARED_DATA} (set TETRAGAN_SHARED_DATA)")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def allowed_skips() -> list[str]:
    """Patterns of test ids that may be skipped, one a line; the rest of the line after '#' says why."""
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    return [pattern for line in lines if (pattern := line.split("#")[0].strip())]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = {report.nodeid for report in terminalreporter.stats.get("skipped", [])}
    refused = [name for name in sorted(skipped) if not any(fnmatch.fnmatchcase(name, p) for p in allowed_skips())]
    for name in refused:
        terminalreporter.write_line(f"SKIP NOT ALLOWED {name} (see tests/allowed_skips.txt)", red=True)
    if refused:
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
