"""A progress bar with rate and time left on a terminal; plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between plain lines without a terminal.
PLAIN_INTERVAL_S = 15.0


class Advance(Protocol):
    """What one calls after each item, with a few words about it if there is something to say, such as a loss."""

    def __call__(self, status: str = "") -> None:
        """One item more is done."""


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before there is one."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(what: str, total: int, *, quiet: bool = False, done: int = 0) -> Iterator[Advance]:
    """A function to call after each item. Without a terminal, plain lines appear now and then; `quiet`: nothing.

    done: items of a part before this one.
    """
    if quiet or not sys.stderr.isatty():
        yield _plain(what, total, quiet, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done, status="")

        def advance(status: str = "") -> None:
            progress.update(task, advance=1, status=status)

        yield advance


def _plain(what: str, total: int, quiet: bool, before: int) -> Advance:
    start = last = time.monotonic()
    done = before

    def advance(status: str = "") -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if not quiet and (now - last >= PLAIN_INTERVAL_S):
            last = now
            rate = (done - before) / (now - start)
            said = f", {status}" if status else ""
            click.echo(f"{what}: {done}/{total}{said}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", err=True)

    return advance
