"""Sources answer for themselves: no score tells a folder, a network and a dataset apart."""

import ast
from pathlib import Path

import pytest

METRICS = Path(__file__).parent.parent.parent / "metrics"
SOURCES = {"FolderSource", "NetworkSource", "DatasetSource"}
TYPED = {"dataset", "generator", "source", "network"}


def source_tests(code: str) -> list[int]:
    """Lines that ask what kind of source an object is."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in ("isinstance", "issubclass", "type")
        and SOURCES & {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    ]


def untyped(code: str) -> list[int]:
    """Lines where a dataset, generator, source or network is declared as Any."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.arg):
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, node.annotation
        else:
            continue
        if name in TYPED and annotation is not None and "Any" in ast.unparse(annotation).split(" | "):
            lines.append(node.lineno)
    return sorted(lines)


@pytest.mark.parametrize("path", sorted(METRICS.rglob("*.py")), ids=lambda path: str(path.relative_to(METRICS)))
def test_sources_answer_for_themselves(path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    assert not source_tests(code), "give every kind of source the method (metrics/sources/shape_source.py)"
    assert not untyped(code), "give the dataset, generator or source its type"


def test_a_question_and_a_missing_type_are_seen() -> None:
    assert source_tests("if isinstance(a, FolderSource):\n    pass") == [1]
    assert source_tests("x = isinstance(a, (int, NetworkSource))") == [1]
    assert not source_tests("isinstance(a, str)\nFolderSource(type(a))")
    assert untyped("def f(dataset: Any, count: Any): pass\nclass A:\n    generator: Any | None") == [1, 3]
    assert not untyped("def f(dataset: ViewDataset | None): pass")
