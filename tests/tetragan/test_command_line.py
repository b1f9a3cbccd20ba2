"""The command line as a whole: help without torch, status 2 for mistakes."""

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import pytest

from tests.command_line import assert_refused, run
from tests.dataset_tool.shapes import write_blocks
from tetragan import _PACKAGES
from tetragan import __main__ as tetragan

ROOT = Path(__file__).parents[2]
# Shows the help of the words given in sys.argv[1:], one command an argument, and fails at the first heavy import.
SHOW_HELP = """
import sys
from tetragan import _PACKAGES
from tetragan import __main__ as tetragan
for words in sys.argv[1:]:
    sys.argv = ["tetragan", *words.split(), "--help"]
    try:
        tetragan.main()
    except SystemExit:
        pass
    heavy = {"torch", "numpy", "scipy", "trimesh", "PIL", "rich", "pydantic"} & set(sys.modules)
    assert not heavy, f"tetragan {words} --help imports {heavy}"
"""


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    """Every command and group by its words."""
    context, found = click.Context(group), {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


COMMANDS = commands(tetragan.cli)


def test_help_of_no_command_imports_torch_or_numpy() -> None:
    words = ["", *COMMANDS]
    assert {"train", "dataset render", "diagnose missing"} < set(words)
    done = subprocess.run([sys.executable, "-c", SHOW_HELP, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == len(words)
    for verb in tetragan.VERBS:
        assert verb in done.stdout


@pytest.mark.parametrize("group", [[], ["dataset"], ["diagnose"]])
def test_no_line_of_a_list_of_commands_is_cut(group: list[str]) -> None:
    lines = run(*group, "--help").stdout.partition("Commands:")[2].splitlines()
    assert lines and not [line for line in lines if line.endswith("...")]


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "tetragan", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: python -m tetragan" in done.stdout


@pytest.mark.parametrize("verb", tetragan.VERBS)
def test_every_verb_is_a_command_with_help(verb: str) -> None:
    command = tetragan.cli.get_command(click.Context(tetragan.cli), verb)
    assert isinstance(command, click.Command)
    assert command.help
    outcome = run(verb, "--help")
    assert outcome.status == 0
    assert "Usage:" in outcome.stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["trian"], "train"),
        (["Generate"], "generate"),
        (["rendr"], "dataset render"),
        (["dataset", "chek"], "check"),
        (["diagnose", "mising"], "missing"),
    ],
)
def test_an_unknown_verb_is_refused_with_the_nearest(words: list[str], meant: str) -> None:
    assert_refused(run(*words), words[-1], f"did you mean '{meant}'?")


def test_a_verb_unlike_any_other_comes_with_the_help() -> None:
    assert_refused(run("xyzzy"), "no such command 'xyzzy'; see: ", "--help")
    assert_refused(run("dataset", "xyzzy"), "dataset --help")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])  # for ASCII, click writes UTF-8
def test_help_is_written_in_any_encoding(encoding: str) -> None:
    """ψ, → and … are in no encoding of these."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for words in (["--help"], ["generate", "--help"], ["dataset", "--help"]):
        done = subprocess.run([sys.executable, "-m", "tetragan", *words], capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr.decode(encoding)
        assert "Usage:" in done.stdout.decode(encoding)
    assert "psi: 1 gives the full variety" in subprocess.run(
        [sys.executable, "-m", "tetragan", "generate", "--help"], capture_output=True, env=environment
    ).stdout.decode(encoding)


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "tetragan", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "Error: standard output: No space left on device\n")


def test_every_package_can_be_found_hidden() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = settings["tool"]["mypy"]["packages"]
    assert [*_PACKAGES, "tetragan", "benchmarks", "studies"] == checked


@pytest.mark.parametrize("content", ["", "import os"])
def test_a_folder_that_hides_a_package_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "__init__.py").write_text(content)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = f"{tmp_path / 'metrics'} hides TetraGAN's package 'metrics'; rename it, or work in another folder"
    for call in (["-m", "tetragan", "info", "chair"], ["-c", "import tetragan"]):
        done = subprocess.run([sys.executable, *call], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode != 0 and done.stderr.splitlines()[-1].partition(": ")[2] == said, done.stderr
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")


def test_a_signal_ends_a_verb_in_order(tmp_path: Path) -> None:
    """SIGTERM in the middle of a render: no lock and no temporary file is left."""
    for i in range(40):
        write_blocks(tmp_path / "meshes" / f"{i}.obj")
    call = ["dataset", "render", tmp_path / "meshes", "--out", tmp_path / "out", "--workers", "1", "--resolution", "16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tetragan", *map(str, call)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / "out").glob("shapes/*/meta.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in stderr, stderr
    assert "run the same command to continue" in stderr
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_an_unknown_option_is_refused() -> None:
    assert_refused(run("generate", "--netwrok", "x"), "--netwrok")


# A call of every verb with --device, up to the point where the device is chosen.
DEVICE_CALLS = {
    "train": ["train", "--config", "chair", "--data", "data", "--out", "out"],
    "generate": ["generate", "--network", "chair-64", "--out", "out"],
    "interpolate": ["interpolate", "--network", "chair-64", "--out", "out"],
    "swap": ["swap", "--network", "chair-64", "--out", "out"],
    "perturb": ["perturb", "--network", "chair-64", "--out", "out"],
    "adapt": ["adapt", "--network", "chair-64", "--prompt", "a red chair", "--out", "out"],
    "directions": ["directions", "--network", "chair-64", "--out", "out"],
    "project": ["project", "image.png", "--network", "chair-64", "--out", "out"],
    "turntable": ["turntable", "--network", "chair-64", "--out", "out"],
    "view": ["view", "--network", "chair-64", "--port", "8931"],
    "evaluate": ["evaluate", "--network", "chair-64", "--data", "data", "--out", "out"],
    "diagnose missing": ["diagnose", "missing", "--network", "x", "--data", "data", "--by", "type", "--out", "out"],
    "diagnose classes": ["diagnose", "classes", "--network", "x", "--data", "data", "--by", "type", "--out", "out"],
    "dataset render": ["dataset", "render", "meshes", "--out", "out"],
}


def test_every_verb_with_a_device_is_checked_below() -> None:
    with_device = {
        name for name, command in COMMANDS.items() if any(parameter.name == "device" for parameter in command.params)
    }
    assert with_device == DEVICE_CALLS.keys()


@pytest.mark.parametrize("verb", DEVICE_CALLS)
def test_a_card_by_number_is_taken_and_a_missing_one_is_refused(verb, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(*DEVICE_CALLS[verb], "--device", "cuda:77")
    assert_refused(outcome, "device cuda:77: torch finds", "use cpu")
    assert_refused(run(*DEVICE_CALLS[verb], "--device", "tpu"), "device tpu: expected auto, cpu, cuda or cuda:N")
    assert not (tmp_path / "out").exists()


def test_doctor_reports_kernels_and_packages() -> None:
    outcome = run("doctor")
    assert outcome.status == 0, outcome.stderr
    assert "torch 2." in outcome.stdout
    assert "kernel mode" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith("Ready")
