"""A progress bar with rate and time left on a terminal; plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before there is one."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """A function to call after each item. Without a terminal, plain lines appear now and then; `quiet`: nothing."""
    if quiet or not sys.stderr.isatty():
        yield _plain(what, total, quiet)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _plain(what: str, total: int, quiet: bool) -> Callable[[], None]:
    start = last = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if not quiet and (now - last >= PLAIN_INTERVAL_S):
            last = now
            rate = done / (now - start)
            click.echo(f"{what}: {done}/{total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", err=True)

    return advance
