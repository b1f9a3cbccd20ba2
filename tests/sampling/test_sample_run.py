"""Many samples: the same bytes from any number of processes, resumption, and folders of other networks."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from sampling import sample_jobs
from sampling.mesh_export import MeshSettings
from sampling.sample_folder import SampleFolder
from sampling.sample_jobs import ImageStyle, SampleMaker
from sampling.sample_run import jobs_of, made_by, one_thread, run_jobs
from sampling.trained_generator import TrainedGenerator, load
from tests.training import tiny
from torch_utils.errors import UserError
from torch_utils.failures import failure_log

SETTINGS = MeshSettings("glb", 64, faces=200)
CPU = torch.device("cpu")


def network(path: Path, seed: int) -> TrainedGenerator:
    return load(tiny.write_network(path, seed, extra={"shading": "albedo"}))


@pytest.fixture(scope="module")
def g(tmp_path_factory: pytest.TempPathFactory) -> TrainedGenerator:
    return network(tmp_path_factory.mktemp("network") / "discs.safetensors", 1)


def run(g: TrainedGenerator, path: Path, seeds: list[int], workers: int = 1, **options):
    folder = SampleFolder.open(path, "samples.json", made_by(g, SETTINGS, {"truncation": 1.0}), **options)
    samples = g.sample_pairs(seeds, seeds, 1.0)
    jobs = jobs_of(samples, [sample.name for sample in samples], folder.made_by)
    with one_thread():
        return run_jobs(maker_of(g, folder), folder, jobs, workers=workers, device=CPU, replace_files=bool(options))


def maker_of(g: TrainedGenerator, folder: SampleFolder, settings: MeshSettings | None = SETTINGS) -> SampleMaker:
    return SampleMaker(g.network, folder.path, settings, ImageStyle(24), g.shaded)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_command_writes_the_same_bytes_with_any_number_of_workers(g, tmp_path) -> None:
    outcomes = [run(g, tmp_path / str(workers), [0, 1, 2, 3], workers) for workers in (1, 2)]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert sorted(contents(tmp_path / "1")) == ["samples.json", *(f"seed{number:04d}.glb" for number in range(4))]
    assert (outcomes[0].grid(["seed0002"]) == outcomes[1].grid(["seed0002"])).all()


def test_a_seed_has_the_same_bytes_in_any_company(g, tmp_path) -> None:
    run(g, tmp_path / "many", [5, 3, 4])
    run(g, tmp_path / "alone", [4])
    assert contents(tmp_path / "many")["seed0004.glb"] == contents(tmp_path / "alone")["seed0004.glb"]


def test_freed_memory_goes_back_before_processes_are_forked_and_after_each_mesh(g, tmp_path, monkeypatch) -> None:
    log = tmp_path / "log"

    def note() -> None:
        with log.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")

    monkeypatch.setattr(sample_jobs, "return_freed_memory", note)
    run(g, tmp_path / "out", [0, 1, 2])
    first, *others = log.read_text(encoding="ascii").split()
    assert int(first) == os.getpid()
    assert len(others) == 3 and str(os.getpid()) not in others


def test_only_what_is_missing_is_made_again(g, tmp_path) -> None:
    first = run(g, tmp_path, [0, 1, 2])
    before = contents(tmp_path)
    (tmp_path / "seed0001.glb").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.glb")}
    again = run(g, tmp_path, [0, 1, 2])
    assert (first.made, first.kept, again.made, again.kept) == (3, 0, 1, 2)
    assert contents(tmp_path) == before
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in times} == times
    more = run(g, tmp_path, [2, 3])
    assert (more.made, more.kept) == (1, 1)
    listed = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [each["name"] for each in listed] == [f"seed{number:04d}" for number in range(4)]
    assert all(each["closed"] and each["faces"] <= 200 and each["truncation"] == 1.0 for each in listed)


def test_images_alone_and_meshes_share_a_folder(g, tmp_path) -> None:
    run(g, tmp_path / "meshes", [0, 1])
    wanted = contents(tmp_path / "meshes")
    for settings in (None, SETTINGS, None):
        shared = made_by(g, settings, {"truncation": 1.0})
        folder = SampleFolder.open(tmp_path / "out", "samples.json", shared)
        samples = g.sample_pairs([0, 1], [0, 1], 1.0)
        jobs = jobs_of(samples, [sample.name for sample in samples], shared)
        with one_thread():
            outcome = run_jobs(maker_of(g, folder, settings), folder, jobs, workers=1, device=CPU)
        assert len(outcome.images) == 2
    assert contents(tmp_path / "out") == wanted


def test_a_run_that_was_stopped_continues(g, tmp_path, monkeypatch) -> None:
    """Also where a file was finished and not noted any more."""
    run(g, tmp_path / "whole", [0, 1, 2])
    noted = SampleFolder.add

    def add(folder, result, about) -> None:
        if result.name == "seed0001":
            raise KeyboardInterrupt
        noted(folder, result, about)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "add", add)
        with pytest.raises(KeyboardInterrupt):
            run(g, tmp_path / "out", [0, 1, 2])
    left = contents(tmp_path / "out")
    assert "seed0001.glb" in left and json.loads(left["samples.json"])["started"] == ["seed0001", "seed0002"]
    again = run(g, tmp_path / "out", [0, 1, 2])
    assert (again.made, again.kept) == (2, 1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_files_of_another_network_are_left_alone(g, tmp_path) -> None:
    other = network(tmp_path / "other.safetensors", 2)
    run(g, tmp_path / "out", [0])
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=r"holds samples of the network discs .* not other .*--overwrite"):
        run(other, tmp_path / "out", [0])
    assert contents(tmp_path / "out") == before
    run(other, tmp_path / "out", [0], overwrite=True)
    assert contents(tmp_path / "out")["seed0000.glb"] != before["seed0000.glb"]


def test_other_settings_and_foreign_files_are_refused(g, tmp_path) -> None:
    run(g, tmp_path, [0])
    with pytest.raises(UserError, match=r"made with truncation 1\.0, not 0\.5"):
        SampleFolder.open(tmp_path, "samples.json", made_by(g, SETTINGS, {"truncation": 0.5}))
    SampleFolder.open(tmp_path / "fine", "samples.json", made_by(g, SETTINGS, {"truncation": 1.0, "cells": 9}))
    with pytest.raises(UserError, match=r"made with cells 9, not none"):
        SampleFolder.open(tmp_path / "fine", "samples.json", made_by(g, SETTINGS, {"truncation": 1.0}))
    (tmp_path / "seed0009.glb").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"seed0009.glb: exists, but samples.json does not list it"):
        run(g, tmp_path, [9])
    assert (tmp_path / "seed0009.glb").read_bytes() == b"mine"
    (tmp_path / "samples.json").write_text("{}")
    with pytest.raises(UserError, match=r"samples.json: is not a record of samples"):
        run(g, tmp_path, [0])


def test_a_full_disk_is_seen_before_the_first_mesh(g, tmp_path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"meshes need about .* GB, .*0.0 GB are free"):
        run(g, tmp_path, [0])
    assert not list(tmp_path.glob("*.glb"))


def test_an_empty_surface_is_named_and_listed(g, tmp_path, monkeypatch) -> None:
    from dataclasses import replace

    from sampling import sample_jobs

    whole = sample_jobs._on_cpu

    def emptied(job, surface, *others):
        return whole(job, replace(surface, empty=surface.empty | (job.name == "seed0001")), *others)

    monkeypatch.setattr(sample_jobs, "_on_cpu", emptied)
    for workers in (0, 1):
        folder = tmp_path / str(workers)
        outcome = run(g, folder, [0, 1], workers)
        assert outcome.empty == ["seed0001"] and outcome.made == 1
        assert json.loads((folder / "samples.json").read_text())["samples"][1]["empty"] is True


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_whose_process_dies_costs_itself_alone(g, tmp_path, monkeypatch, workers) -> None:
    """As one that the system kills for want of memory."""
    make = SampleMaker.make

    def killed(maker, job):
        if job.name == "seed0001":
            os.kill(os.getpid(), signal.SIGKILL)
        return make(maker, job)

    with monkeypatch.context() as patch:
        patch.setattr(SampleMaker, "make", killed)  # the workers are forked from this process
        outcome = run(g, tmp_path / "out", [0, 1, 2], workers)
    assert outcome.refused == {"seed0001": "its process was killed (out of memory?)"} and outcome.made == 2
    assert (outcome.grid(["seed0001"]) == 128).all() and outcome.grid(["seed0000", "seed0001"]).shape[0] == 2
    again = run(g, tmp_path / "out", [0, 1, 2], workers)
    assert (again.refused, again.made, again.kept) == ({}, 1, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_fails_costs_itself_alone_and_is_tried_again(g, tmp_path, monkeypatch, workers) -> None:
    write = sample_jobs.write_sample

    def broken(folder, name, *more, **options):
        if name == "seed0001":
            raise IndexError("of a library")
        return write(folder, name, *more, **options)

    with monkeypatch.context() as patch, failure_log(tmp_path / "failures.log"):
        patch.setattr(sample_jobs, "write_sample", broken)  # the workers are forked from this process
        outcome = run(g, tmp_path / "out", [0, 1, 2], workers)
    assert outcome.refused == {"seed0001": "IndexError: of a library"} and outcome.made == 2
    assert "in broken" in (tmp_path / "failures.log").read_text()
    again = run(g, tmp_path / "out", [0, 1, 2], workers)
    assert (again.refused, again.made, again.kept) == ({}, 1, 2)


def test_only_samples_of_included_networks_have_a_license(tmp_path):
    """Whoever trains on other images knows what these allow."""
    included = load("chair-64")
    assert made_by(included, None, {})["license"] == "Apache-2.0"
    own = tmp_path / "own.safetensors"
    shutil.copyfile(included.source, own)
    shared = made_by(load(own), None, {})
    assert "license" not in shared
    [job] = jobs_of([included.sample(seed=0)], ["seed0000"], shared)
    assert "license" not in job.about
