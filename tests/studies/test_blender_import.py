"""The script that imports meshes in Blender calls another one; without Blender only their calls can be compared."""

import ast

from tests.conftest import ROOT

SCRIPT, CALLER = ROOT / "dataset_tool" / "render" / "blender_script.py", ROOT / "studies" / "blender_import.py"


def test_it_calls_functions_that_are_there_with_all_their_arguments() -> None:
    functions = {
        node.name: len(node.args.args) - len(node.args.defaults)
        for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    calls = [
        (node.func.attr, len(node.args))
        for node in ast.walk(ast.parse(CALLER.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "script"
    ]
    assert len(calls) >= 4
    assert [(name, count) for name, count in calls if functions.get(name) != count] == []
