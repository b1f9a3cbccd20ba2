"""The Python API is light to import, and every Python block of the documents runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tetragan
from networks import pretrained
from networks.generator import Generator
from tests.training import tiny
from torch_utils.checkpoint import save_network

ROOT = Path(__file__).parents[2]
# What the blocks of each write.
DOCUMENTS = {"README.md": "chair.glb", "docs/python_api.md": "chair.glb", "docs/materials.md": "lamps.png"}


def python_blocks(text: str) -> list[str]:
    """The code of every ```python fence."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_importing_tetragan_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, tetragan; tetragan.__all__; dir(tetragan)\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "tetragan.load; assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there_and_no_other() -> None:
    for name in tetragan.__all__:
        assert getattr(tetragan, name).__name__ == name and name in dir(tetragan)
    with pytest.raises(AttributeError, match="module 'tetragan' has no attribute 'laod'"):
        _ = tetragan.laod  # type: ignore[attr-defined]


@pytest.fixture
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are quick to sample, under the names of the included ones."""
    config = tiny.config(geometry={"cells": 8})
    for name in pretrained.pretrained_networks():
        torch.manual_seed(0)
        path = tmp_path / "included" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_network(path, Generator(config), config.model_dump(mode="json"), 1000)
    monkeypatch.setattr(pretrained, "INCLUDED", tmp_path / "included")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_python_blocks_of_the_documents_run(
    document: str, small_networks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = python_blocks((ROOT / document).read_text(encoding="utf-8"))
    assert blocks, f"{document} has no Python block"
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    assert (tmp_path / DOCUMENTS[document]).stat().st_size > 1000


def test_the_blocks_are_found() -> None:
    text = "# a\n```python\nx = 1\n```\n```bash\nls\n```\n```python\ny = 2\n\nz = 3\n```\n"
    assert python_blocks(text) == ["x = 1\n", "y = 2\n\nz = 3\n"]
