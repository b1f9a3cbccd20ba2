"""`tetragan evaluate` under torchrun: the ranks divide the work, and the report is that of one process."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from metrics import cache
from metrics.images import image_scores, pixel_scores
from metrics.report.report_schema import load_report
from metrics.shapes import distances, evaluate_shapes, shape_table
from metrics.sources import dataset
from tests.metrics.boxes import write_boxes_and_network
from tests.processes import be_rank, free_ports, run_ranks
from tetragan import __main__ as tetragan

PROTOCOL = """\
name: own
version: 1
description: both
points: 128
distances: [cd, lfd]
images: {count: 12}
"""


def evaluate(root: Path, out: str) -> tuple[list[str], int]:
    """Run the command in many small chunks, with one mesh that fails: names of the files that it stored, and status."""
    torch.set_num_threads(1)
    stored: list[str] = []
    save, read = cache.save_safetensors, dataset.read_mesh

    def saved(path: Path, tensors: dict[str, Any]) -> None:
        stored.append(path.name)
        save(path, tensors)

    def fails(path: Path, **options: bool) -> Any:
        if path.name == "box2.obj":
            raise TypeError("a fault of this version")
        return read(path, **options)

    arguments = ["--network", "net.safetensors", "--data", "data", "--reference-meshes", "boxes", "--out", out]
    arguments += ["--protocol", "own.yaml", "--cache", f"{out}-cache", "--device", "cpu", "--normals", "--quiet"]
    arguments += ["--require", "cov_cd>100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["tetragan", "evaluate", *arguments])
        patch.setattr(cache, "save_safetensors", saved)
        patch.setattr(dataset, "read_mesh", fails)
        for module, name in ((shape_table, "CHUNK"), (evaluate_shapes, "CHUNK"), (distances, "BLOCK")):
            patch.setattr(module, name, 2)
        for module in (image_scores, pixel_scores):
            patch.setattr(module, "CHUNK", 4)
        try:
            tetragan.main()
        except SystemExit as stop:
            return stored, int(stop.code or 0)
    return stored, 0


def _worker(rank: int, port: int, root: Path) -> None:
    be_rank(rank, 2, port)
    stored, status = evaluate(root, "ranks")
    assert status == (1 if rank == 0 else 0), "a rank that ended first with status 1 would have torchrun end the others"
    (root / f"stored{rank}.txt").write_text("\n".join(stored), encoding="utf-8")


def report(folder: Path) -> dict[str, Any]:
    """The whole report but the times."""
    values = load_report(folder / "report.json").model_dump(mode="json")
    for section in (values["run"], *values["metrics"]):
        section.pop("seconds")
    return values


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_two_ranks_write_the_report_of_one_process(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    root = write_boxes_and_network(tmp_path)
    (root / "own.yaml").write_text(PROTOCOL, encoding="utf-8")
    for shape, view in (("box0", "002"), ("box1", "001")):  # training views that rank 0 and rank 1 draw
        (root / "data" / "shapes" / shape / f"{view}.png").write_bytes(b"no image")
    alone, status = evaluate(root, "alone")
    assert status == 1
    said = capfd.readouterr()
    run_ranks(_worker, 2, free_ports(1)[0], root)
    ranks_said = capfd.readouterr()
    assert ranks_said.out == said.out.replace("alone/report.html", "ranks/report.html")
    assert ranks_said.err == said.err == "Requirement not met: cov_cd>100: it is 16.67\n"
    shares = [(root / f"stored{rank}.txt").read_text(encoding="utf-8").split() for rank in range(2)]
    assert not set(shares[0]) & set(shares[1]) and set(alone) < set(shares[0]) | set(shares[1])
    assert min(map(len, shares)) > len(alone) // 3, "both work"
    assert files(root / "ranks") == files(root / "alone") and files(root / "ranks-cache") == files(root / "alone-cache")
    expected = report(root / "alone")
    assert sum(metric["status"] == "ok" for metric in expected["metrics"]) > 10
    assert any("train split: 2 files could not be read" in note for note in expected["run"]["notes"])
    assert report(root / "ranks") == expected
    logs = [(root / out / "failures.log").read_text(encoding="utf-8").splitlines() for out in ("alone", "ranks")]
    assert sorted(logs[0]) == sorted(logs[1]) and "box2" in logs[0]
