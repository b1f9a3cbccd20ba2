"""The log of a run: stats.jsonl, TensorBoard, and the terminal.

The terminal shows a progress bar; where there is no terminal, plain lines.
"""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from networks.discriminator import DISCRIMINATOR_CHANNELS
from torch_utils.files import append_line, write_errors, write_text
from training.run.renamed import STATISTICS, under_current_names

_RATE_STEPS = 64  # minibatches over which the progress bar averages the rate
# The losses that a line in the terminal shows.
GAN_LOSSES = ("loss/generator", *(f"loss/discriminator_{name}" for name in DISCRIMINATOR_CHANNELS))


def duration(seconds: float) -> str:
    """ "2d 03h", "3h 05m", "4m 10s" or "12s"."""
    seconds = max(round(seconds), 0)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours:02d}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {seconds % 60:02d}s" if minutes else f"{seconds}s"


def read_stats(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a stats.jsonl under the current names of statistics; none if there is no file.

    null, which stands for a number that is not finite, is read as NaN.
    """
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        line = under_current_names(line, STATISTICS)
        lines.append({name: math.nan if value is None else value for name, value in line.items()})
    return lines


def truncate_stats(path: Path, nimg: int) -> None:
    """Drop the lines of stats.jsonl past `nimg`, which a resumed run will write again, and an incomplete last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["nimg"] > nimg:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line + "\n")
    write_text(path, "".join(kept))


class RunLog:
    """Writes a run's statistics to its folder and to the terminal."""

    def __init__(
        self,
        folder: Path | None,
        total_nimg: int,
        nimg: int,
        *,
        quiet: bool,
        mute: bool = False,
        losses: Sequence[str] = GAN_LOSSES,
    ) -> None:
        """folder: None writes no files. nimg: images seen so far. quiet: the terminal shows problems only.

        mute: the terminal shows nothing, for all ranks but the first. losses: statistics that the terminal shows.
        """
        self._quiet = quiet or mute
        self._mute = mute
        self._losses = losses
        self._total = total_nimg
        self._stats = folder / "stats.jsonl" if folder else None
        self._board: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import, which other ranks are spared

            truncate_stats(folder / "stats.jsonl", nimg)
            with write_errors(folder):
                self._board = SummaryWriter(str(folder), purge_step=nimg + 1 if nimg else None)
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RATE_STEPS)
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")]
        console = Console(stderr=True)
        live = console.is_terminal and not self._quiet
        self._progress = Progress(*columns, console=console, refresh_per_second=2) if live else None
        self._task = self._progress.add_task("training", total=total_nimg, completed=nimg, text="") if live else None  # type: ignore[union-attr]

    def __enter__(self) -> "RunLog":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress:
            self._progress.stop()
        self._draw(lambda board: board.close())

    def _draw(self, action: Callable[[Any], None]) -> None:
        """Let TensorBoard's writer do something. If it cannot write, go on without: stats.jsonl has all statistics."""
        if self._board is None:
            return
        try:
            action(self._board)
        except OSError as error:
            self._board = None
            self.warn(f"TensorBoard's log cannot be written ({error.strerror}); the run goes on without it.")

    def say(self, text: str) -> None:
        """Show a line, unless the log is quiet."""
        if self._quiet:
            return
        self.warn(text)

    def warn(self, text: str) -> None:
        """Show a line, even if the log is quiet."""
        if self._mute:
            return
        if self._progress:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)
            sys.stderr.flush()

    def advance(self, nimg: int) -> None:
        """Move the progress bar and update its rate, an average over the last minibatches."""
        if self._progress is None or self._task is None:
            return
        now = time.perf_counter()
        self._recent.append((now, nimg))
        then, before = self._recent[0]
        if now > then:
            text = _rate(nimg, self._total, (nimg - before) / (now - then))
            self._progress.update(self._task, completed=nimg, text=text)

    def restart_rate(self) -> None:
        """Restart the average rate, after a pause for something other than training."""
        self._recent.clear()

    def record(self, line: dict[str, Any]) -> None:
        """Write one line of statistics: {"nimg": …, "images_per_second": …, name: mean, …} (docs/troubleshooting.md).

        In stats.jsonl a number that is not finite is null, since JSON cannot express it.
        """
        if self._stats:
            finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in line.items()}
            append_line(self._stats, json.dumps(finite, allow_nan=False))
        for name, value in line.items():
            if isinstance(value, int | float) and name != "nimg":
                self._draw(partial(_add_scalar, name=name, value=value, nimg=line["nimg"]))
        if not self._progress:
            texts = [_rate(line["nimg"], self._total, line["images_per_second"])]
            texts += [f"{key.split('/')[1]} {line[key]:.3f}" for key in self._losses if key in line]
            self.say("  ".join(texts))

    def image_grid(self, name: str, image: np.ndarray, nimg: int) -> None:
        """Send an image grid [H, W, 3] uint8 to TensorBoard."""
        self._draw(lambda board: board.add_image(name, image, nimg, dataformats="HWC"))
        self._draw(lambda board: board.flush())


def _add_scalar(board: Any, name: str, value: float, nimg: int) -> None:
    board.add_scalar(name, value, nimg)


def _rate(nimg: int, total: int, images_per_second: float) -> str:
    left = duration((total - nimg) / images_per_second) if images_per_second > 0 else "?"
    return f"{nimg / 1000:.1f} / {total / 1000:.1f} kimg  {images_per_second:.1f} img/s  {left} left"
