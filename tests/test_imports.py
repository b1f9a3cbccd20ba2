"""Imports run one way through the folders, and files stay readable in length."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = [
    "torch_utils", "configs", "geometry", "mesh_io", "rendering", "dataset_tool", "networks",
    "sampling", "guidance", "metrics", "training", "webpage", "tetragan",
]  # fmt: skip
MAX_LINES = 400
# A longer file, and the reason.
LONG_FILES: dict[str, str] = {}


def source_files() -> list[Path]:
    files: list[Path] = []
    for folder in ORDER:
        files += sorted((ROOT / folder).rglob("*.py"))
    return files


def imported_folders(source: str) -> set[str]:
    """Project folders that a file imports, at any depth of the code (functions too)."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names & set(ORDER)


def backward_imports(folder: str, source: str) -> set[str]:
    # configs/ stands alone: it is read by tools that import nothing else.
    allowed = {"configs"} if folder == "configs" else set(ORDER[: ORDER.index(folder) + 1])
    return imported_folders(source) - allowed


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    backward = backward_imports(folder, path.read_text(encoding="utf-8"))
    assert not backward, f"{folder} may not import {sorted(backward)}"


def test_a_backward_import_is_seen() -> None:
    assert backward_imports("geometry", "def f():\n    from networks.generator import Generator") == {"networks"}
    assert backward_imports("configs", "import torch_utils.errors") == {"torch_utils"}
    assert not backward_imports("training", "from networks.generator import Generator")


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES or name in LONG_FILES, f"{name} has {lines} lines; split it or give the reason"
