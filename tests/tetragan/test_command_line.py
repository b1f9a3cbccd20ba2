"""The command line as a whole: help without torch, status 2 for mistakes."""

import subprocess
import sys

import click
import pytest

from tests.command_line import assert_refused, run
from tetragan import __main__ as tetragan


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from tetragan import __main__ as tetragan\n"
        "sys.argv = ['tetragan', '--help']\n"
        "try: tetragan.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'scipy', 'trimesh'} & set(sys.modules), 'heavy import'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for verb in tetragan.VERBS:
        assert verb in done.stdout


@pytest.mark.parametrize("verb", tetragan.VERBS)
def test_every_verb_is_a_command_with_help(verb: str) -> None:
    command = tetragan.cli.get_command(click.Context(tetragan.cli), verb)
    assert isinstance(command, click.Command)
    assert command.help
    outcome = run(verb, "--help")
    assert outcome.status == 0
    assert "Usage:" in outcome.stdout


def test_an_unknown_verb_is_refused() -> None:
    assert_refused(run("trian"), "trian")


def test_an_unknown_option_is_refused() -> None:
    assert_refused(run("generate", "--netwrok", "x"), "--netwrok")


def test_doctor_reports_kernels_and_packages() -> None:
    outcome = run("doctor")
    assert outcome.status == 0, outcome.stderr
    assert "torch 2." in outcome.stdout
    assert "kernel mode" in outcome.stdout
