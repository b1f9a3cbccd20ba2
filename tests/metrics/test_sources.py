"""Sources answer for themselves: no score tells a folder, a network and a dataset apart."""

import ast
from pathlib import Path

import pytest

from metrics.cache import ChunkStore
from metrics.shapes import shape_table
from metrics.sources import folder
from tests.metrics.boxes import write_boxes
from torch_utils.failures import failure_log

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


def test_any_exception_of_a_mesh_is_that_shape_s_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of reading and of measuring: the other shapes keep their values, and the log has the tracebacks."""
    write_boxes(tmp_path / "boxes", 3, 0)
    read, measure = folder.read_mesh, shape_table.mesh_validity

    def broken_read(path: Path):
        if path.name == "box0.obj":
            raise ZeroDivisionError("a library's fault")
        return read(path)

    def broken_measure(mesh, **options):
        if mesh.vertices[:, 1].max() == sides[1]:
            raise RecursionError
        return measure(mesh, **options)

    source = folder.FolderSource(tmp_path / "boxes")
    sides = [float(shape.mesh.vertices[:, 1].max()) for shape in source.shapes(range(3)) if shape.mesh is not None]
    monkeypatch.setattr(folder, "read_mesh", broken_read)
    monkeypatch.setattr(shape_table, "mesh_validity", broken_measure)
    with failure_log(tmp_path / "failures.log"):
        table = shape_table.shape_table(
            source, ChunkStore(tmp_path / "cache"), shape_table.TableColumns(16, meshes=True)
        )
    assert table.problems == ["ZeroDivisionError: a library's fault", "RecursionError", ""]
    assert table.usable.tolist() == [False, True, True] and [v is None for v in table.validity] == [True, True, False]
    log = (tmp_path / "failures.log").read_text()
    assert log.count("Traceback") == 2 and "box0.obj\n" in log and "in broken_read" in log


def test_a_mesh_of_too_many_faces_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_table, "MAX_FACES", 11)
    source = folder.FolderSource(write_boxes(tmp_path / "boxes", 1, 0))
    columns = shape_table.TableColumns(16, meshes=True, light_fields=True)
    table = shape_table.shape_table(source, ChunkStore(tmp_path / "cache"), columns)
    assert table.problems == ["not measured: 12 faces are too many (at most 11)"]
    assert table.validity == [None] and bool(table.usable.all())
