"""The fuzzer finds what it is for: exceptions, slow files, memory, a process that dies; and its targets run."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from networks import pretrained
from studies.fuzz import __main__ as fuzz
from studies.fuzz.mutate import VALUES, mutated, mutated_glb, mutated_json
from studies.fuzz.targets import Target, targets
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError


def changed(data, others, rng):
    return mutated(data, others, (b"word",), rng)


def target(read):
    return lambda scratch: Target("a.bin", (b"one 1\n", b"two 2\n"), changed, read)


def reading(read):
    return Target("a", (b"x",), changed, read)


def fail(path):
    if path.read_bytes() not in (b"one 1\n", b"two 2\n"):
        raise IndexError("a bug")


def die(path):
    if b"o" not in path.read_bytes():
        os.kill(os.getpid(), 9)


def refuse(path):
    raise UserError(f"{path}: refused")


def test_crashes_are_counted_and_kept(tmp_path):
    """In a process of its own: a child of one with threads, as pytest's is after other tests, may wait forever."""
    call = f"from {__name__} import crashes_are_counted_and_kept as check; check(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", f"from pathlib import Path; {call}"], check=True, timeout=100)


def crashes_are_counted_and_kept(tmp_path: Path) -> None:
    tally = fuzz.run_target("bug", target(fail), 0.5, 0, tmp_path)
    assert tally.crashes > 0 and tally.files > tally.crashes
    kept = tmp_path / "bug" / "IndexError-a-bug"
    assert "IndexError: a bug" in (kept / "crash.txt").read_text() and (kept / "a.bin").is_file()
    tally = fuzz.run_target("dies", target(die), 0.5, 0, tmp_path)
    assert tally.crashes > 0 and "signal 9" in next((tmp_path / "dies").iterdir()).joinpath("crash.txt").read_text()
    tally = fuzz.run_target("fine", target(refuse), 0.2, 0, tmp_path)
    assert tally.crashes == 0 and tally.files > 10 and tally.answers == 1


def test_bounds_of_one_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    _, crash, _, grown = fuzz.read_once(reading(lambda _: bytearray(300_000_000).count(b"x")), path)
    if grown:  # Linux alone tells the peak of a process
        assert "for a file of 1000 bytes" in crash
    assert fuzz.read_once(reading(lambda _: None), path)[:2] == ("read ", "")
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 1)
    monkeypatch.setattr(fuzz.signal, "alarm", lambda seconds: fuzz.signal.setitimer(0, 0.05 if seconds else 0))
    fuzz.signal.signal(fuzz.signal.SIGALRM, fuzz._too_slow)
    assert "took more than 1 s" in fuzz.read_once(reading(_forever), path)[1]


def _forever(_):
    while True:
        pass


@pytest.mark.parametrize("name", sorted(set(targets()) - {"usd"}))
def test_targets_read_their_own_files_and_survive_changes(tmp_path, name):
    made = targets()[name](tmp_path)
    for file, data in made.beside:
        (tmp_path / file).write_bytes(data)
    path = tmp_path / made.name
    for seed in made.seeds:
        path.write_bytes(seed)
        made.read(path)
    rng = random.Random(1)
    for _ in range(10):
        path.write_bytes(made.change(rng.choice(made.seeds), made.seeds, rng))
        _, crash, _, _ = fuzz.read_once(made, path)
        assert not crash, crash


def test_changes_change():
    rng = random.Random(0)
    values = {mutated(b"v 0 0 0\nf 1 2 3\n", [b"other"], [b"vt"], rng) for _ in range(50)}
    assert len(values) > 40
    document = {"a": [1, {"b": None}], "c": "x"}
    assert len({str(mutated_json(document, rng)) for _ in range(50)}) > 20 and document["c"] == "x"
    glb = targets()["glb"](None).seeds[0]
    assert len({mutated_glb(glb, rng) for _ in range(20)}) > 15


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("mapping", "layers", 2**31, r"names 2,147,483,648 layers \(mapping\.layers\), but it holds"),
        ("mapping", "w_dim", 60_000, r"names mapping\.w_dim of 60,000, but the longest side of its tensors is"),
        ("backbone", "plane_channels", 2**20, r"backbone\.plane_channels of 1,048,576"),
        ("backbone", "plane_resolution", 2**300, r"names 299 layers \(backbone\.plane_resolution\)"),
        ("texture", "hidden", 10**6, r"texture\.hidden of 1,000,000"),
        (None, "classes", 2**40, r"classes of 1,099,511,627,776"),
    ],
)
def test_a_network_whose_header_names_more_than_it_holds_is_refused_before_it_is_made(
    tmp_path, monkeypatch, section, field, value, message
):
    made = targets()["network"](tmp_path)
    path = tmp_path / made.name
    path.write_bytes(made.seeds[0])
    tensors, header = load_tensors(path)
    (header["config"] if section is None else header["config"][section])[field] = value
    save_tensors(path, tensors, {key: value for key, value in header.items() if key != "checksum"})
    monkeypatch.setattr(pretrained, "Generator", None)  # not even begun
    with pytest.raises(UserError, match=message):
        made.read(path)


def test_changes_leave_the_values_they_are_made_of_alone():
    rng, before = random.Random(0), str(VALUES)
    for _ in range(3000):
        mutated_json([0, {"a": 0}], rng)
    assert str(VALUES) == before


def test_a_manifest_with_an_endless_number_is_refused(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"a": {"front": ' + "1" * 5000 + "}}")
    with pytest.raises(UserError, match="cannot be read as a CSV or JSON manifest"):
        targets()["manifest"](tmp_path).read(path)
