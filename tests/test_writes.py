"""Every file is written through torch_utils/files.py, so that every failure to write is one line with the path."""

import ast
from pathlib import Path

import pytest

from tests.test_imports import ROOT, source_files

WRITING = {"write_text", "write_bytes", "mkdir", "touch", "savez", "save_file", "SummaryWriter"}
# Calls outside of a block of `write_errors` or `replacing`, by file: why their errors are not lost.
ALLOWED = {
    "torch_utils/files.py": "the module itself",
    "torch_utils/build.py": "the build of the kernels has errors of its own",
    "dataset_tool/procedural/write.py": "_write_files and _save_textures run in a block of write_shape_folder",
    "dataset_tool/render/blender.py": "a temporary folder, in a block of blender_views",
    "metrics/images/download.py": "_download runs in a block of fetched",
    "dataset_tool/render/blender_script.py": "runs in Blender's Python, where the project is not importable",
    "mesh_io/writers/usdz.py": "a temporary folder, in a block of usdz_bytes",
    "training/run/run_log.py": "TensorBoard's writer, in a block of RunLog.__init__",
}
GUARDS = {"write_errors", "replacing"}


def _writes(node: ast.Call) -> bool:
    function = node.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in WRITING - {"write_text", "write_bytes"} or (name in WRITING and isinstance(function, ast.Attribute)):
        return True
    modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return name == "open" and any(isinstance(mode, str) and mode and mode[0] in "wax" for mode in modes)


def unguarded_writes(source: str) -> list[int]:
    """Lines of calls that write to disk outside of a block that turns errors into WriteError."""
    found: list[int] = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            guarded = guarded or any(getattr(call.func, "id", "") in GUARDS for call in calls)
        if isinstance(node, ast.Call) and _writes(node) and not guarded:
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(ast.parse(source), False)
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_write_escapes(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name not in ALLOWED:
        assert not unguarded_writes(path.read_text(encoding="utf-8")), f"{name}: use torch_utils/files.py"


def test_an_escaping_write_is_seen() -> None:
    assert unguarded_writes("Path('a').write_text('b')\npath.mkdir()\npath.open('wb')\nopen('x', 'a')") == [1, 2, 3, 4]
    assert not unguarded_writes("with write_errors(path):\n    path.mkdir()\nwrite_text(path, 'b')\npath.open('rb')")
