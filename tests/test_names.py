"""One name, one thing: no public class or function of the same name in two packages."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = [
    "torch_utils", "configs", "geometry", "mesh_io", "rendering", "dataset_tool", "networks", "sampling", "guidance",
    "metrics", "training", "webpage", "benchmarks", "studies",
]  # fmt: skip
# The commands in tetragan/ are named after their verbs, which are also what they call; they are not compared.
ALLOWED = {
    "main": "the entry point of a program",
}


def public_names(source: str) -> set[str]:
    """Classes and functions at the top of a file."""
    body = ast.parse(source).body
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in body if isinstance(node, definitions) and not node.name.startswith("_")}


def shared_names(files: dict[str, str]) -> dict[str, list[str]]:
    """Names that files of two packages define, with the files. files: source by path."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, source in sorted(files.items()):
        for name in public_names(source):
            places[name].append(path)
    return {
        name: paths
        for name, paths in places.items()
        if name not in ALLOWED and len({path.split("/")[0] for path in paths}) > 1
    }


def test_one_name_one_thing() -> None:
    files = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    shared = shared_names(files)
    assert not shared, "\n".join(f"{name}: {', '.join(paths)}" for name, paths in sorted(shared.items()))


def test_a_second_name_is_seen() -> None:
    files = {"geometry/a.py": "class Surface: ...", "mesh_io/b.py": "class Surface: ...\ndef main(): ..."}
    assert shared_names(files) == {"Surface": ["geometry/a.py", "mesh_io/b.py"]}
    assert not shared_names({"geometry/a.py": "def _f(): ...", "mesh_io/b.py": "def _f(): ..."})
    assert not shared_names({"geometry/a.py": "def f(): ...", "geometry/b.py": "def f(): ..."})
