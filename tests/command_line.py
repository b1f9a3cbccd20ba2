"""Running `tetragan` inside the test's process: the same entry point as the console script, without its start-up."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from tetragan import __main__ as tetragan


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The lines on stderr that say what was wrong."""
        return "\n".join(line for line in self.stderr.splitlines() if line.startswith("Error:"))


def run(*arguments: object) -> Outcome:
    """`tetragan ARGUMENTS`: its exit status and what it printed. An exception that escapes fails the test."""
    stdout, stderr = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch.object(sys, "argv", ["tetragan", *map(str, arguments)]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            tetragan.main()
        except SystemExit as exit_:
            status = int(exit_.code or 0)
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


def assert_refused(outcome: Outcome, *expected: str) -> None:
    """Exit status 2 and one clear line that contains all of `expected`, no traceback."""
    assert outcome.status == 2, f"status {outcome.status}\n{outcome.stdout}\n{outcome.stderr}"
    assert "Traceback" not in outcome.stderr
    assert outcome.message.count("\n") == 0 and outcome.message, outcome.stderr
    for text in expected:
        assert text in outcome.message, f"{text!r} not in {outcome.message!r}"
