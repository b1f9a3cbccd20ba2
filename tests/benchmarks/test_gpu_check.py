"""The check of a GPU machine: its time limits, and that one bad part costs only itself."""

import json
import sys

from benchmarks.gather_wheels import needed
from benchmarks.gpu_check import Part, parts, run_part


def test_all_parts_fit_into_nine_minutes():
    listed = parts("compute-sanitizer")
    assert sum(part.seconds for part in listed) <= 540
    assert {part.name for part in listed} == {
        "doctor", "tests", "ops", "generate", "generate_8", "training_256", "training_512", "training_1024",
        "sanitizer",
    }  # fmt: skip
    assert len(parts(None)) == len(listed) - 1


def test_results_and_failures_are_told_apart(tmp_path):
    def outcome(code: str, seconds: int = 30, is_json: bool = False) -> dict:
        return run_part(Part("part", (sys.executable, "-c", code), seconds, is_json), tmp_path, 30.0)

    good = outcome("print('a note'); print('{\"ms\": 1.5}')", is_json=True)
    assert good["status"] == "passed" and good["result"] == {"ms": 1.5}
    assert outcome("import sys; print('why'); sys.exit(3)") | {"seconds": 0} == {
        "status": "failed with exit status 3", "seconds": 0, "result": ["why"],
    }  # fmt: skip
    assert outcome("import time; print('begun', flush=True); time.sleep(30)", seconds=1)["status"] == (
        "stopped at its time limit"
    )
    assert json.dumps(outcome("print('plain')")["result"]) == '["plain"]'


def test_wheels_are_what_the_project_needs_and_torch_does_not_bring():
    names = {line.split("==")[0] for line in needed(())}
    assert {"pydantic", "pydantic-core", "trimesh", "imageio-ffmpeg", "pytest-xdist"} <= names
    assert not {"torch", "numpy", "networkx", "sympy", "tetragan"} & names
    assert "scipy" not in {line.split("==")[0] for line in needed(("scipy",))}
